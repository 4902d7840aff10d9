"""Manifest, texts and icons agree with what the code has when it is loaded.

What can be told from the files alone is in `scripts/checks`.
"""

import inspect
import json
import re
from pathlib import Path

import pytest
from homeassistant.components.lock.const import LockState
from homeassistant.config_entries import ConfigFlow
from homeassistant.util.yaml import load_yaml_dict

from custom_components.igrs_lock import (
    PLATFORMS,
    binary_sensor,
    button,
    config_flow,
    const,
    errors,
    event,
    flow_server,
    issues,
    movement,
    number,
    person_sensor,
    sensor,
    switch,
)
from custom_components.igrs_lock import lock as lock_platform
from custom_components.igrs_lock.action_people import PERSON_FIELDS
from custom_components.igrs_lock.ilp import SERVICE_UUID, Result
from custom_components.igrs_lock.people_flow import PersonFlow
from custom_components.igrs_lock.person import RIGHTS, WEEKDAYS, Kind
from custom_components.igrs_lock.pin import WEAKNESSES
from custom_components.igrs_lock.remote import binary_sensor as server_sensor
from custom_components.igrs_lock.remote import people_issues
from custom_components.igrs_lock.remote import switch as server_switch
from custom_components.igrs_lock.remote.errors import RemoteError
from custom_components.igrs_lock.remote.issues import SERVER_ISSUES
from custom_components.igrs_lock.state import CHANGED_BY

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "custom_components" / "igrs_lock"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())
TEXTS = json.loads((FOLDER / "translations" / "en.json").read_text())
ICONS = json.loads((FOLDER / "icons.json").read_text())
SOURCE = "\n".join(path.read_text() for path in FOLDER.rglob("*.py"))
PERSON_SOURCE = "\n".join(path.read_text() for path in FOLDER.glob("people_[fr]*.py"))
ACTION_SOURCE = "\n".join(path.read_text() for path in FOLDER.glob("action*.py"))
LOCK_SOURCE = "\n".join(
    path.read_text()
    for path in FOLDER.glob("*.py")
    if not path.match("people_[fr]*.py") and not path.match("repairs*.py")
)
PERSON = TEXTS["config_subentries"]["person"]
SERVICES = load_yaml_dict(str(FOLDER / "services.yaml"))
REFUSALS = {
    *re.findall(r'refusal\(\s*"(\w+)"', ACTION_SOURCE),
    *WEAKNESSES,
    *re.findall(r'errors\[\w+\] = "(\w+)"', (FOLDER / "people_forms.py").read_text()),
}
"""Keys of errors of the actions that no other part raises."""
ERRORS = [
    error.key
    for error in vars(errors).values()
    if isinstance(error, type)
    and issubclass(error, errors.OperationError)
    and error is not errors.OperationError
]
REMOTE_ERRORS = [error.key for error in RemoteError.__subclasses__()]


def test_the_manifest_is_what_the_code_is() -> None:
    assert MANIFEST["domain"] == const.DOMAIN == FOLDER.name
    assert MANIFEST["bluetooth"] == [{"connectable": True, "service_data_uuid": SERVICE_UUID}]
    assert MANIFEST["requirements"] == []
    assert MANIFEST["iot_class"] == "local_push"
    assert MANIFEST["integration_type"] == "device"
    assert MANIFEST["documentation"].startswith("https://github.com/igrs-lock/igrs-lock")
    assert MANIFEST["issue_tracker"].startswith("https://github.com/igrs-lock/igrs-lock")


def test_hacs_knows_the_oldest_home_assistant() -> None:
    hacs = json.loads((ROOT / "hacs.json").read_text())
    assert hacs == {"name": MANIFEST["name"], "homeassistant": "2026.10.0"}


@pytest.mark.parametrize("key", [*ERRORS, *REMOTE_ERRORS])
def test_every_error_has_its_sentence(key: str) -> None:
    assert key in TEXTS["exceptions"]


def test_every_sentence_has_its_error() -> None:
    assert set(TEXTS["exceptions"]) == {*ERRORS, *REMOTE_ERRORS, *REFUSALS}


OF_REASONS = re.findall(
    r'(?:return|else|status,) "(\w+)"', inspect.getsource(flow_server.reason_of)
)


def test_every_error_of_the_flow_is_one_that_can_happen() -> None:
    in_code = set(
        re.findall(r'(?:CONF_SETUP_CODE: |errors\[(?:CONF_NAME|"base")\] = )"(\w+)"', LOCK_SOURCE)
    )
    of_servers = {*flow_server._REFUSALS.values(), *OF_REASONS}
    assert set(TEXTS["config"]["error"]) <= set(ERRORS) | in_code | of_servers
    assert of_servers <= set(TEXTS["config"]["error"])
    assert in_code <= set(TEXTS["config"]["error"])
    # What only a movement or the writing of access can raise needs no sentence in the flow.
    missing = set(ERRORS) - set(TEXTS["config"]["error"])
    assert missing == {
        "access_gone", "access_pending", "access_suspended", "door_open", "ledger_not_saved",
        "log_not_saved", "no_right", "not_allowed", "outside_hours", "unconfirmed",
    }  # fmt: skip
    # A lock may refuse its release with any result.
    refusals = {movement.refusal(result, "").key for result in Result if result is not Result.DONE}
    assert refusals <= set(TEXTS["config"]["error"])


def test_every_abort_has_its_sentence() -> None:
    in_code = set(re.findall(r'reason="(\w+)"', LOCK_SOURCE))
    by_home_assistant = {"already_configured", "already_in_progress", "reauth_successful"}
    assert set(TEXTS["config"]["abort"]) == in_code | by_home_assistant


def test_every_step_of_the_flow_has_its_texts() -> None:
    steps = {
        name.removeprefix("async_step_")
        for name in dir(config_flow.IgrsLockConfigFlow)
        if name.startswith("async_step_") and not hasattr(ConfigFlow, name)
    } | {"bluetooth", "user"}
    shown = set(TEXTS["config"]["step"])
    assert shown <= steps
    # These show nothing of their own, or progress.
    assert steps - shown == {
        "add_lock", "bluetooth", "finish", "pair", "pair_again", "reauth", "released", "releasing",
        "people", "reset_old", "resetting_old", "server_reauth", "system", "take_over",
    }  # fmt: skip
    assert set(TEXTS["config"]["progress"]) == {"pair", "releasing", "resetting_old"}
    for menu in ("reconfigure", "not_reset", "add", "server_menu"):
        assert set(TEXTS["config"]["step"][menu]["menu_options"]) <= steps


def test_a_persons_dialogs_have_all_their_texts() -> None:
    steps = {
        name.removeprefix("async_step_")
        for name in dir(PersonFlow)
        if name.startswith("async_step_")
    }
    assert steps - set(PERSON["step"]) == {"no_pin"}
    assert set(PERSON["step"]) <= steps
    for step in PERSON["step"].values():
        menu = step.get("menu_options", {})
        assert set(menu) <= steps
        assert set(menu) == set(step.get("menu_option_descriptions", {}))
    in_code = {
        *re.findall(r'(?:errors\[\w+\] = |CONF_\w+: )"(\w+)"', PERSON_SOURCE),
        *WEAKNESSES,
        "ledger_not_saved",
        # Of the link, which is there: no address is called.
        *set(REMOTE_ERRORS) - {"remote_certificate", "remote_not_a_server", "remote_unreachable"},
    }
    assert set(PERSON["error"]) == in_code
    # With a reason of its own, or the one of `_change`.
    reasons = re.findall(r'(?:reason=|reason: str = |_change\(|_abort\()"(\w+)"', PERSON_SOURCE)
    chosen = re.findall(
        r'"(\w+)" if (?:digits|home\.gateways|replaced) else "(\w+)"', PERSON_SOURCE
    )
    assert set(PERSON["abort"]) == {*reasons, *(reason for pair in chosen for reason in pair)}
    assert set(PERSON["initiate_flow"]) == {"user", "reconfigure"}


def test_choices_have_all_their_words() -> None:
    words = {key: set(one["options"]) for key, one in TEXTS["selector"].items()}
    assert words["kind"] == set(Kind)
    assert words["rights"] == set(RIGHTS)
    assert words["weekdays"] == set(WEEKDAYS)
    assert words["credential_type"] == {"pin"}
    used = set(re.findall(r"translation_key: (\w+)", (FOLDER / "services.yaml").read_text()))
    assert used <= set(words)


def test_every_action_is_for_locks_and_has_the_fields_of_its_form() -> None:
    for service in SERVICES.values():
        assert service["target"]["entity"] == {"domain": "lock", "integration": "igrs_lock"}
    described: set[str] = set(SERVICES["set_user"]["fields"])
    assert described == {"user", *(str(key) for key in PERSON_FIELDS)}


def test_every_issue_has_its_texts() -> None:
    of_people = {
        "access_refused", "accounts_full", "drift_changed", "drift_changed_home",
        "drift_changed_unknown", "drift_missing", "drift_paired", "drift_pending",
        "drift_pending_change", "drift_unknown", "people_gone", "pin_taken", "removal_pending",
        "removal_pending_not_loaded", "removal_pending_unknown",
    }  # fmt: skip
    of_people |= {"removal_pending_replaced", "removal_pending_replaced_not_loaded"}
    of_people |= set(people_issues.PHONE_ISSUES)
    assert set(TEXTS["issues"]) == {
        const.ISSUE_CLOCK,
        *issues.LOCK_ISSUES,
        *SERVER_ISSUES,
        *of_people,
    }
    reasons = {
        reason
        for path in FOLDER.rglob("*repairs*.py")
        for reason in re.findall(r'reason="(\w+)"', path.read_text())
    }
    described = (issue.get("fix_flow", {}).get("abort", {}) for issue in TEXTS["issues"].values())
    assert {reason for aborts in described for reason in aborts} == reasons


def test_every_cause_has_its_word() -> None:
    attributes = TEXTS["entity"]["lock"]["lock"]["state_attributes"]
    assert set(attributes["changed_by"]["state"]) == set(CHANGED_BY)


DESCRIPTIONS = {
    "binary_sensor": (
        binary_sensor.DOOR,
        *binary_sensor.STATES,
        binary_sensor.AUTO_LOCK_FAILED,
        binary_sensor.DOOR_LEFT_OPEN,
        server_sensor.CONNECTED,
    ),
    "button": (button.IDENTIFY,),
    "event": (event.ACTIVITY, event.PERSON_ACTIVITY),
    "lock": (lock_platform.LOCK,),
    "number": (number.AUTO_LOCK_DELAY,),
    "sensor": (*sensor.SENSORS, sensor.SIGNAL, person_sensor.ACCESS_PENDING),
    "switch": (*switch.OPTIONS.values(), switch.ALWAYS_CONNECTED, server_switch.REMOTE_ACCESS),
}


def test_icons_are_of_entities_and_states_that_exist() -> None:
    states: dict[str, set[str]] = {
        "binary_sensor": {"on", "off"},
        "lock": {*LockState},
        "sensor": set(person_sensor.ACCESS_PENDING.options or ()),
        "switch": {"on", "off"},
    }
    for one in (event.ACTIVITY, event.PERSON_ACTIVITY):
        icons = ICONS["entity"]["event"][one.translation_key]["state_attributes"]["event_type"]
        words = TEXTS["entity"]["event"][one.translation_key]["state_attributes"]["event_type"]
        assert set(icons["state"]) == set(words["state"]) == set(one.event_types or ())
    for domain, entities in ICONS["entity"].items():
        for key, icon in entities.items():
            assert key in {one.translation_key for one in DESCRIPTIONS[domain]}
            assert set(icon.get("state", ())) <= states.get(domain, set())


def test_entities_are_named_by_translation_or_device_class() -> None:
    for domain, descriptions in DESCRIPTIONS.items():
        for one in descriptions:
            named = TEXTS["entity"].get(domain, {}).get(one.translation_key, {}).get("name")
            assert named or one.device_class or one.name is None
    named = {domain: set(entities) for domain, entities in TEXTS["entity"].items()}
    for domain, keys in named.items():
        assert keys <= {one.translation_key for one in DESCRIPTIONS[domain]}


def test_platforms_have_their_modules() -> None:
    for platform in PLATFORMS:
        assert (FOLDER / f"{platform}.py").exists()
        assert "PARALLEL_UPDATES = " in (FOLDER / f"{platform}.py").read_text()


@pytest.mark.parametrize(("name", "size"), [("icon.png", 256), ("icon@2x.png", 512)])
def test_the_brand_icon_has_the_size_that_home_assistant_asks_for(name: str, size: int) -> None:
    image = (FOLDER / "brand" / name).read_bytes()
    assert image.startswith(b"\x89PNG")
    assert (int.from_bytes(image[16:20]), int.from_bytes(image[20:24])) == (size, size)


def test_the_integration_imports_nothing_from_outside() -> None:
    assert not re.search(r"^\s*(from|import) (bsld|simulator|bumble|tests)\b", SOURCE, re.MULTILINE)


def test_it_is_typed() -> None:
    assert (FOLDER / "py.typed").exists()
