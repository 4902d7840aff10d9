"""Google Assistant and Alexa, by Home Assistant's own code over the real entity and lock."""

from typing import TYPE_CHECKING, Any, override

import pytest
from bsld import const as c
from folk import Folk
from homeassistant.components.alexa import smart_home as alexa
from homeassistant.components.alexa.config import AbstractConfig as AlexaConfig
from homeassistant.components.google_assistant import smart_home as google
from homeassistant.components.google_assistant.helpers import AbstractConfig as GoogleConfig
from voice import STATES, brought_to

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from pytest_homeassistant_custom_component.common import MockUser
    from world import TestLock, World

pytestmark = pytest.mark.usefixtures("quiet")

LOCKED, UNLOCKED = {"isLocked": True}, {"isLocked": False}
GOOGLE = {
    "locked": LOCKED,
    "unlocked": UNLOCKED,
    "locking": UNLOCKED,
    "unlocking": LOCKED,
    "opening": UNLOCKED,
    "jammed": {"isJammed": True},
    "open": UNLOCKED,
    "bolt out beside an open door": UNLOCKED,
    "unknown": UNLOCKED,
}
ALEXA = {
    "locked": "LOCKED",
    "unlocked": "UNLOCKED",
    "locking": "UNLOCKED",
    "unlocking": "LOCKED",
    "opening": "JAMMED",
    "jammed": "JAMMED",
    "open": "JAMMED",
    "bolt out beside an open door": "UNLOCKED",
    "unknown": "JAMMED",
    "unavailable": "JAMMED",
}


class Google(GoogleConfig):
    """A home linked to Google that shows the lock; `pin` is the one of its configuration."""

    enabled = True
    entity_config: dict[str, Any] = {}  # noqa: RUF012 - a property in the base
    should_report_state = False
    secure_devices_pin: str | None = None

    def __init__(
        self, hass: HomeAssistant, pin: str | None = None, user_id: str | None = None
    ) -> None:
        super().__init__(hass)
        self.secure_devices_pin = pin
        self.user_id = user_id  # who linked it

    @override
    def get_agent_user_id_from_context(self, context: object) -> str:
        return "agent"

    @override
    def get_local_user_id(self, webhook_id: str) -> None:
        pass

    @override
    def get_local_webhook_id(self, agent_user_id: str) -> None:
        pass

    @override
    def get_agent_user_id_from_webhook(self, webhook_id: str) -> None:
        pass

    @override
    async def async_connect_agent_user(self, agent_user_id: str) -> None:
        pass

    @override
    async def async_disconnect_agent_user(self, agent_user_id: str) -> None:
        pass

    @override
    def async_get_agent_users(self) -> list[str]:
        return []

    @override
    async def async_report_state(self, *args: object, **kwargs: object) -> None:
        pass

    @override
    def should_expose(self, entity_id: str) -> bool:
        return entity_id.startswith("lock.")

    @override
    def should_2fa(self, state: object) -> bool:
        return True

    async def ask(self, intent: str, payload: Any = None) -> dict[str, Any]:
        """Send a message as Google does."""
        message = {
            "requestId": "1",
            "inputs": [{"intent": f"action.devices.{intent}", "payload": payload}],
        }
        answer = await google.async_handle_message(  # type: ignore[no-untyped-call]  # it is
            self.hass, self, "agent", self.user_id, message, "cloud"
        )
        result: dict[str, Any] = answer["payload"]
        return result

    async def move(self, lock: TestLock, *, locked: bool, pin: str = "") -> dict[str, Any]:
        """Say *lock* or *unlock*, with the PIN that was spoken."""
        execution: dict[str, Any] = {
            "command": "action.devices.commands.LockUnlock", "params": {"lock": locked},
        }  # fmt: skip
        if pin:
            execution["challenge"] = {"pin": pin}
        command = {"devices": [{"id": f"lock.{lock.entity}"}], "execution": [execution]}
        payload = await self.ask("EXECUTE", {"commands": [command]})
        return dict(payload["commands"][0]) if "commands" in payload else payload


class Alexa(AlexaConfig):
    """A home linked to Alexa that shows the lock."""

    endpoint = None
    locale = "en-GB"

    @override
    def user_identifier(self) -> str:
        return ""

    @override
    def should_expose(self, entity_id: str) -> bool:
        return entity_id.startswith("lock.")

    async def ask(self, namespace: str, name: str, lock: TestLock) -> dict[str, Any]:
        """Send a directive as Alexa does."""
        directive = {
            "header": {
                "namespace": namespace, "name": name, "messageId": "1", "correlationToken": "2",
                "payloadVersion": "3",
            },
            "endpoint": {"endpointId": f"lock#{lock.entity}", "scope": {"type": "BearerToken"}},
            "payload": {},
        }  # fmt: skip
        return await alexa.async_handle_message(self.hass, self, {"directive": directive})


async def linked_to_alexa(hass: HomeAssistant) -> Alexa:
    config = Alexa(hass)
    await config.async_initialize()
    return config


def properties(answer: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one["value"] for one in answer["context"]["properties"]}


# --- Google Assistant ---


async def test_google_gets_a_lock_that_can_be_locked_and_unlocked_not_opened(
    hass: HomeAssistant, lock: TestLock
) -> None:
    (device,) = (await Google(hass).ask("SYNC"))["devices"]
    assert device["type"] == "action.devices.types.LOCK"
    assert device["traits"] == ["action.devices.traits.LockUnlock"]


@pytest.mark.parametrize("what", GOOGLE)
async def test_google_is_told_what_holds_the_door(
    hass: HomeAssistant, world: World, lock: TestLock, what: str
) -> None:
    async with brought_to(world, lock, what):
        devices = {"devices": [{"id": f"lock.{lock.entity}"}]}
        (state,) = (await Google(hass).ask("QUERY", devices))["devices"].values()
    assert state == {"online": True, **GOOGLE[what]}


async def test_google_is_told_that_a_lock_out_of_reach_is_offline(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    async with brought_to(world, lock, "unavailable"):
        devices = {"devices": [{"id": f"lock.{lock.entity}"}]}
        (state,) = (await Google(hass).ask("QUERY", devices))["devices"].values()
    assert state == {"online": False}


async def test_google_locks_without_a_pin(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.settle()
    result = await world.during(Google(hass).move(lock, locked=True))
    assert result["status"] == "SUCCESS"
    assert result["states"]["isLocked"] is True
    assert lock.core.bolt == c.BOLT_LOCKED
    assert world.attribute(lock, "changed_by") == "Home Assistant"


async def test_google_unlocks_nothing_while_no_pin_is_set(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    result = await world.during(Google(hass).move(lock, locked=False))
    assert result["errorCode"] == "challengeFailedNotSetup"
    assert not lock.operations


@pytest.mark.parametrize(
    ("spoken", "answer"), [("", "pinNeeded"), ("1111", "challengeFailedPinNeeded")]
)
async def test_google_unlocks_with_the_pin_of_home_assistants_configuration_only(
    hass: HomeAssistant, world: World, lock: TestLock, spoken: str, answer: str
) -> None:
    home = Google(hass, pin="2580")
    result = await world.during(home.move(lock, locked=False, pin=spoken))
    assert result["challengeNeeded"] == {"type": answer}
    assert not lock.operations
    result = await world.during(home.move(lock, locked=False, pin="2580"))
    assert result["status"] == "SUCCESS"
    assert result["states"]["isLocked"] is False
    assert lock.operations == [c.OP_UNLOCK]  # the spoken PIN went no further


async def test_google_says_that_something_went_wrong_when_the_lock_is_stuck(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.settle()
    lock.jammed = True
    result = await world.during(Google(hass).move(lock, locked=True))
    assert result == {"errorCode": "unknownError"}
    assert world.state(lock) == "jammed"


async def test_google_that_is_told_states_by_itself_does_not_wait_for_the_lock(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    home = Google(hass)
    home.should_report_state = True
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.settle()
    lock.jammed = True
    result = await home.move(lock, locked=True)
    assert result["status"] == "SUCCESS"
    assert result["states"]["isLocked"] is False
    await world.advance(3)
    assert world.state(lock) == "jammed"


async def test_google_waits_two_seconds_at_most(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.settle()
    lock.stuck = True
    result = await world.during(Google(hass).move(lock, locked=True), 2.5)
    assert result["status"] == "SUCCESS"
    assert result["states"]["isLocked"] is False
    logged: list[str] = []
    hass.loop.set_exception_handler(
        lambda _loop, context: logged.append(type(context["exception"]).__name__)
    )
    await world.advance(60, 1)
    assert logged == ["JammedError"]  # only the log hears of it


async def test_who_linked_google_acts_as_themselves_when_tied_to_somebody(
    hass: HomeAssistant, world: World, lock: TestLock, hass_owner_user: MockUser
) -> None:
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await Folk(world).add("Anna", lock, user_id=hass_owner_user.id)
    await world.advance(60, 1)
    home = Google(hass, user_id=hass_owner_user.id)
    result = await world.during(home.move(lock, locked=True))
    assert result["status"] == "SUCCESS"
    await world.advance(5)
    assert world.attribute(lock, "changed_by") == "Anna"


# --- Alexa ---


@pytest.mark.parametrize("what", STATES)
async def test_alexa_is_told_what_holds_the_door(
    hass: HomeAssistant, world: World, lock: TestLock, what: str
) -> None:
    async with brought_to(world, lock, what):
        answer = await (await linked_to_alexa(hass)).ask("Alexa", "ReportState", lock)
    state = properties(answer)
    assert state["lockState"] == ALEXA[what]
    assert state["connectivity"] == {"value": "UNREACHABLE" if what == "unavailable" else "OK"}


async def test_alexa_does_not_hear_of_a_jam_that_is_none_for_longer_than_the_latch_is_held(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    home = await linked_to_alexa(hass)
    await world.call(lock, "open")
    assert properties(await home.ask("Alexa", "ReportState", lock))["lockState"] == "JAMMED"
    await world.advance(5)
    assert properties(await home.ask("Alexa", "ReportState", lock))["lockState"] == "UNLOCKED"


async def test_alexa_never_hears_of_a_jam_when_a_lock_comes_back_into_reach(
    hass: HomeAssistant, world: World, lock: TestLock, states: list[str]
) -> None:
    async with brought_to(world, lock, "unavailable"):
        lock.silent = False
        await world.advance(2)
    assert states == ["unavailable", "locked"]


@pytest.mark.parametrize(("name", "operation"), [("Lock", c.OP_LOCK), ("Unlock", c.OP_UNLOCK)])
async def test_alexa_answers_before_the_lock_did(
    hass: HomeAssistant, world: World, lock: TestLock, name: str, operation: int
) -> None:
    if name == "Lock":
        lock.core.bolt_sensed(c.BOLT_UNLOCKED)
        await world.settle()
    lock.jammed = True
    answer = await (await linked_to_alexa(hass)).ask("Alexa.LockController", name, lock)
    assert answer["event"]["header"]["name"] == "Response"
    assert properties(answer)["lockState"] == f"{name.upper()}ED"
    await world.advance(3)
    assert lock.operations == [operation]
    assert world.state(lock) == "jammed"
