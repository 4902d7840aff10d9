"""The end of a movement that this home asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from .errors import (
    BatteryLowError,
    JammedError,
    LockBusyError,
    NotPossibleError,
    OperationError,
    RefusedError,
    UnconfirmedError,
)
from .ilp import COUNTER_MAX, Bolt, Event, Operation, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from .ilp import Advertisement, StateEvent, Status

_OUTCOMES: Final = {
    Event.LOCKED: Bolt.LOCKED,
    Event.UNLOCKED: Bolt.UNLOCKED,
    Event.OPENED: Bolt.OPEN,
    Event.JAMMED: Bolt.JAMMED,
}
_WANTED: Final = {
    Operation.LOCK: (Bolt.LOCKED,),
    Operation.UNLOCK: (Bolt.UNLOCKED, Bolt.OPEN),
    Operation.OPEN: (Bolt.OPEN,),
}
_MOVING: Final = {
    Operation.LOCK: Bolt.LOCKING,
    Operation.UNLOCK: Bolt.UNLOCKING,
    Operation.OPEN: Bolt.UNLOCKING,
}


_REFUSALS: Final[dict[Result, type[OperationError]]] = {
    Result.BUSY: LockBusyError,
    Result.JAMMED: JammedError,
    Result.NOT_POSSIBLE_NOW: NotPossibleError,
    Result.BATTERY_TOO_LOW: BatteryLowError,
}


class Movement:
    """Waits for what ends an operation: the sealed event, or, without a session, an advertisement.

    Whoever may follow the lock's state has the key of its advertisements and could forge one, so
    while a session is `alive` only the event counts. What was advertised is kept until the link is
    lost: then the lock cannot tell otherwise.

    Both may come before the answer that the lock accepted the operation, and both may still tell
    of an earlier movement, a jam just now above all: what counts has a higher counter than the answer,
    since the record of an end moves the counter on.
    """

    def __init__(self, operation: Operation, name: str, alive: Callable[[], bool]) -> None:
        self.operation = operation
        self._name = name
        self._alive = alive
        self._early: list[tuple[int, Bolt]] = []
        self._advertised: tuple[int, Bolt] | None = None
        self._accepted_at: int | None = None
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take_event(self, event: StateEvent) -> None:
        """Take a sealed event."""
        if (outcome := _OUTCOMES.get(event.event)) is None:
            return
        if self._accepted_at is None:
            self._early.append((event.counter, outcome))
        else:
            self._take(event.counter, outcome)

    def take_advertisement(self, advertisement: Advertisement) -> None:
        """Take an authentic advertisement; a bolt elsewhere may not have started yet."""
        bolt = advertisement.bolt
        if bolt is Bolt.JAMMED or bolt in _WANTED[self.operation]:
            self._advertised = (advertisement.counter, bolt)
        else:
            self._advertised = None
        self.link_changed()

    def link_changed(self) -> None:
        """Take what was advertised for the end, if no session is there to tell it."""
        if self._advertised is not None and self._accepted_at is not None and not self._alive():
            self._take(*self._advertised)

    def accepted(self, counter: int, bolt: Bolt) -> None:
        """Note counter and bolt of the answer that the bolt moves.

        A very fast one may be there already.
        """
        self._accepted_at = counter
        if bolt in _WANTED[self.operation]:
            self._end.set_result(None)
        for early in self._early:
            self._take(*early)
        self.link_changed()

    def abandon(self) -> None:
        """Wait no longer: nobody listens to the lock any more."""
        if not self._end.done():
            self._end.set_exception(UnconfirmedError(self._name))

    async def ended(self) -> None:
        """Wait until the bolt is where it was wanted; JammedError or UnconfirmedError."""
        await self._end

    def _take(self, counter: int, bolt: Bolt) -> None:
        # At the end of its range the counter stays.
        newer = counter == COUNTER_MAX or counter > (self._accepted_at or 0)
        if newer and not self._end.done():
            if bolt in _WANTED[self.operation]:
                self._end.set_result(None)
            elif (failure := self._failure(bolt)) is not None:
                self._end.set_exception(failure)

    def _failure(self, bolt: Bolt) -> OperationError | None:
        if bolt is Bolt.JAMMED:
            return JammedError(self._name)
        if self.operation is Operation.OPEN and bolt is Bolt.UNLOCKED:
            return None  # on its way: the latch comes after the bolt
        return UnconfirmedError(self._name)


def moves(status: Status, operation: Operation) -> bool:
    """Whether the bolt is on its way to where `operation` wants it, asked by this or before."""
    if status.result is Result.ACCEPTED:
        return True
    return (
        status.result is Result.BUSY
        and operation is not Operation.OPEN
        and status.bolt is _MOVING[operation]
    )


def refusal(result: Result, name: str) -> OperationError:
    """Return the error for an operation that the lock did not accept."""
    if (error := _REFUSALS.get(result)) is not None:
        return error(name)
    return RefusedError(name, result=str(int(result)))
