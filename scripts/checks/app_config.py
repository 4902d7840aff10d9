"""config.yaml of the app, repository.yaml and the translations: what the Supervisor asks of them.

Written after the rules by which the Supervisor reads a store, and stricter: it drops keys that it does not know and only
warns of old ones; here both are findings.
"""

from __future__ import annotations

import re
from typing import Any, Final

import voluptuous as vol
from awesomeversion import AwesomeVersion

ARCHITECTURES: Final = ("aarch64", "amd64")
_ROLES: Final = ("default", "homeassistant", "backup", "manager", "admin")
_FOLDERS: Final = (
    "data", "ssl", "local_apps", "backup", "share", "media", "homeassistant_config", "all_app_configs",
    "app_config",
)  # fmt: skip
_DANGEROUS: Final = {
    "BPF", "CHECKPOINT_RESTORE", "DAC_READ_SEARCH", "NET_ADMIN", "NET_RAW", "PERFMON", "SYS_ADMIN", "SYS_MODULE",
    "SYS_PTRACE", "SYS_RAWIO",
}  # fmt: skip
_CAPABILITIES: Final = (*_DANGEROUS, "IPC_LOCK", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME")
_SWITCHES: Final = (
    "init", "ingress", "ingress_stream", "panel_admin", "host_network", "host_pid", "host_ipc", "host_uts",
    "host_dbus", "udev", "tmpfs", "apparmor", "full_access", "audio", "video", "gpio", "usb", "uart", "devicetree",
    "kernel_modules", "realtime", "hassio_api", "homeassistant_api", "stdin", "legacy", "docker_api", "auth_api",
    "journald",
)  # fmt: skip

_BOUNDS: Final = r"\((-?[\d.]+)?,(-?[\d.]+)?\)"
_TYPE: Final = re.compile(
    rf"(?P<kind>bool|email|url|port|(?:str|password|int|float)(?P<bounds>{_BOUNDS})?"
    r"|device(?:\(subsystem=[a-z]+\))?|match\((?P<match>.*)\)|list\((?P<list>.+)\))(?P<optional>\?)?"
)
_WATCHDOG: Final = re.compile(
    r"(?P<scheme>https?|tcp|\[PROTO:\w+\])://\[HOST\]:(?P<port>\d+|\[PORT:\d+\])(?P<path>/.*)?"
)


def _version(value: Any) -> str:
    if not isinstance(value, str) or not AwesomeVersion(value).valid:
        raise vol.Invalid("is no version: write one such as 1.2.3, as text")
    return value


def _port_key(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\d+/(tcp|udp)", value):
        raise vol.Invalid("must be a port of the container such as 8443/tcp")
    return value


def _watchdog(value: Any) -> str:
    if not isinstance(value, str) or not _WATCHDOG.fullmatch(value):
        raise vol.Invalid("must be such as http://[HOST]:8098/healthz")
    return value


def option_type(value: Any) -> str:
    """Take a type of an option. Raises vol.Invalid."""
    if not isinstance(value, str) or not (found := _TYPE.fullmatch(value)):
        raise vol.Invalid("is no type of an option that the Supervisor knows")
    if pattern := found["match"]:
        try:
            re.compile(pattern)
        except re.error as err:
            raise vol.Invalid(f"is no regular expression: {err}") from err
    return value


def is_optional(kind: Any) -> bool:
    """Tell whether an option may be missing: the ? stands at the end, in a list at that of its element."""
    if isinstance(kind, list):
        return bool(kind) and is_optional(kind[0])
    return isinstance(kind, str) and kind.endswith("?")


def accepts(kind: Any, value: Any) -> bool:
    """Tell whether a value is one of the type, as when the user saves the options."""
    if isinstance(kind, list):
        return isinstance(value, list) and all(accepts(kind[0], one) for one in value)
    found = _TYPE.fullmatch(kind)
    if found is None:
        return False
    name = kind.partition("(")[0].removesuffix("?")
    low, high = _bounds(found)
    match name:
        case "bool":
            return isinstance(value, bool)
        case "int" | "port" | "float":
            whole = isinstance(value, int | float) and not isinstance(value, bool)
            low, high = (1, 65535) if name == "port" else (low, high)
            return whole and low <= value <= high and (name == "float" or value == int(value))
        case "list":
            return value in found["list"].split("|")
        case "match":
            return isinstance(value, str) and re.match(found["match"], value) is not None
        case _:
            return isinstance(value, str) and low <= len(value) <= high


def _bounds(found: re.Match[str]) -> tuple[float, float]:
    if not found["bounds"]:
        return float("-inf"), float("inf")
    low, _, high = found["bounds"].strip("()").partition(",")
    return float(low or "-inf"), float(high or "inf")


_OPTION: Final = vol.Any(option_type, vol.All([option_type], vol.Length(min=1, max=1)))

CONFIG: Final = vol.Schema(
    {
        vol.Required("name"): str,
        vol.Required("version"): _version,
        vol.Required("slug"): vol.Match(r"^[-_.A-Za-z0-9]+$"),
        vol.Required("description"): str,
        vol.Required("arch"): vol.All([vol.In(ARCHITECTURES)], vol.Unique(), vol.Length(min=1)),
        vol.Optional("url"): vol.Url(),
        vol.Optional("startup"): vol.In(
            ("initialize", "system", "services", "application", "once")
        ),
        vol.Optional("boot"): vol.In(("auto", "manual", "manual_only")),
        vol.Optional("stage"): vol.In(("stable", "experimental", "deprecated")),
        vol.Optional("homeassistant"): _version,
        vol.Optional("ports"): {_port_key: vol.Maybe(vol.All(int, vol.Range(1, 65535)))},
        vol.Optional("watchdog"): _watchdog,
        vol.Optional("ingress_port"): vol.All(int, vol.Range(0, 65535)),
        vol.Optional("ingress_entry"): str,
        vol.Optional("panel_icon"): vol.Match(r"^mdi:[a-z0-9-]+$"),
        vol.Optional("panel_title"): str,
        vol.Optional("devices"): [str],
        vol.Optional("map"): [
            {
                vol.Required("type"): vol.In(_FOLDERS),
                vol.Optional("read_only"): bool,
                vol.Optional("path"): str,
            }
        ],
        vol.Optional("environment"): {vol.Match(r"^\w+$"): str},
        vol.Optional("privileged"): [vol.In(_CAPABILITIES)],
        vol.Optional("hassio_role"): vol.In(_ROLES),
        vol.Optional("services"): [vol.Match(r"^(mqtt|mysql):(provide|want|need)$")],
        vol.Optional("discovery"): [str],
        vol.Optional("backup"): vol.In(("hot", "cold")),
        vol.Optional("backup_pre"): str,
        vol.Optional("backup_post"): str,
        vol.Optional("backup_exclude"): [str],
        vol.Optional("options"): {str: object},
        vol.Optional("schema"): {str: _OPTION},
        vol.Optional("image"): vol.Match(r"^[a-z0-9][a-z0-9.\-_/{}]*$"),
        vol.Optional("timeout"): vol.All(int, vol.Range(10, 300)),
        vol.Optional("ulimits"): {str: vol.Any(int, {"soft": int, "hard": int})},
        vol.Optional("breaking_versions"): [_version],
        **{vol.Optional(name): bool for name in _SWITCHES},
    }
)

REPOSITORY: Final = vol.Schema(
    {vol.Required("name"): str, vol.Optional("url"): vol.Url(), vol.Optional("maintainer"): str}
)

_TEXT: Final = vol.All(str, vol.Length(min=1))
TRANSLATION: Final = vol.Schema(
    {
        vol.Required("configuration"): {
            str: {vol.Required("name"): _TEXT, vol.Required("description"): _TEXT}
        },
        vol.Required("network"): {str: _TEXT},
    }
)


def watchdog_port(config: dict[str, Any]) -> tuple[int, bool] | None:
    """Return the port that the watchdog asks, and whether it is looked up among the published ones."""
    found = _WATCHDOG.fullmatch(str(config.get("watchdog", "")))
    if found is None:
        return None
    port = found["port"]
    return int(port.strip("[]").removeprefix("PORT:")), not port.isdigit()


def rating(config: dict[str, Any], *, own_profile: bool) -> int:
    """Return the security rating that the store shows, 1 to 8, by the Supervisor's rules of 2026."""
    if config.get("docker_api") or config.get("full_access"):
        return 1
    privileged = set(config.get("privileged", ()))
    points = 5
    points += -1 if config.get("apparmor") is False else int(own_profile)
    points += 2 if config.get("ingress") else int(bool(config.get("auth_api")))
    points -= int(bool(privileged & _DANGEROUS) or bool(config.get("kernel_modules")))
    points -= {"manager": 1, "admin": 2}.get(config.get("hassio_role", "default"), 0)
    points -= int(bool(config.get("host_network")))
    points -= 2 * int(bool(config.get("host_pid")))
    points -= int(bool(config.get("host_uts")) and "SYS_ADMIN" in privileged)
    return max(1, min(8, points))
