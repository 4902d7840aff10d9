"""The server as the app starts it: options become settings, and what it leaves behind makes a whole backup."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from homeassistant.util.yaml import load_yaml_dict
from igrs_ras import app_start, settings
from igrs_ras.supervisor import TOKEN_VARIABLE
from process import ADDON, free_port

from scripts.checks import ROOT, app, app_config

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = load_yaml_dict(str(ROOT / app.CONFIG))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for the container's own folders /data and /ssl."""
    for name in ("data", "ssl"):
        (tmp_path / name).mkdir(mode=0o700)
    monkeypatch.setattr(app_start, "OPTIONS", tmp_path / "data" / "options.json")
    monkeypatch.setattr(app_start, "CERTIFICATES", tmp_path / "ssl")
    return tmp_path


def options(**given: object) -> settings.Settings:
    """Write the options as the Supervisor does, and read them as the app's start does."""
    app_start.OPTIONS.write_text(json.dumps(CONFIG["options"] | given), "utf-8")
    return settings.load(environment=app_start.environment())


def test_the_app_starts_as_installed_with_its_public_port_shut(folder: Path) -> None:
    read = options()
    assert read.listen == ""
    assert (read.local_listen, read.ingress_listen) == ("0.0.0.0:8098", "0.0.0.0:8099")
    assert read.database == f"sqlite:///{folder / 'data' / 'ras.sqlite3'}"


def test_a_certificate_is_taken_from_home_assistants_folder_and_opens_the_port(
    folder: Path,
) -> None:
    for name in ("fullchain.pem", "privkey.pem"):
        (folder / "ssl" / name).touch()
    read = options(certfile="fullchain.pem", keyfile="privkey.pem")
    assert read.listen == "0.0.0.0:8443"
    assert read.keyfile == str(folder / "ssl" / "privkey.pem")


def test_a_trusted_proxy_opens_the_port_too() -> None:
    read = options(trusted_proxies=["172.30.33.4"])
    assert (read.listen, read.certfile) == ("0.0.0.0:8443", "")


def test_every_option_is_taken_by_the_server() -> None:
    given = {
        "public_url": "https://locks.example.org",
        "allowed_origins": ["https://app.example.org"],
        "smtp_host": "mail.example.org",
        "smtp_user": "locks",
        "smtp_password": "secret",
        "smtp_sender": "locks@example.org",
    }
    for key, value in given.items():
        assert app_config.accepts(CONFIG["schema"][key], value)
    read = options(**given)
    assert {key: getattr(read, key) for key in given} == given


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"colour": 1}'])
def test_options_that_cannot_be_read_stop_the_server(text: str) -> None:
    app_start.OPTIONS.write_text(text)
    with pytest.raises(settings.SettingsError):
        settings.load(environment=app_start.environment())


def test_outside_home_assistant_the_settings_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["igrs-ras", "config", "check"])
    before = dict(os.environ)
    assert app_start.main() == 0
    assert dict(os.environ) == before


class App:
    """`igrs-ras` as the image runs it under the Supervisor, on ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics = free_port()
        self.changed = {
            "OPTIONS": f"Path({str(folder / 'data' / 'options.json')!r})",
            "CERTIFICATES": f"Path({str(folder / 'ssl')!r})",
            "LOCAL": repr(f"127.0.0.1:{free_port()}"),
            "INGRESS": repr(f"127.0.0.1:{free_port()}"),
            "METRICS": repr(f"127.0.0.1:{self.metrics}"),
        }

    def arguments(self, *verb: str) -> list[str]:
        lines = "; ".join(f"app_start.{name} = {value}" for name, value in self.changed.items())
        code = f"import sys; from pathlib import Path; from igrs_ras import app_start; {lines}"
        return [sys.executable, "-c", f"{code}; sys.exit(app_start.main())", *verb]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ADDON), TOKEN_VARIABLE: "f00d"}

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Run the server until the end of the block, and let the Supervisor stop it."""
        with subprocess.Popen(
            self.arguments("serve"), env=self.environment, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            try:
                for line in process.stderr:
                    if " ready " in line:
                        break
                yield
                process.send_signal(signal.SIGTERM)
                process.stderr.read()
                assert process.wait() == 0
            finally:
                process.kill()

    def do(self, *verb: str) -> Any:
        done = subprocess.run(
            self.arguments(*verb, "--json"), env=self.environment, check=True, capture_output=True
        )
        return json.loads(done.stdout)


def back_up(folder: Path) -> None:
    """Copy what a backup of Home Assistant takes of the data folder."""
    (folder / "backup").mkdir()
    for path in (folder / "data").iterdir():
        if not any(path.match(rule) for rule in CONFIG["backup_exclude"]):
            shutil.copy(path, folder / "backup")


@pytest.mark.parametrize("running", [True, False])
def test_case_15_a_backup_of_home_assistant_brings_the_server_back_and_revives_nobody(
    folder: Path, running: bool
) -> None:
    options()
    app = App(folder)
    with app.serving():
        with urllib.request.urlopen(f"http://127.0.0.1:{app.metrics}/healthz") as answer:
            assert answer.status == 200
        app.do("gateway", "code", "--new-site", "Other house")
        before = app.do("status")
        if running:
            _, *command, file = CONFIG["backup_pre"].split()
            app.do(*command, str(folder / "data" / Path(file).name))
            back_up(folder)
    if not running:
        back_up(folder)
    kept = {path.name: path.stat().st_mode & 0o777 for path in (folder / "backup").iterdir()}
    assert kept.pop("backup.igrs") == 0o600
    assert set(kept) <= {"options.json", "lock"}
    shutil.rmtree(folder / "data")
    (folder / "backup").rename(folder / "data")
    with app.serving():
        after = app.do("status")
    assert after["fingerprint"] == before["fingerprint"]
    assert after["generation"] > before["generation"]
    assert after["suspended_sites"] == after["sites"] == before["sites"]
