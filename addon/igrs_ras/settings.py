"""What the operator decides: from the app's options.json, a TOML file, or the environment. Unknown keys are errors."""

import difflib
import ipaddress
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec

PREFIX = "IGRS_RAS_"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(Exception):
    """Something is wrong with the settings. The text names the setting and never a secret's value."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings, flat, as they stand in the app's options and, upper-case behind IGRS_RAS_, in the environment.

    `listen`, `local_listen`, `ingress_listen` and `metrics_listen` are HOST:PORT; an empty one is off.
    """

    data: str = "data"
    database_url: str = ""
    name: str = "IGRS Lock"
    public_url: str = ""
    listen: str = "127.0.0.1:8443"
    local_listen: str = ""
    ingress_listen: str = ""
    metrics_listen: str = "127.0.0.1:9190"
    certfile: str = ""
    keyfile: str = ""
    trusted_proxies: list[str] = []
    allowed_origins: list[str] = []
    offer_place: bool = False
    smtp_host: str = ""
    smtp_port: int = 587
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: str = ""
    smtp_password: str = ""
    smtp_sender: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    # Limits, raised by the bench only.
    relays_per_minute: int = 20
    messages_per_second: int = 50
    sockets_per_user: int = 8
    sockets: int = 10_000

    def __repr__(self) -> str:
        """Return nothing that is secret."""
        return f"<Settings {self.name!r}>"

    @property
    def folder(self) -> Path:
        """The data folder."""
        return Path(self.data)

    @property
    def database(self) -> str:
        """The database's address for SQLAlchemy."""
        return self.database_url or f"sqlite:///{self.folder / 'ras.sqlite3'}"

    @property
    def proxies(self) -> list[Network]:
        """Networks whose X-Forwarded-For is believed."""
        return [ipaddress.ip_network(text) for text in self.trusted_proxies]

    @property
    def public_host(self) -> str:
        """The host of `public_url`, or an empty text."""
        return urlsplit(self.public_url).hostname or ""


def split_address(text: str, setting: str) -> tuple[str, int] | None:
    """Read HOST:PORT, with [::1]:8443 for IPv6; None if it is empty."""
    if not text:
        return None
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535 or not host:
        raise SettingsError(f"{setting} must be HOST:PORT, such as 127.0.0.1:8443")
    return host.strip("[]"), int(port)


def _check_origin(text: str, setting: str, *, trial: bool = False) -> None:
    """Refuse an address that is no https one; with `trial` a plain one will do that no other machine can open."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise SettingsError(f"{setting} is no address") from error
    plain = trial and parts.scheme == "http" and _loopback(host)
    if (
        not (parts.scheme == "https" or plain)
        or not host
        or parts.username is not None
        or parts.query
        or parts.fragment
    ):
        raise SettingsError(
            f"{setting} must be an https address without user, query or fragment"
            + (", or for a trial on this machine http://127.0.0.1:PORT" if trial else "")
        )
    usual = ":80" if plain else ":443"
    if (
        parts.netloc != parts.netloc.lower()
        or not parts.netloc.isascii()
        or parts.netloc.endswith((usual, ":"))
    ):
        # Browsers write it otherwise, and it has to be equal to what they say.
        raise SettingsError(
            f"{setting} must be written in lower case, other letters than a to z as xn--…, and without {usual}"
        )


def check(settings: Settings) -> Settings:
    """Return the settings if they make sense. Raises SettingsError, which says what to do."""
    addresses = {
        name: split_address(getattr(settings, name), name)
        for name in ("listen", "local_listen", "ingress_listen", "metrics_listen")
    }
    if bool(settings.certfile) != bool(settings.keyfile):
        raise SettingsError("certfile and keyfile go together: give both or none")
    for name in ("certfile", "keyfile"):
        path = getattr(settings, name)
        if path and not os.access(path, os.R_OK):
            raise SettingsError(f"{name}: the file is not there or cannot be read")
    try:
        proxies = settings.proxies
    except ValueError as error:
        raise SettingsError(
            "trusted_proxies must be addresses or networks such as 192.0.2.0/24"
        ) from error
    if any(network.prefixlen == 0 for network in proxies):
        raise SettingsError("trusted_proxies must not be everybody: name the proxy's own address")
    if settings.public_url:
        _check_origin(settings.public_url, "public_url", trial=True)
    for origin in settings.allowed_origins:
        _check_origin(origin, "allowed_origins")
        if origin != f"https://{urlsplit(origin).netloc}":
            raise SettingsError("allowed_origins must be origins: https://host, without a path")
    public = addresses["listen"]
    if public and not settings.certfile and not proxies and not _loopback(public[0]):
        raise SettingsError(
            "listen is reachable from other machines without TLS: set certfile and keyfile,"
            " or trusted_proxies if a proxy with TLS stands before it, or listen on 127.0.0.1"
        )
    metrics = addresses["metrics_listen"]
    if metrics and not _private(metrics[0]):
        raise SettingsError("metrics_listen must be a loopback or private address")
    _check_values(settings)
    return settings


def _check_values(settings: Settings) -> None:
    if settings.smtp_host and not settings.smtp_sender:
        raise SettingsError("smtp_sender is needed when smtp_host is set")
    if settings.database_url and not settings.database_url.startswith(
        ("postgresql+psycopg://", "sqlite:///")
    ):
        raise SettingsError(
            "database_url must begin with postgresql+psycopg:// (or be empty, for SQLite)"
        )
    for name in ("relays_per_minute", "messages_per_second", "sockets_per_user", "sockets"):
        if getattr(settings, name) < 1:
            raise SettingsError(f"{name} must be at least 1")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _private(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return (address.is_loopback or address.is_private) and not address.is_unspecified


_TYPES = {field.encode_name: field.type for field in msgspec.structs.fields(Settings)}


def _unknown(given: str, prefix: str = "") -> SettingsError:
    """Return the error of a name that is no setting, with the one that was perhaps meant."""
    name = given.removeprefix(prefix).lower()
    close = difflib.get_close_matches(name, _TYPES, 1)
    meant = prefix + (close[0].upper() if prefix else close[0]) if close else ""
    return SettingsError(
        f"{given} is no setting: "
        + (f"is {meant} meant?" if meant else "docs/ras-operators.md lists them")
    )


def _convert(found: dict[str, Any]) -> Settings:
    """Make settings of values, and say what one must be without repeating it. Raises SettingsError."""
    for name, value in found.items():
        if name not in _TYPES:
            raise _unknown(name)
        kind = _TYPES[name]
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            plain = {int: "a number", str: "a text", list[str]: "a list of texts"}
            must = plain.get(kind) or f"one of {', '.join(get_args(kind))}"
            raise SettingsError(f"{name} must be {must}") from error
    return msgspec.convert(found, Settings)


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in environment.items():
        if not key.startswith(PREFIX) or key in (f"{PREFIX}CONFIG", f"{PREFIX}OPTIONS"):
            continue
        name = key.removeprefix(PREFIX).lower()
        if name not in _TYPES:
            raise _unknown(key, PREFIX)
        if _TYPES[name] is int:
            if not value.isdigit():
                raise SettingsError(f"{key} must be a number")
            found[name] = int(value)
        elif _TYPES[name] == list[str]:
            found[name] = [part.strip() for part in value.split(",") if part.strip()]
        else:
            found[name] = value
    return found


def _from_file(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".json":
            found = json.loads(path.read_bytes())
        else:
            found = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"{path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        line = getattr(error, "lineno", None)
        raise SettingsError(
            f"{path.name} is not valid {'JSON' if path.suffix == '.json' else 'TOML'}"
            + (f" (line {line})" if line else "")
        ) from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path.name} must hold settings by name")
    return {key: value for key, value in found.items() if value is not None}


def load(file: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings: the file (or IGRS_RAS_CONFIG; `.json` as the app's options.json), then the environment over it.

    Raises SettingsError.
    """
    if file is None and environment.get(f"{PREFIX}CONFIG"):
        file = Path(environment[f"{PREFIX}CONFIG"])
    found = _from_file(file) if file else {}
    found |= _from_environment(environment)
    return check(_convert(found))
