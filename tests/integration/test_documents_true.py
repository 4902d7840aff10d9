"""The pages about people, actions, log and troubleshooting tell what the code has."""

import re
from typing import TYPE_CHECKING, Any

import pytest
from documents import ROOT
from homeassistant.components.lock.const import DOMAIN as LOCK_DOMAIN
from homeassistant.util.json import load_json_object
from homeassistant.util.yaml import load_yaml_dict, parse_yaml

from custom_components.igrs_lock import errors, event
from custom_components.igrs_lock.access import AccessState, PinState
from custom_components.igrs_lock.actions import LOG_COUNT_MAX, async_setup_actions
from custom_components.igrs_lock.const import DOMAIN, DOOR_LEFT_OPEN_DEFAULT
from custom_components.igrs_lock.log_store import KEPT
from custom_components.igrs_lock.person import LEASE, LEASE_RENEW, RIGHTS, USES_LIMIT, Kind
from custom_components.igrs_lock.pin import PIN_MAX, PIN_MIN
from custom_components.igrs_lock.state import CHANGED_BY

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant

FOLDER = ROOT / "custom_components" / "igrs_lock"
SERVICES = load_yaml_dict(str(FOLDER / "services.yaml"))
TEXTS: dict[str, Any] = load_json_object(FOLDER / "translations" / "en.json")
ACTIONS = (ROOT / "docs" / "actions.md").read_text("utf-8")
LOG = (ROOT / "docs" / "log.md").read_text("utf-8")
PEOPLE = (ROOT / "docs" / "people.md").read_text("utf-8")
PAGE = (ROOT / "docs" / "home-assistant.md").read_text("utf-8")
TROUBLES = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")


def section(text: str, title: str) -> str:
    """Return what stands under a heading."""
    (found,) = re.findall(
        rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL
    )
    return str(found)


def shown(text: str) -> str:
    """Return a text with what varies as the pages write it."""
    return re.sub(r"{\w+}", "…", text).replace("*", "")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_the_fields_of_every_action_are_told(name: str) -> None:
    told = section(ACTIONS, TEXTS["services"][name]["name"])
    rows = re.findall(r"^\| (`.+?`) \| (needed)? *\|", told, re.MULTILINE)
    fields = {field: bool(needed) for row, needed in rows for field in re.findall(r"`(\w+)`", row)}
    wanted = SERVICES[name].get("fields", {})
    assert fields == {field: one.get("required", False) for field, one in wanted.items()}
    assert f"[`{DOMAIN}.{name}`]" in ACTIONS


def test_the_examples_of_actions_are_as_the_actions_take_them(hass: HomeAssistant) -> None:
    async_setup_actions(hass)
    registered = hass.services.async_services()[DOMAIN]
    seen = set()
    for block in re.findall(r"^```yml\n(.*?)^```$", ACTIONS, re.MULTILINE | re.DOTALL):
        example: Any = parse_yaml(block)
        domain, name = example["action"].split(".")
        assert domain == DOMAIN
        schema = registered[name].schema
        assert schema is not None
        schema({**example["target"], **example.get("data", {})})
        assert example["target"]["entity_id"].startswith(f"{LOCK_DOMAIN}.")
        seen.add(name)
    assert seen == set(SERVICES)


def test_states_of_access_and_pins_are_told() -> None:
    told = section(ACTIONS, "Get users")
    for state in (*AccessState, *PinState):
        if state is not PinState.NONE:
            assert f"`{state}`" in told, state


def test_numbers_are_those_of_the_code() -> None:
    assert f"{PIN_MIN} to {PIN_MAX} digits" in PEOPLE
    assert f"{PIN_MIN} to {PIN_MAX} digits" in ACTIONS
    assert f"1 to {USES_LIMIT}" in PEOPLE
    assert f"1 to {USES_LIMIT}" in ACTIONS
    assert f"1 to {LOG_COUNT_MAX}" in ACTIONS
    assert f"{SERVICES['get_log']['fields']['count']['default']} if not given" in ACTIONS
    assert f"newest {KEPT:,} records" in LOG
    assert (LEASE, LEASE_RENEW) == (30 * 86400, 7 * 86400)
    assert "30 days ahead" in PEOPLE
    assert "after seven days" in PEOPLE
    assert f"{DOOR_LEFT_OPEN_DEFAULT} at first" in PAGE


def test_kinds_and_rights_are_told() -> None:
    for word in (*Kind, *RIGHTS):
        assert f"`{word}`" in ACTIONS


def test_events_and_causes_are_told() -> None:
    told = section(LOG, "Events")
    for name in event.ACTIVITY.event_types or ():
        assert f"`{name}`" in told, name
    of_people = {
        name
        for row in told.partition("| attribute")[0].splitlines()
        if "at a person" in row
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert of_people == set(event.PERSON_ACTIVITY.event_types or ())
    for name in CHANGED_BY:
        assert f"`{name}`" in section(LOG, "changed_by")


def test_every_entity_is_told() -> None:
    told = section(PAGE, "Entities")
    for entities in TEXTS["entity"].values():
        for one in entities.values():
            if "name" in one:
                assert f"**{one['name']}**" in told, one["name"]


@pytest.mark.parametrize("key", sorted(TEXTS["issues"]))
def test_every_repair_is_told(key: str) -> None:
    assert f"\n### {shown(TEXTS['issues'][key]['title'])}\n" in TROUBLES


def test_no_repair_is_told_that_is_none() -> None:
    titles = {shown(issue["title"]) for issue in TEXTS["issues"].values()}
    titles.add(shown(TEXTS["config"]["step"]["reauth_confirm"]["title"]))
    assert set(re.findall(r"^### (.+)$", TROUBLES, re.MULTILINE)) == titles


OF_ACTIONS = sorted(
    {
        error.key
        for error in vars(errors).values()
        if isinstance(error, type)
        and issubclass(error, errors.OperationError)
        and error is not errors.OperationError
    }
)


@pytest.mark.parametrize("key", OF_ACTIONS)
def test_every_error_is_told(key: str) -> None:
    message = shown(TEXTS["exceptions"][key]["message"])
    start = re.split(r"(?<=\w)\.|[:,] | \(| now\b", message)[0]
    assert start in TROUBLES, start


def test_every_message_that_is_told_is_one() -> None:
    texts = "\n".join(shown(text) for text in leaves(TEXTS))
    for message in re.findall(r"^\| \*(.+?)\*(?: \(`\w+`\))? \|", TROUBLES, re.MULTILINE):
        assert message.rstrip(".") in texts, message


def leaves(node: Any) -> list[str]:
    """Return all texts under a node."""
    if isinstance(node, str):
        return [node]
    return [text for value in node.values() for text in leaves(value)]
