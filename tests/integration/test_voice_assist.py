"""Assist: what may be said to the lock, by Home Assistant's own sentences and intents."""

import gc
from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from homeassistant.components import conversation
from homeassistant.components.homeassistant.exposed_entities import (
    async_expose_entity,
    async_should_expose,
)
from homeassistant.core import Context
from homeassistant.setup import async_setup_component
from voice import STATES, brought_to

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from world import TestLock, World

pytestmark = pytest.mark.usefixtures("quiet")

DONE, ERROR = "action_done", "error"


@pytest.fixture(autouse=True)
async def _assist(hass: HomeAssistant, world: World) -> None:
    for component in ("homeassistant", "conversation", "intent"):
        assert await async_setup_component(hass, component, {})
    await hass.async_block_till_done()


def expose(hass: HomeAssistant, lock: TestLock) -> None:
    """Do what *Expose* on the entity's page does."""
    async_expose_entity(hass, conversation.DOMAIN, f"lock.{lock.entity}", should_expose=True)


async def say(world: World, text: str, context: Context | None = None) -> Any:
    """Say a sentence; returns what Assist answers."""
    result = await world.during(
        conversation.async_converse(world.hass, text, None, context or Context(), language="en")
    )
    await world.advance(3)
    return result.response


async def test_the_lock_is_not_exposed_until_somebody_does_it(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    assert not async_should_expose(hass, conversation.DOMAIN, f"lock.{lock.entity}")
    answer = await say(world, f"unlock {lock.entity.replace('_', '-')}")
    assert answer.response_type.value == ERROR
    assert not lock.operations


async def test_only_the_door_is_exposed_from_the_start(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    exposed = [
        entity
        for entity in hass.states.async_entity_ids()
        if lock.entity in entity and async_should_expose(hass, conversation.DOMAIN, entity)
    ]
    assert exposed == [f"binary_sensor.{lock.entity}_door"]


@pytest.mark.parametrize(("verb", "operation"), [("lock", c.OP_LOCK), ("unlock", c.OP_UNLOCK)])
async def test_an_exposed_lock_does_what_is_said_without_a_pin(
    hass: HomeAssistant, world: World, lock: TestLock, verb: str, operation: int
) -> None:
    if operation == c.OP_LOCK:
        lock.core.bolt_sensed(c.BOLT_UNLOCKED)
        await world.settle()
    expose(hass, lock)
    answer = await say(world, f"{verb} {lock.entity.replace('_', '-')}")
    assert answer.response_type.value == DONE
    assert lock.operations == [operation]
    assert world.attribute(lock, "changed_by") == "Home Assistant"


async def test_nothing_said_pulls_the_latch(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    expose(hass, lock)
    answer = await say(world, f"open {lock.entity.replace('_', '-')}")
    assert answer.response_type.value == ERROR
    assert not lock.operations


async def test_assist_says_done_before_the_lock_did(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.settle()
    expose(hass, lock)
    lock.jammed = True
    logged: list[str] = []
    hass.loop.set_exception_handler(
        lambda _loop, context: logged.append(context["exception"].translation_key)
    )
    answer = await say(world, f"lock {lock.entity.replace('_', '-')}")
    assert answer.response_type.value == DONE
    assert world.state(lock) == "jammed"
    gc.collect()  # Assist waits no longer: only the log hears of it, when the task is dropped
    assert logged == ["jammed"]


@pytest.mark.parametrize("what", STATES)
async def test_assist_says_yes_to_locked_only_when_the_door_is_held(
    hass: HomeAssistant, world: World, lock: TestLock, what: str
) -> None:
    expose(hass, lock)
    async with brought_to(world, lock, what):
        result = await conversation.async_converse(
            hass, f"is {lock.entity.replace('_', '-')} locked", None, Context(), language="en"
        )
    speech = result.response.speech["plain"]["speech"]
    assert speech.startswith("Yes") == (what == "locked"), speech
