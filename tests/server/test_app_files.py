"""The app's files are what the Supervisor and Docker want: each kind of mistake is found, made in a copy."""

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from homeassistant.util.yaml import dump, load_yaml_dict

from scripts.checks import ROOT, app, app_config

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = load_yaml_dict(str(ROOT / app.CONFIG))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy what belongs to the app, with the paths that it has in the repository."""
    root = tmp_path / "repository"
    ignored = shutil.ignore_patterns("__pycache__", "storage", "api", "accounts", "pages")
    shutil.copytree(ROOT / "addon", root / "addon", ignore=ignored)
    shutil.copy(ROOT / app.REPOSITORY, root)
    return root


def found(root: Path) -> list[str]:
    return [str(one) for one in app.check(root)]


def change(root: Path, name: str, path: str, value: object) -> list[str]:
    """Set a value by the path to it, or remove it if the value is `...`; return what the check finds."""
    data: dict[str, Any] = load_yaml_dict(str(root / name))
    *parents, last = path.split(".")
    inner = data
    for key in parents:
        inner = inner.setdefault(key, {})
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    (root / name).write_text(dump(data), "utf-8")
    return found(root)


def replace(root: Path, name: str, old: str, new: str) -> list[str]:
    text = (root / name).read_text("utf-8")
    assert old in text
    (root / name).write_text(text.replace(old, new), "utf-8")
    return found(root)


def test_the_app_is_as_the_supervisor_wants_it() -> None:
    assert found(ROOT) == []


def test_a_copy_is_as_right_as_the_original(copy: Path) -> None:
    assert found(copy) == []


def test_the_store_shows_the_best_rating() -> None:
    assert app_config.rating(CONFIG, own_profile=True) == 8


@pytest.mark.parametrize(
    ("change", "own_profile", "stars"),
    [
        ({}, False, 7),
        ({"apparmor": False}, True, 6),
        ({"ingress": False}, True, 6),
        ({"ingress": False, "auth_api": True}, True, 7),
        ({"host_network": True}, True, 7),
        ({"host_pid": True}, True, 6),
        ({"hassio_role": "manager"}, True, 7),
        ({"hassio_role": "admin"}, True, 6),
        ({"privileged": ["NET_ADMIN"]}, True, 7),
        ({"privileged": ["SYS_TIME"]}, True, 8),
        ({"kernel_modules": True}, True, 7),
        ({"privileged": ["SYS_ADMIN"], "host_uts": True}, True, 6),
        ({"full_access": True}, True, 1),
        ({"docker_api": True}, True, 1),
        (
            {"host_pid": True, "host_network": True, "hassio_role": "admin", "ingress": False},
            False,
            1,
        ),
    ],
)
def test_the_rating_falls_with_each_right(
    change: dict[str, Any], own_profile: bool, stars: int
) -> None:
    assert app_config.rating(CONFIG | change, own_profile=own_profile) == stars


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", ...),
        ("version", "0.1.1"),
        ("version", "new"),
        ("slug", "igrs ras"),
        ("description", "Another text than the image's label"),
        ("arch", ["amd64"]),
        ("arch", ["aarch64", "armv7"]),
        ("url", "here"),
        ("startup", "before"),
        ("stage", "alpha"),
        ("homeassistant", "soon"),
        ("init", False),
        ("timeout", 10),
        ("timeout", 900),
        ("ports", {"8443": 8443}),
        ("ports", {"8443/tcp": 0}),
        ("ports", {"8443/tcp": 8443, "8099/tcp": None}),
        ("ports", {"8443/tcp": 8443, "8098/tcp": 8098}),
        ("ingress", False),
        ("ingress_port", 8098),
        ("ingress_port", "8099"),
        ("panel_icon", "lock"),
        ("panel_admin", False),
        ("watchdog", "http://[HOST]:[PORT:8098]/healthz"),
        ("watchdog", "https://[HOST]:8443/healthz"),
        ("watchdog", "http://localhost:8098/healthz"),
        ("discovery", ["igrs"]),
        ("map", [{"type": "ssl", "read_only": False}]),
        ("map", [{"type": "ssl"}, {"type": "share"}]),
        ("map", ["ssl"]),
        ("host_network", True),
        ("hassio_api", True),
        ("hassio_role", "manager"),
        ("hassio_role", "root"),
        ("homeassistant_api", True),
        ("privileged", ["NET_ADMIN"]),
        ("privileged", ["CHOWN"]),
        ("apparmor", False),
        ("backup", "cold"),
        ("backup_pre", ...),
        ("backup_pre", "igrs-ras backup --replace /tmp/backup.igrs"),
        ("backup_exclude", ["*/ras.*", "*/boot*", "*/control"]),
        ("backup_exclude", ["*/ras.*", "*/control", "*/.*.part"]),
        ("backup_exclude", ["*/ras.sqlite3*", "*/boot*", "*/control", "*/.*.part"]),
        ("backup_exclude", ["*/*"]),
        ("options.color", "red"),
        ("options.smtp_port", "587"),
        ("options.smtp_port", 65536),
        ("options.smtp_security", "ssl"),
        ("options.name", ""),
        ("options.trusted_proxies", [5]),
        ("options.public_url", "https://locks.example.org"),
        ("schema.color", "str?"),
        ("schema.data", "str?"),
        ("schema.name", "text"),
        ("schema.public_url", "match([)?"),
        ("schema.smtp_host", "str"),
        ("schema.trusted_proxies", "str?"),
        ("schema.smtp_user", ["str?"]),
        ("schema.log_level", ...),
        ("ulimits.nofile", "many"),
        ("image", "ghcr.io/igrs-lock/igrs-ras:0.1.0"),
        ("codenotary", "somebody"),
        ("watchdogs", "x"),
    ],
)
def test_a_wrong_config_is_found(copy: Path, path: str, value: object) -> None:
    wrong = change(copy, app.CONFIG, path, value)
    assert any(one.startswith((f"{app.CONFIG}: ", "addon/Dockerfile: LABEL")) for one in wrong)


@pytest.mark.parametrize("name", [app.CONFIG, app.REPOSITORY, app.COMPOSE])
def test_a_file_that_cannot_be_read_is_found(copy: Path, name: str) -> None:
    (copy / name).write_text("{", "utf-8")
    assert any(one.startswith(f"{name}: cannot be read") for one in found(copy))


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("docs/example/config.yaml", True),
        ("simulator/config.json", True),
        ("addon/build.yaml", True),
        ("addon/igrs_ras/repository.yml", True),
        ("addon/config.py", False),
        ("addon/rootfs/etc/config.yaml", False),
        (".github/config.yml", False),
    ],
)
def test_a_name_that_the_supervisor_would_take_for_an_app_is_found(
    copy: Path, path: str, wrong: bool
) -> None:
    (copy / path).parent.mkdir(parents=True, exist_ok=True)
    (copy / path).write_text("name: other\n", "utf-8")
    assert [one.partition(":")[0] for one in found(copy)] == [path] * wrong


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("configuration.name", ...),
        ("configuration.name.description", ...),
        ("configuration.name.name", ""),
        ("configuration.color", {"name": "Colour", "description": "Of the server"}),
        ("network.8443/tcp", ...),
        ("network.8099/tcp", "The page"),
        ("title", "IGRS Lock"),
    ],
)
def test_a_wrong_text_of_an_option_is_found(copy: Path, path: str, value: object) -> None:
    name = "addon/translations/en.yaml"
    assert any(one.startswith(f"{name}: ") for one in change(copy, name, path, value))


@pytest.mark.parametrize(
    "name",
    [
        "translations/en.yaml", "README.md", "DOCS.md", "CHANGELOG.md", "icon.png", "logo.png",
        "rootfs/usr/local/bin/igrs-ras",
    ],
)  # fmt: skip
def test_a_missing_file_is_found(copy: Path, name: str) -> None:
    (copy / "addon" / name).unlink()
    assert found(copy)


def test_a_picture_of_another_size_is_found(copy: Path) -> None:
    shutil.copy(copy / "addon/logo.png", copy / "addon/icon.png")
    assert found(copy) == ["addon/icon.png: must be 128 by 128"]


def test_a_command_that_may_not_run_is_found(copy: Path) -> None:
    (copy / "addon/rootfs/usr/local/bin/igrs-ras").chmod(0o644)
    assert any("no executable file" in one for one in found(copy))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("FROM ghcr.io/home-assistant/base-python:3.14-alpine3.24-2026.06.1\n", "FROM ghcr.io/home-assistant/base-python:3.14-alpine3.24\n"),
        ("FROM ghcr.io/home-assistant/base-python:3.14-alpine3.24-2026.06.1\n", "FROM ghcr.io/home-assistant/base-python:3.14-alpine3.23-2026.06.1\n"),
        ("FROM ghcr.io/home-assistant/base-python:3.14-alpine3.24-2026.06.1", "FROM ${BUILD_FROM}"),
        ("3.14-alpine", "3.15-alpine"),
        ("COPY requirements.txt", "COPY requirement.txt"),
        ("COPY requirements.txt", "COPY DOCS.md"),
        ("COPY --from=build", "COPY --from=builder"),
        ("COPY requirements.txt", "ADD requirements.txt"),
        (" --require-hashes", ""),
        (" --only-binary :all:", ""),
        ('PIP_EXTRA_INDEX_URL="" ', ""),
        ("python3.14/site-packages", "python3.13/site-packages"),
        ('ENTRYPOINT ["/usr/local/bin/igrs-ras"]', "ENTRYPOINT /usr/local/bin/igrs-ras"),
        ('ENTRYPOINT ["/usr/local/bin/igrs-ras"]', 'ENTRYPOINT ["/init"]'),
        ("127.0.0.1:9190/healthz", "127.0.0.1:8443/healthz"),
        ("EXPOSE 8443", "EXPOSE 8443 8098"),
        ('io.hass.version="0.1.0"', 'io.hass.version="0.0.9"'),
        ('io.hass.type="app"', 'io.hass.type="base"'),
        ('io.hass.arch="aarch64|amd64"', 'io.hass.arch="amd64"'),
    ],
)  # fmt: skip
def test_a_wrong_dockerfile_is_found(copy: Path, old: str, new: str) -> None:
    wrong = replace(copy, "addon/Dockerfile", old, new)
    assert any(one.startswith(("addon/Dockerfile: ", "addon/apparmor.txt: ")) for one in wrong)


def test_what_dockerignore_leaves_out_cannot_be_copied(copy: Path) -> None:
    wrong = replace(copy, "addon/.dockerignore", "!rootfs\n", "")
    assert wrong == ["addon/Dockerfile: COPY: rootfs is left out by .dockerignore"]


@pytest.mark.parametrize(
    "line",
    [
        "aiohttp==3.14.5\n",
        "evil>=1 \\\n    --hash=sha256:" + "0" * 64 + "\n",
        "evil @ https://example.org/evil.whl\n",
        "--extra-index-url https://example.org\n",
        "evil==1 \\\n    --hash=md5:" + "0" * 32 + "\n",
    ],
)
def test_a_requirement_that_is_not_locked_is_found(copy: Path, line: str) -> None:
    with (copy / "addon/requirements.txt").open("a") as file:
        file.write(line)
    assert [one.partition(":")[0] for one in found(copy)] == ["addon/requirements.txt"]


def test_a_requirement_that_nobody_locked_is_found(copy: Path) -> None:
    with (copy / "addon/requirements.in").open("a") as file:
        file.write("nats-py\n")
    assert found(copy) == [
        "addon/requirements.txt: nats-py: is not locked: run scripts/requirements"
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("profile igrs_ras", "profile other"),
        ("profile igrs_ras", "profile igrs_ras {\n}\nprofile second"),
        ("flags=(attach_disconnected,mediate_deleted)", ""),
        ("  # Connections in", "  capability net_admin,\n  # Connections in"),
        ("  # Connections in", "  file,\n  # Connections in"),
        ("  # Connections in", "  network,\n  # Connections in"),
        ("  # Connections in", "  mount,\n  # Connections in"),
        ("  /ssl/{,**} r,", "  /ssl/{,**} rw,"),
        ("  /ssl/{,**} r,", "  /{,**} rwk,"),
        ("/opt/igrs-ras/{,**} mr,", "/opt/igrs-ras/{,**} mrw,"),
        ("bin/busybox mrix", "bin/busybox mrUx"),
        ("  /usr/local/bin/igrs-ras rix,\n", ""),
        ("bin/python3.14 mrix", "bin/python3.13 mrix"),
        ("  /tmp/{,**} rwk,\n}", "  /tmp/{,**} rwk,\n"),
    ],
)
def test_a_wrong_profile_is_found(copy: Path, old: str, new: str) -> None:
    wrong = replace(copy, "addon/apparmor.txt", old, new)
    assert any(one.startswith("addon/apparmor.txt: ") for one in wrong)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("services.ras.user", "0:0"),
        ("services.ras.user", ...),
        ("services.ras.read_only", False),
        ("services.ras.cap_drop", ...),
        ("services.ras.security_opt", []),
        ("services.ras.init", ...),
        ("services.ras.image", "igrs-ras:latest"),
        ("services.ras.ports", ["443:8443", "8098:8098"]),
        ("services.ras.environment.IGRS_RAS_COLOR", "red"),
        ("services.ras.environment.LISTEN", "0.0.0.0:8443"),
    ],
)
def test_a_wrong_compose_file_is_found(copy: Path, path: str, value: object) -> None:
    assert any(one.startswith(f"{app.COMPOSE}: ") for one in change(copy, app.COMPOSE, path, value))


def test_an_example_of_a_setting_that_is_none_is_found(copy: Path) -> None:
    with (copy / app.SETTINGS).open("a") as file:
        file.write("#IGRS_RAS_COLOR=red\n")
    assert [one.partition(":")[0] for one in found(copy)] == [app.SETTINGS]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("bool", [True], [1, "yes"]),
        ("int(1,5)", [1, 5], [0, 6, 2.5, "3", True]),
        ("float(,1.5)?", [1.5, -3], [1.6, "1"]),
        ("port", [1, 65535], [0, 65536, "80"]),
        ("str(2,3)", ["ab", "abc"], ["a", "abcd", 12]),
        ("password?", ["x"], [None, 5]),
        ("list(a|b)", ["a"], ["c", "a|b"]),
        ("match(^x+$)?", ["xx"], ["y", 1]),
    ],
)
def test_an_options_default_is_judged_as_the_supervisor_would(
    kind: str, good: list[object], bad: list[object]
) -> None:
    assert app_config.option_type(kind) == kind
    assert all(app_config.accepts(kind, value) for value in good)
    assert not any(app_config.accepts(kind, value) for value in bad)
