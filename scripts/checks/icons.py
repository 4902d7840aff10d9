"""icons.json."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import homeassistant.helpers.config_validation as cv
import voluptuous as vol
from homeassistant.components.lock.const import LockState

from . import Finding, shapes
from .shapes import keyed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Files

FILE: Final = "icons.json"

_STATES: Final = {
    "binary_sensor": {"on", "off"},
    "lock": {*LockState},
    "switch": {"on", "off"},
}
"""States that a domain has, whatever the integration says; others are translated."""


def _icon(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"mdi:[a-z0-9]+(?:-[a-z0-9]+)*", value):
        raise vol.Invalid("is no icon: write mdi: and a name of Material Design Icons")
    return value


_ATTRIBUTE: Final = {vol.Optional("default"): _icon, vol.Optional("state"): keyed(_icon)}
_SHAPE: Final = vol.Schema(
    {
        vol.Optional("entity"): keyed(
            keyed({**_ATTRIBUTE, vol.Optional("state_attributes"): keyed(_ATTRIBUTE)}), by=cv.slug
        ),
        vol.Optional("services"): keyed(
            {vol.Optional("service"): _icon, vol.Optional("sections"): keyed(_icon)}
        ),
        vol.Optional("conditions"): keyed({vol.Optional("condition"): _icon}),
        vol.Optional("triggers"): keyed({vol.Optional("trigger"): _icon}),
    }
)


def check(files: Files) -> Iterator[Finding]:
    """Check the icons by themselves, and their states against the texts."""
    shape = list(shapes.findings(FILE, _SHAPE, files.icons))
    yield from shape
    yield from shapes.order(FILE, files.icons)
    if shape:
        return
    for domain, entities in files.icons.get("entity", {}).items():
        named = files.texts.get("entity", {}).get(domain, {})
        for key, icon in entities.items():
            path = f"entity.{domain}.{key}"
            attributes = icon.get("state_attributes", {})
            parts = {path: icon} | {
                f"{path}.state_attributes.{name}": one for name, one in attributes.items()
            }
            for where, one in parts.items():
                for state, drawn in one.get("state", {}).items():
                    if drawn == one.get("default"):
                        yield Finding(
                            FILE, f"{where}.state.{state}", "is the default icon: remove it"
                        )
            told = named.get(key, {})
            states = _STATES.get(domain, set()) | set(told.get("state", {}))
            for state in sorted(set(icon.get("state", {})) - states):
                yield Finding(FILE, f"{path}.state.{state}", "is no state of the entity: remove it")
            for name, one in attributes.items():
                values = told.get("state_attributes", {}).get(name, {}).get("state", {})
                for value in sorted(set(one.get("state", {})) - set(values)):
                    key_ = f"{path}.state_attributes.{name}.state.{value}"
                    yield Finding(
                        FILE, key_, "has no text among the translations: remove it, or translate it"
                    )
