"""The blueprints: what Home Assistant's own schema asks, and that every input is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from homeassistant.components.blueprint.errors import BlueprintException
from homeassistant.components.blueprint.models import Blueprint
from homeassistant.components.blueprint.schemas import BLUEPRINT_SCHEMA
from homeassistant.exceptions import HomeAssistantError
from homeassistant.util.yaml import Input, load_yaml_dict

from . import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SOURCE: Final = "https://github.com/igrs-lock/igrs-lock/blob/main/"


def check(folder: Path) -> Iterator[Finding]:
    """Check all blueprints under a folder; the first folder below it is their domain."""
    for path in sorted(folder.rglob("*.yaml")):
        yield from _check(path, path.relative_to(folder.parent).as_posix())


def _check(path: Path, file: str) -> Iterator[Finding]:
    domain = file.split("/")[1]
    try:
        read = load_yaml_dict(str(path))
        blueprint = Blueprint(read, path=file, expected_domain=domain, schema=BLUEPRINT_SCHEMA)
    except (BlueprintException, HomeAssistantError) as err:
        yield Finding(file, "", f"is no blueprint of the domain {domain}: {err}")
        return
    metadata = blueprint.metadata
    if metadata.get("source_url") != f"{_SOURCE}{file}":
        yield Finding(file, "blueprint.source_url", f"must be {_SOURCE}{file}")
    for key in ("description", "author"):
        if not metadata.get(key):
            yield Finding(file, f"blueprint.{key}", "is missing: people see it before they import")
    if not metadata.get("homeassistant", {}).get("min_version"):
        yield Finding(
            file, "blueprint.homeassistant.min_version", "is missing: say which one it needs"
        )
    used = {name for key, value in read.items() if key != "blueprint" for name in _inputs(value)}
    for name, one in blueprint.inputs.items():
        where = f"blueprint.input.{name}"
        if name not in used:
            yield Finding(file, where, "is not used: remove it, or use it with !input")
        if not (one or {}).get("name"):
            yield Finding(file, f"{where}.name", "is missing: name the input")
        if not (one or {}).get("selector"):
            yield Finding(file, f"{where}.selector", "is missing: people cannot choose without one")


def _inputs(node: Any) -> Iterator[str]:
    match node:
        case Input():
            yield node.name
        case dict():
            for value in node.values():
                yield from _inputs(value)
        case list():
            for value in node:
                yield from _inputs(value)
