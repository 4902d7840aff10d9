"""services.yaml, and what translations and icons say about the actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import homeassistant.helpers.config_validation as cv
import voluptuous as vol
from homeassistant.helpers import selector, service

from . import Finding, shapes, texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Files

FILE: Final = "services.yaml"


def _given(value: Any) -> Any:
    if value is None:
        raise vol.Invalid("is empty: give a value, or remove the key")
    return value


def _selector(value: Any) -> Any:
    try:
        return selector.validate_selector(value)
    except vol.Invalid as err:
        raise vol.Invalid(f"is no selector that Home Assistant knows: {err}") from err


_FILTER: Final = vol.Schema(
    {
        vol.Exclusive("attribute", "filter"): {
            str: [vol.All(str, service.validate_attribute_option)]
        },
        vol.Exclusive("supported_features", "filter"): [
            vol.All(str, service.validate_supported_feature)
        ],
    }
)
_FIELD: Final = {
    vol.Optional("example"): _given,
    vol.Optional("default"): _given,
    vol.Optional("required"): bool,
    vol.Optional("advanced"): bool,
    # hassfest lets a field be without; then people cannot fill it in.
    vol.Required("selector"): _selector,
}


def _fields(field: vol.Schema) -> Any:
    section = vol.Schema({vol.Required("fields"): {str: field}, vol.Optional("collapsed"): bool})

    def take(value: Any) -> Any:
        # Not vol.Any: its error would be that of the wrong one of both.
        return (section if isinstance(value, dict) and "fields" in value else field)(value)

    return take


_TARGETED: Final = vol.Schema(
    {
        vol.Required("target"): vol.Any(selector.TargetSelector.CONFIG_SCHEMA, None),
        vol.Optional("fields"): {
            str: _fields(vol.Schema({**_FIELD, vol.Optional("filter"): _FILTER}))
        },
    }
)
_UNTARGETED: Final = vol.Schema({vol.Optional("fields"): {str: _fields(vol.Schema(_FIELD))}})


def _service(value: Any) -> Any:
    if value is None:
        return None
    targeted = isinstance(value, dict) and "target" in value
    return (_TARGETED if targeted else _UNTARGETED)(value)


_SHAPE: Final = vol.Schema({cv.slug: _service})


def fields_of(of: dict[str, Any] | None) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Return the fields of an action, those in sections too, and the names of the sections."""
    fields: dict[str, dict[str, Any]] = {}
    sections: set[str] = set()
    for name, one in ((of or {}).get("fields") or {}).items():
        if isinstance(one, dict) and "fields" in one:
            sections.add(name)
            fields |= one["fields"]
        else:
            fields[name] = one or {}
    return fields, sections


def check(files: Files) -> Iterator[Finding]:
    """Check the actions by themselves, their texts and their icons."""
    yield from shapes.findings(FILE, _SHAPE, files.services)
    if list(files.services) != sorted(files.services):
        yield Finding(FILE, "", "sort the actions by name")
    told, icons = files.texts.get("services", {}), files.icons.get("services", {})
    for name in sorted(set(told) - set(files.services)):
        yield Finding(
            texts.FILE, f"services.{name}", f"is no action: remove it, or add it to {FILE}"
        )
    for name in sorted(set(icons) - set(files.services)):
        yield Finding(
            "icons.json", f"services.{name}", f"is no action: remove it, or add it to {FILE}"
        )
    for name, one in files.services.items():
        if name not in told:
            yield Finding(texts.FILE, f"services.{name}", "is missing: give name and description")
        if name not in icons:
            yield Finding("icons.json", f"services.{name}", "is missing: give the action an icon")
        yield from _texts(files, name, one, told.get(name, {}))
        if isinstance(icons.get(name), dict):
            drawn = {*icons[name].get("sections", {})}
            for section in sorted(drawn - fields_of(one)[1]):
                key = f"services.{name}.sections.{section}"
                yield Finding("icons.json", key, "is no section of the action: remove it")


def _texts(files: Files, name: str, one: Any, told: dict[str, Any]) -> Iterator[Finding]:
    fields, sections = fields_of(one)
    seen: set[str] = set()
    for field in _names(one):
        if field in seen:
            yield Finding(FILE, f"{name}.fields.{field}", "is there twice: give it another name")
        seen.add(field)
    for kind, names in (("fields", set(fields)), ("sections", sections)):
        have = set(told.get(kind, {}))
        for missing in sorted(names - have):
            yield Finding(
                texts.FILE, f"services.{name}.{kind}.{missing}", "is missing: name and describe it"
            )
        for idle in sorted(have - names):
            yield Finding(
                texts.FILE, f"services.{name}.{kind}.{idle}", f"is not in {FILE}: remove it"
            )
    for field, spec in fields.items():
        choice = (spec.get("selector") or {}).get("select") or {}
        if (words := choice.get("translation_key")) is None:
            continue
        options = files.texts.get("selector", {}).get(words, {}).get("options", {})
        for option in choice.get("options", ()):
            value = option["value"] if isinstance(option, dict) else option
            if value not in options:
                yield Finding(
                    texts.FILE,
                    f"selector.{words}.options.{value}",
                    f"is missing: the field {field} of {name} offers it",
                )


def _names(one: Any) -> Iterator[str]:
    for name, field in ((one or {}).get("fields") or {}).items():
        if isinstance(field, dict) and "fields" in field:
            yield from field["fields"]
        else:
            yield name
