"""manifest.json."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlparse

import homeassistant.helpers.config_validation as cv
import voluptuous as vol
from awesomeversion import AwesomeVersion, AwesomeVersionException, AwesomeVersionStrategy

from . import Finding, shapes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Files

FILE: Final = "manifest.json"

_TYPES: Final = ("entity", "device", "hardware", "helper", "hub", "service", "system")
_CLASSES: Final = (
    "assumed_state", "calculated", "cloud_polling", "cloud_push", "local_polling", "local_push",
)  # fmt: skip
_CORE_ONLY: Final = {
    "quality_scale": "a custom integration gets no tier; quality_scale.yaml says where it stands",
    "disabled": "it would not be loaded",
}
_FIRST: Final = {"domain", "name"}
_GENERATED: Final = {"is_built_in", "overwrites_built_in"}
_CORE_DOCUMENTATION: Final = "https://www.home-assistant.io/integrations"


def _address(value: Any) -> str:
    parsed = urlparse(value if isinstance(value, str) else "")
    if parsed.scheme != "https" or not parsed.netloc:
        raise vol.Invalid("must be an address that begins with https")
    return str(value)


def _documentation(value: Any) -> str:
    address = _address(value)
    if address.startswith(_CORE_DOCUMENTATION):
        raise vol.Invalid("is where Home Assistant documents its own: give this project's address")
    return address


def _lower(value: Any) -> str:
    if not isinstance(value, str) or value != value.lower():
        raise vol.Invalid("must be in lower case")
    return value


def _version(value: Any) -> str:
    try:
        AwesomeVersion(
            value,
            ensure_strategy=[
                AwesomeVersionStrategy.CALVER,
                AwesomeVersionStrategy.SEMVER,
                AwesomeVersionStrategy.SIMPLEVER,
                AwesomeVersionStrategy.BUILDVER,
                AwesomeVersionStrategy.PEP440,
            ],
        )
    except (AwesomeVersionException, TypeError, ValueError) as err:
        raise vol.Invalid("is no version: use one such as 1.2.3") from err
    return str(value)


def _owner(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"@[\w-]+(?:/[\w-]+)?", value):
        raise vol.Invalid("must be a GitHub name that begins with @")
    return value


_MATCHER: Final = vol.Schema(
    {
        vol.Optional("connectable"): bool,
        vol.Optional("service_uuid"): _lower,
        vol.Optional("service_data_uuid"): _lower,
        vol.Optional("local_name"): str,
        vol.Optional("manufacturer_id"): int,
        vol.Optional("manufacturer_data_start"): [int],
    }
)
# Only what an integration of Bluetooth devices may have: more is a mistake here.
_SHAPE: Final = vol.Schema(
    {
        vol.Required("domain"): cv.slug,
        vol.Required("name"): str,
        vol.Required("documentation"): _documentation,
        vol.Required("codeowners"): vol.All([_owner], vol.Length(min=1)),
        vol.Required("version"): _version,
        vol.Required("integration_type"): vol.In(_TYPES),
        vol.Required("iot_class"): vol.In(_CLASSES),
        vol.Required("issue_tracker"): _address,
        vol.Optional("config_flow"): bool,
        vol.Optional("bluetooth"): [_MATCHER],
        vol.Optional("requirements"): [str],
        vol.Optional("dependencies"): [cv.slug],
        vol.Optional("after_dependencies"): [cv.slug],
        vol.Optional("loggers"): [str],
        vol.Optional("single_config_entry"): bool,
        vol.Optional("import_executor"): bool,
    }
)


def check(files: Files) -> Iterator[Finding]:
    """Check the manifest by itself, and its name against the folder's."""
    manifest = files.manifest
    if not manifest:
        return
    known = dict(manifest)
    for name in manifest:
        if name in _CORE_ONLY:
            yield Finding(
                FILE, name, f"is not for custom integrations: remove it ({_CORE_ONLY[name]})"
            )
            del known[name]
        elif name in _GENERATED:
            yield Finding(FILE, name, "is set by Home Assistant: remove it")
            del known[name]
    yield from shapes.findings(FILE, _SHAPE, known)
    names = list(manifest)
    first = [name for name in names if name in _FIRST]
    right = sorted(first) + sorted(set(names) - set(first))
    for name, wanted in zip(names, right, strict=True):
        if name != wanted:
            yield Finding(FILE, name, "is out of order: domain, name, then by the alphabet")
            break
    if manifest.get("domain") != files.folder.name:
        yield Finding(FILE, "domain", f"must be the folder's name, {files.folder.name}")
    if manifest.get("config_flow") and not (files.folder / "config_flow.py").is_file():
        yield Finding(FILE, "config_flow", "says that there is a config_flow.py: write one")
    both = {*manifest.get("dependencies", ())} & {*manifest.get("after_dependencies", ())}
    for name in sorted(both):
        yield Finding(FILE, f"after_dependencies.{name}", "is among the dependencies already")
