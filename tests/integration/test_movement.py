"""What ends a movement, in whatever order its signs arrive."""

import pytest

from custom_components.igrs_lock.errors import JammedError, OperationError, UnconfirmedError
from custom_components.igrs_lock.ilp import (
    Advertisement,
    Bolt,
    Door,
    Event,
    Operation,
    Result,
    Source,
    StateEvent,
)
from custom_components.igrs_lock.link import Link, LinkLostError
from custom_components.igrs_lock.movement import Movement, refusal


def event(kind: Event, counter: int) -> StateEvent:
    return StateEvent(kind, Bolt.UNKNOWN, Door.CLOSED, 80, counter, 255, Source.BLUETOOTH, 0)


def advertisement(bolt: Bolt, counter: int) -> Advertisement:
    return Advertisement(
        setup_mode=False,
        clock_trusted=True,
        log_bits=0,
        counter=counter,
        bolt=bolt,
        door=Door.CLOSED,
        low_battery=False,
        tamper=False,
        battery=80,
        nonce=bytes(8),
        authenticated=True,
    )


def alive() -> bool:
    """The lock can tell by a sealed event."""
    return True


def lost() -> bool:
    """The link is gone."""
    return False


async def ended(movement: Movement) -> bool:
    """Whether it has ended well; raises what it ended with otherwise."""
    if not movement._end.done():
        return False
    await movement.ended()
    return True


async def test_an_event_before_the_answer_counts_when_it_is_not_older() -> None:
    movement = Movement(Operation.UNLOCK, "lock", alive)
    movement.take_event(event(Event.LOCKED, 4))  # the end of an earlier movement
    movement.take_event(event(Event.UNLOCKED, 6))
    movement.accepted(5, Bolt.UNLOCKING)
    assert await ended(movement)
    movement.take_event(event(Event.JAMMED, 7))  # a later one is not this one's end
    assert await ended(movement)


async def test_an_advertisement_of_where_the_bolt_was_ends_nothing() -> None:
    movement = Movement(Operation.LOCK, "lock", alive)
    movement.accepted(5, Bolt.UNLOCKING)
    movement.take_advertisement(advertisement(Bolt.UNLOCKED, 5))
    movement.take_advertisement(advertisement(Bolt.LOCKING, 6))
    movement.take_advertisement(advertisement(Bolt.LOCKED, 4))
    movement.take_event(event(Event.DOOR_CLOSED, 7))
    assert not await ended(movement)


async def test_without_a_session_an_advertisement_ends_it_where_it_was_wanted() -> None:
    movement = Movement(Operation.LOCK, "lock", lost)
    movement.accepted(5, Bolt.UNLOCKING)
    movement.take_advertisement(advertisement(Bolt.LOCKED, 7))
    assert await ended(movement)


@pytest.mark.parametrize("bolt", [Bolt.LOCKED, Bolt.JAMMED])
async def test_case_48_who_has_the_advertisement_key_ends_nothing_while_a_session_could_tell(
    bolt: Bolt,
) -> None:
    sessions = ["ours"]
    movement = Movement(Operation.LOCK, "lock", lambda: bool(sessions))
    movement.take_advertisement(advertisement(bolt, 6))
    movement.accepted(5, Bolt.UNLOCKING)
    movement.take_advertisement(advertisement(bolt, 7))
    movement.link_changed()
    assert not await ended(movement)
    movement.take_event(event(Event.LOCKED, 8))
    assert await ended(movement)


async def test_what_was_advertised_before_the_link_was_lost_is_looked_at_then() -> None:
    """A lock that stands still advertises the same again, which is no news to anybody."""
    sessions = ["ours"]
    movement = Movement(Operation.LOCK, "lock", lambda: bool(sessions))
    movement.accepted(5, Bolt.UNLOCKING)
    movement.take_advertisement(advertisement(Bolt.LOCKED, 7))
    sessions.clear()
    movement.link_changed()
    assert await ended(movement)


@pytest.mark.parametrize(
    ("operation", "kind", "error"),
    [
        (Operation.LOCK, Event.JAMMED, JammedError),
        (Operation.LOCK, Event.UNLOCKED, UnconfirmedError),
        (Operation.UNLOCK, Event.LOCKED, UnconfirmedError),
        (Operation.OPEN, Event.LOCKED, UnconfirmedError),
    ],
)
async def test_an_event_elsewhere_fails_it(
    operation: Operation, kind: Event, error: type[OperationError]
) -> None:
    movement = Movement(operation, "lock", alive)
    movement.accepted(5, Bolt.UNLOCKING)
    movement.take_event(event(kind, 6))
    with pytest.raises(error):
        await movement.ended()


async def test_unlocked_is_on_the_way_to_open() -> None:
    movement = Movement(Operation.OPEN, "lock", alive)
    movement.accepted(5, Bolt.UNLOCKING)
    movement.take_event(event(Event.UNLOCKED, 6))
    movement.take_event(event(Event.OPENED, 7))
    assert await ended(movement)


async def test_open_is_more_than_unlocked() -> None:
    movement = Movement(Operation.UNLOCK, "lock", alive)
    movement.accepted(5, Bolt.UNLOCKING)
    movement.take_event(event(Event.OPENED, 6))
    assert await ended(movement)


@pytest.mark.parametrize(
    ("result", "key"),
    [
        (Result.NO_RIGHT, "refused"),
        (Result.BUSY, "lock_busy"),
        (Result.JAMMED, "jammed"),
        (Result.TOO_OLD, "refused"),
        (Result.NOT_POSSIBLE_NOW, "not_possible"),
        (Result.BAD_VALUE, "refused"),
        (Result.BATTERY_TOO_LOW, "battery_low"),
    ],
)
def test_each_refusal_has_its_error(result: Result, key: str) -> None:
    error = refusal(result, "lock")
    assert error.key == key
    assert error.translation_key == key


async def test_a_link_that_was_never_made_says_so() -> None:
    link = Link("lock")
    assert not link.connected
    link.received(b"nobody listens")
    link.lost()
    for use in (link.send(b"x"), link.listen(), link.read("uuid")):
        with pytest.raises(LinkLostError):
            await use
    await link.disconnect()


async def test_the_jam_before_is_not_this_movements_end() -> None:
    """Tried again at once: what still tells of the first attempt has the answer's counter at most."""
    movement = Movement(Operation.UNLOCK, "lock", alive)
    movement.take_advertisement(advertisement(Bolt.JAMMED, 5))
    movement.accepted(5, Bolt.UNLOCKING)
    movement.take_event(event(Event.JAMMED, 5))
    movement.take_event(event(Event.UNLOCKED, 6))
    assert await ended(movement)


async def test_a_bolt_that_is_there_with_the_answer_has_ended_its_movement() -> None:
    movement = Movement(Operation.UNLOCK, "lock", alive)
    movement.accepted(5, Bolt.UNLOCKED)
    assert await ended(movement)
