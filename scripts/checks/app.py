"""The app for Home Assistant (addon/): what the Supervisor asks of it, and whether its files say the same.

The Supervisor cannot be run here. Its rules are in app_config.py; the image is checked by app_image.py.
"""

from __future__ import annotations

import ast
import re
import struct
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from homeassistant.exceptions import HomeAssistantError
from homeassistant.util.yaml import load_yaml_dict

from . import INTEGRATION, Finding, app_config, app_image, shapes

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

CONFIG: Final = "addon/config.yaml"
REPOSITORY: Final = "repository.yaml"
COMPOSE: Final = "addon/compose.yaml"
SETTINGS: Final = "addon/settings.env.example"
_PREFIX: Final = "IGRS_RAS_"

_RATING: Final = 8
_SLOWEST_STOP: Final = 15  # seconds: 8 for what is under way, the rest to close
_NO_MORE_RIGHTS: Final = (
    "host_network", "host_pid", "host_ipc", "host_uts", "host_dbus", "udev", "full_access", "audio", "video", "gpio",
    "usb", "uart", "devicetree", "kernel_modules", "realtime", "hassio_api", "homeassistant_api", "stdin", "legacy",
    "docker_api", "auth_api", "journald", "privileged", "devices", "services",
)  # fmt: skip
_FIXED: Final = (
    "data",
    "database_url",
    "listen",
    "local_listen",
    "ingress_listen",
    "metrics_listen",
)
_OUT_OF_BACKUP: Final = (
    "ras.sqlite3", "ras.sqlite3-wal", "ras.sqlite3-shm", "ras.sqlite3.replaced-1", "ras.1.0001.copy", "boot",
    "boot.part", "control",
    ".backup.igrs.part",
)  # fmt: skip
_IN_BACKUP: Final = ("backup.igrs",)
_HARDENED: Final = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "init": True,
}


def check(root: Path) -> Iterator[Finding]:
    """Check the app in a copy of the repository."""
    config = yield from _yaml(root, CONFIG)
    repository = yield from _yaml(root, REPOSITORY)
    misshapen = list(shapes.findings(CONFIG, app_config.CONFIG, config))
    yield from misshapen
    yield from shapes.findings(REPOSITORY, app_config.REPOSITORY, repository)
    yield from _one_of_a_name(root)
    if misshapen:
        return
    code = root / "addon" / "igrs_ras"
    ports = {name: port for name, port in _listeners(code).items() if port}
    fields = _fields(code)
    yield from _agreement(root, config)
    yield from _network(config, ports)
    yield from _rights(root, config)
    yield from _backup(config)
    yield from _options(config, fields)
    yield from _translations(root, config)
    yield from _pages(root, config)
    yield from _pictures(root)
    yield from _compose(root, config, ports, fields)
    yield from app_image.check(root, config, ports)


def _yaml(root: Path, name: str) -> Generator[Finding, None, dict[str, Any]]:
    try:
        return load_yaml_dict(str(root / name))
    except (OSError, HomeAssistantError) as err:
        yield Finding(name, "", f"cannot be read: {err}")
        return {}


def _listeners(code: Path) -> dict[str, int]:
    """Return the ports of the listeners in the app: PUBLIC, LOCAL, INGRESS, METRICS."""
    found = re.findall(
        r'^([A-Z]+): Final = "[\d.]+:(\d+)"$',
        (code / "app_start.py").read_text("utf-8"),
        re.MULTILINE,
    )
    return {name: int(port) for name, port in found}


def _fields(code: Path) -> dict[str, str]:
    """Return the server's settings and their types, without importing the server."""
    for node in ast.parse((code / "settings.py").read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == "Settings":
            return {
                part.target.id: ast.unparse(part.annotation)
                for part in node.body
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
            }
    return {}


def _one_of_a_name(root: Path) -> Iterator[Finding]:
    # The Supervisor looks for these names in all folders and takes what it finds for the app's.
    homes = {"config": CONFIG, "repository": REPOSITORY, "build": ""}
    for folder, folders, files in root.walk():
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name != "rootfs"
        )
        for file in sorted(files):
            path = (folder / file).relative_to(root)
            if (
                path.stem in homes
                and path.suffix in {".json", ".yaml", ".yml"}
                and path.as_posix() != homes[path.stem]
            ):
                yield Finding(
                    path.as_posix(),
                    "",
                    "has a name that the Supervisor reads as an app's: take another",
                )


def _agreement(root: Path, config: dict[str, Any]) -> Iterator[Finding]:
    version = re.search(
        r'^__version__ = "(.+)"$',
        (root / "addon/igrs_ras/__init__.py").read_text("utf-8"),
        re.MULTILINE,
    )
    if not version or version[1] != config.get("version"):
        yield Finding(CONFIG, "version", "must be __version__ of igrs_ras")
    if config.get("arch") != list(app_config.ARCHITECTURES):
        yield Finding(CONFIG, "arch", f"must be {' and '.join(app_config.ARCHITECTURES)}")
    if config.get("discovery") != [INTEGRATION.name]:
        yield Finding(CONFIG, "discovery", f"must be the integration, {INTEGRATION.name}")
    if int(config.get("timeout", 10)) < _SLOWEST_STOP:
        yield Finding(
            CONFIG,
            "timeout",
            f"must be {_SLOWEST_STOP} or more, or the server is killed while it stops",
        )
    if config.get("init", True) is not True:
        yield Finding(CONFIG, "init", "must be true: the image has no init of its own")


def _network(config: dict[str, Any], ports: dict[str, int]) -> Iterator[Finding]:
    if set(config.get("ports", {})) != {f"{ports['PUBLIC']}/tcp"}:
        yield Finding(
            CONFIG, "ports", f"must be {ports['PUBLIC']}/tcp alone: nothing else is published"
        )
    if config.get("ingress_port", 8099) != ports["INGRESS"]:
        yield Finding(
            CONFIG, "ingress_port", f"must be {ports['INGRESS']}, where the server listens for it"
        )
    watchdog = app_config.watchdog_port(config)
    if watchdog != (ports["LOCAL"], False):
        yield Finding(
            CONFIG,
            "watchdog",
            f"must ask port {ports['LOCAL']}, which is always open, and without PORT: it is not published",
        )


def _rights(root: Path, config: dict[str, Any]) -> Iterator[Finding]:
    for key in _NO_MORE_RIGHTS:
        if config.get(key):
            yield Finding(CONFIG, key, "is more than the server needs")
    if config.get("hassio_role", "default") != "default":
        yield Finding(CONFIG, "hassio_role", "is more than the server needs")
    if [(one.get("type"), one.get("read_only", True)) for one in config.get("map", ())] != [
        ("ssl", True)
    ]:
        yield Finding(CONFIG, "map", "must be ssl alone, to read only")
    if config.get("panel_admin", True) is not True:
        yield Finding(CONFIG, "panel_admin", "must be true: the page is for owners")
    stars = app_config.rating(config, own_profile=(root / app_image.PROFILE).is_file())
    if stars < _RATING:
        yield Finding(
            CONFIG,
            "",
            f"the store would show a security rating of {stars}: {_RATING} is what can be had",
        )


def _backup(config: dict[str, Any]) -> Iterator[Finding]:
    if config.get("backup", "hot") != "hot" or not config.get("backup_pre"):
        yield Finding(
            CONFIG, "backup", "must be hot, with a command in backup_pre that makes the copy"
        )
    copy = str(config.get("backup_pre", "")).split()[-1:]
    if copy != [f"/data/{_IN_BACKUP[0]}"]:
        yield Finding(
            CONFIG,
            "backup_pre",
            f"must write /data/{_IN_BACKUP[0]}, which the server takes up when it starts",
        )
    folder = PurePosixPath("/mnt/data/supervisor/addons/data/0a1b2c3d_igrs_ras")
    rules = [str(rule) for rule in config.get("backup_exclude", ())]
    for names, out in ((_OUT_OF_BACKUP, True), ((*_IN_BACKUP, "options.json"), False)):
        for name in names:
            if any((folder / name).match(rule) for rule in rules) is not out:
                yield Finding(CONFIG, "backup_exclude", f"{name} must {'not ' * out}be in a backup")


def _options(config: dict[str, Any], fields: dict[str, str]) -> Iterator[Finding]:
    kinds, defaults = config.get("schema") or {}, config.get("options") or {}
    for key, kind in kinds.items():
        where = f"schema.{key}"
        if key not in fields:
            yield Finding(CONFIG, where, "is no setting of the server, which stops at one")
        elif key in _FIXED:
            yield Finding(
                CONFIG, where, "is not the user's choice: app_start.py and this file fix it"
            )
        elif isinstance(kind, list) != fields[key].startswith("list["):
            yield Finding(CONFIG, where, f"does not fit the setting's type, {fields[key]}")
        if app_config.is_optional(kind):
            if key in defaults:
                yield Finding(
                    CONFIG,
                    f"options.{key}",
                    "has a default, so it is not optional: drop this, or the ?",
                )
        elif key not in defaults:
            yield Finding(
                CONFIG,
                where,
                "has no default, so the app would not start as installed: add one, or ?",
            )
    for key, value in defaults.items():
        if key not in kinds:
            yield Finding(CONFIG, f"options.{key}", "is not in the schema")
        elif not app_config.accepts(kinds[key], value):
            yield Finding(CONFIG, f"options.{key}", "is not of its type")


def _translations(root: Path, config: dict[str, Any]) -> Iterator[Finding]:
    folder = root / "addon" / "translations"
    if not (folder / "en.yaml").is_file():
        yield Finding("addon/translations/en.yaml", "", "is missing")
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = path.relative_to(root).as_posix()
        texts = yield from _yaml(root, name)
        yield from shapes.findings(name, app_config.TRANSLATION, texts)
        for part, keys in (
            ("configuration", config.get("schema")),
            ("network", config.get("ports")),
        ):
            for key in sorted(set(keys or ()) ^ set(texts.get(part) or ())):
                text = "has no text" if key in (keys or ()) else "is nothing that the app has"
                yield Finding(name, f"{part}.{key}", text)


def _pages(root: Path, config: dict[str, Any]) -> Iterator[Finding]:
    texts = {}
    for name in ("README.md", "DOCS.md", "CHANGELOG.md"):
        path = root / "addon" / name
        texts[name] = path.read_text("utf-8") if path.is_file() else ""
        if not texts[name]:
            yield Finding(f"addon/{name}", "", "is missing: the store shows it")
    if f"\n## {config.get('version')}\n" not in texts["CHANGELOG.md"]:
        yield Finding(
            "addon/CHANGELOG.md",
            str(config.get("version")),
            "is missing: people read it before they update",
        )
    for key in config.get("schema") or {}:
        if f"`{key}`" not in texts["DOCS.md"]:
            yield Finding("addon/DOCS.md", key, "is an option that the page does not explain")


def _pictures(root: Path) -> Iterator[Finding]:
    for name, width, height in (("icon.png", 128, 128), ("logo.png", 250, 100)):
        path = root / "addon" / name
        head = path.read_bytes()[:24] if path.is_file() else b""
        if head[:8] != b"\x89PNG\r\n\x1a\n":
            yield Finding(f"addon/{name}", "", "must be a PNG picture")
        elif struct.unpack(">II", head[16:24]) != (width, height):
            yield Finding(f"addon/{name}", "", f"must be {width} by {height}")


def _compose(
    root: Path, config: dict[str, Any], ports: dict[str, int], fields: dict[str, str]
) -> Iterator[Finding]:
    compose = yield from _yaml(root, COMPOSE)
    server = (compose.get("services") or {}).get("ras") or {}
    for key, value in _HARDENED.items():
        if server.get(key) != value:
            yield Finding(COMPOSE, f"services.ras.{key}", f"must be {value}")
    if str(server.get("user", "0")).startswith(("0", "root")):
        yield Finding(COMPOSE, "services.ras.user", "must not be root")
    if not str(server.get("image", "")).endswith(f":{config.get('version')}"):
        yield Finding(COMPOSE, "services.ras.image", "must have the app's version")
    if [str(port).rpartition(":")[2] for port in server.get("ports", ())] != [str(ports["PUBLIC"])]:
        yield Finding(COMPOSE, "services.ras.ports", f"must publish {ports['PUBLIC']} alone")
    lines = (root / SETTINGS).read_text("utf-8").splitlines()
    examples = {found[1]: SETTINGS for line in lines if (found := re.match(r"#?([A-Z_]+)=", line))}
    for variable, file in (
        dict.fromkeys(server.get("environment", {}), COMPOSE) | examples
    ).items():
        if not variable.startswith(_PREFIX) or variable.removeprefix(_PREFIX).lower() not in fields:
            yield Finding(file, variable, "is no setting of the server, which stops at one")
