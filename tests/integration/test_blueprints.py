"""What every blueprint has to be: importable, complete, and usable as it is offered."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from documents import ROOT
from homeassistant.components.blueprint.importer import fetch_blueprint_from_url
from homeassistant.helpers.selector import EntitySelector, selector

from blueprints import FOLDER, blueprint

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from pytest_homeassistant_custom_component.test_util.aiohttp import AiohttpClientMocker

NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
REPOSITORY = "igrs-lock/igrs-lock"


def address(name: str) -> str:
    return f"https://github.com/{REPOSITORY}/blob/main/blueprints/automation/igrs_lock/{name}.yaml"


@pytest.mark.parametrize("name", NAMES)
async def test_it_can_be_imported_from_the_address_on_the_page(
    hass: HomeAssistant, aioclient_mock: AiohttpClientMocker, name: str
) -> None:
    assert f"({address(name)})" in (ROOT / "docs" / "automations.md").read_text("utf-8")
    aioclient_mock.get(  # type: ignore[no-untyped-call]  # of the test helpers
        f"https://raw.githubusercontent.com/{REPOSITORY}/main/blueprints/automation/igrs_lock/{name}.yaml",
        text=(FOLDER / f"{name}.yaml").read_text("utf-8"),
    )
    imported = await fetch_blueprint_from_url(hass, address(name))
    assert imported.suggested_filename == f"igrs-lock/{name}"
    assert imported.blueprint.domain == "automation"
    assert imported.blueprint.metadata["source_url"] == address(name)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_which_home_assistant_it_needs(name: str) -> None:
    metadata = blueprint(name).metadata
    assert metadata["homeassistant"]["min_version"] == "2026.10.0"
    assert blueprint(name).validate() is None
    assert metadata["description"]
    assert metadata["author"] == "IGRS Lock"


@pytest.mark.parametrize("name", NAMES)
def test_every_input_is_used_and_can_be_chosen(name: str) -> None:
    inputs = blueprint(name).inputs
    text = (FOLDER / f"{name}.yaml").read_text("utf-8")
    for key, one in inputs.items():
        assert f"!input {key}\n" in text, key
        assert one["name"]
        chosen = selector(one["selector"])
        if "default" in one and not isinstance(chosen, EntitySelector):
            chosen(one["default"])  # type: ignore[operator]  # every kind of them is


@pytest.mark.parametrize("name", NAMES)
def test_locks_and_their_activity_are_offered_of_this_integration_only(name: str) -> None:
    for one in blueprint(name).inputs.values():
        for wanted in entity_filters(one["selector"]):
            if {"lock", "event"} & set(wanted["domain"]):
                assert wanted["integration"] == "igrs_lock"


def entity_filters(chosen: dict[str, Any]) -> list[dict[str, Any]]:
    filters: list[dict[str, Any]] = (chosen.get("entity") or {}).get("filter", [])
    return filters


def test_there_are_three() -> None:
    assert NAMES == ["let_a_guest_in", "lock_up", "who_came_home"]
    assert {path.parent for path in Path(FOLDER).rglob("*.yaml")} == {FOLDER}
