"""translations/en.json, and the other languages against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import homeassistant.helpers.config_validation as cv
import voluptuous as vol

from . import Finding, shapes
from .shapes import keyed, plain, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import Files

FILE: Final = "translations/en.json"

_ANY: Final = {str: text}
_STEP: Final = vol.Schema(
    {
        vol.Optional("title"): text,
        vol.Optional("description"): text,
        vol.Optional("data"): _ANY,
        vol.Optional("data_description"): _ANY,
        vol.Optional("menu_options"): _ANY,
        vol.Optional("menu_option_descriptions"): _ANY,
        vol.Optional("submit"): text,
        vol.Optional("sections"): {
            str: {
                vol.Optional("data"): _ANY,
                vol.Optional("data_description"): _ANY,
                vol.Optional("description"): text,
                vol.Optional("name"): text,
            }
        },
    }
)


def _flow(**more: Any) -> vol.Schema:
    """Return the shape of the texts of a flow; `more` are keys that only this kind has."""
    return vol.Schema(
        {
            vol.Optional("flow_title"): text,
            vol.Required("step"): {shapes.key: _STEP},
            vol.Optional("error"): keyed(text),
            vol.Optional("abort"): keyed(text),
            vol.Optional("progress"): keyed(text),
            vol.Optional("create_entry"): keyed(text),
            **more,
        }
    )


_FLOW: Final = _flow()
_CONFIG: Final = _flow(initiate_flow={vol.Required("user"): text})
_SUBENTRY: Final = _flow().extend(
    {
        vol.Required("entry_type"): text,
        vol.Required("initiate_flow"): {vol.Required("user"): text, str: text},
    }
)


def _issue(value: Any) -> Any:
    if not isinstance(value, dict) or ("description" in value) == ("fix_flow" in value):
        raise vol.Invalid("needs either a description or a fix_flow")
    return vol.Schema(
        {
            vol.Required("title"): text,
            vol.Optional("description"): text,
            vol.Optional("fix_flow"): _FLOW,
        }
    )(value)


_FIELDS: Final = keyed(
    {vol.Required("name"): text, vol.Required("description"): text, vol.Optional("example"): text}
)
_ATTRIBUTES: Final = keyed({vol.Optional("name"): plain, vol.Optional("state"): keyed(plain)})
_CALLED: Final = {
    vol.Required("name"): text,
    vol.Required("description"): text,
    vol.Optional("fields"): _FIELDS,
}
_SHAPE: Final = vol.Schema(
    {
        vol.Optional("title"): text,
        vol.Optional("config"): _CONFIG,
        vol.Optional("config_subentries"): keyed(_SUBENTRY, by=cv.slug),
        vol.Optional("options"): _FLOW,
        vol.Optional("selector"): keyed(
            {
                vol.Optional("choices"): keyed(text),
                vol.Optional("options"): keyed(text),
                vol.Optional("unit_of_measurement"): keyed(text),
                vol.Optional("fields"): _FIELDS,
            },
            by=cv.slug,
        ),
        vol.Optional("device_automation"): {
            vol.Any(
                "action_type", "condition_type", "trigger_type", "trigger_subtype",
                "extra_fields", "extra_fields_descriptions",
            ): _ANY
        },
        vol.Optional("system_health"): {vol.Optional("info"): keyed(text)},
        vol.Optional("issues"): {shapes.key: _issue},
        vol.Optional("device"): keyed({vol.Optional("name"): text}),
        vol.Optional("entity"): keyed(
            keyed(
                {
                    vol.Optional("name"): text,
                    vol.Optional("state"): keyed(plain),
                    vol.Optional("state_attributes"): _ATTRIBUTES,
                    vol.Optional("unit_of_measurement"): plain,
                }
            ),
            by=cv.slug,
        ),
        vol.Optional("exceptions"): keyed({vol.Required("message"): text}, by=cv.slug),
        vol.Optional("services"): keyed(
            {
                **_CALLED,
                vol.Optional("sections"): keyed(
                    {vol.Required("name"): text, vol.Optional("description"): text}
                ),
            }
        ),
        vol.Optional("conditions"): keyed(_CALLED, by=cv.slug),
        vol.Optional("triggers"): keyed(_CALLED, by=cv.slug),
        vol.Optional("common"): {cv.slug: text},
    }
)  # fmt: skip


def flows(texts: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and the texts of every flow."""
    for name in ("config", "options"):
        if name in texts:
            yield name, texts[name]
    for name, flow in texts.get("config_subentries", {}).items():
        yield f"config_subentries.{name}", flow
    for name, issue in texts.get("issues", {}).items():
        if "fix_flow" in issue:
            yield f"issues.{name}.fix_flow", issue["fix_flow"]


def check(files: Files) -> Iterator[Finding]:
    """Check the English texts by themselves, and the other languages against them."""
    shape = list(shapes.findings(FILE, _SHAPE, files.texts))
    yield from shape
    yield from shapes.order(FILE, files.texts)
    if not shape:
        for path, flow in flows(files.texts):
            yield from _described(path, flow)
    for file, texts in files.other_languages().items():
        yield from shapes.findings(file, _SHAPE, texts)
        yield from shapes.order(file, texts)
        yield from _same(file, dict(shapes.leaves(files.texts)), dict(shapes.leaves(texts)))


def _described(path: str, flow: dict[str, Any]) -> Iterator[Finding]:
    """Yield fields without a description, menus with some only, and the reverse."""
    for name, step in flow.get("step", {}).items():
        forms = {f"{path}.step.{name}": step}
        forms |= {
            f"{path}.step.{name}.sections.{key}": one
            for key, one in step.get("sections", {}).items()
        }
        for where, form in forms.items():
            fields, told = set(form.get("data", {})), set(form.get("data_description", {}))
            for field in sorted(fields - told):
                yield Finding(
                    FILE, f"{where}.data_description.{field}", "is missing: describe the field"
                )
            for field in sorted(told - fields):
                yield Finding(
                    FILE, f"{where}.data_description.{field}", "is no field of the form: remove it"
                )
        if (
            "menu_options" in step
            and path in ("config", "options")
            and "{" in step.get("title", "")
        ):
            yield Finding(
                FILE, f"{path}.step.{name}.title", "has a placeholder: the frontend fills none here"
            )
        options, told = (
            set(step.get("menu_options", {})),
            set(step.get("menu_option_descriptions", {})),
        )
        for option in sorted(told - options if told else ()):
            yield Finding(
                FILE,
                f"{path}.step.{name}.menu_option_descriptions.{option}",
                "is no option: remove it",
            )
        for option in sorted(options - told if told else ()):
            yield Finding(
                FILE,
                f"{path}.step.{name}.menu_option_descriptions.{option}",
                "is missing: the others have one",
            )


def _same(file: str, english: dict[str, str], other: dict[str, str]) -> Iterator[Finding]:
    """Yield texts that English does not have, and placeholders that differ.

    A text that is missing is shown in English: that is no mistake.
    """
    for path, value in other.items():
        if path not in english:
            yield Finding(file, path, "is not in the English texts: remove it")
        else:
            try:
                differ = shapes.placeholders(value) ^ shapes.placeholders(english[path])
            except vol.Invalid:
                continue  # told already
            for name in sorted(differ):
                yield Finding(
                    file, path, f"has not the placeholders of the English text: {{{name}}}"
                )
