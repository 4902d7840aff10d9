"""The end of a movement that this home asked for."""

import asyncio
from typing import Final

from .errors import (
    BatteryLowError,
    JammedError,
    LockBusyError,
    NotPossibleError,
    OperationError,
    RefusedError,
    UnconfirmedError,
)
from .ilp import COUNTER_MAX, Advertisement, Bolt, Event, Operation, Result, StateEvent, Status

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
    """Waits for the sealed event, or the authentic advertisement, that ends an operation.

    Both may come before the answer that the lock accepted the operation, and both may still tell
    of an earlier movement, a jam just now above all: what counts has a higher counter than the answer,
    since the record of an end moves the counter on.
    """

    def __init__(self, operation: Operation, name: str) -> None:
        self.operation = operation
        self._name = name
        self._early: list[tuple[int, Bolt]] = []
        self._accepted_at: int | None = None
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take_event(self, event: StateEvent) -> None:
        """Take a sealed event."""
        if (outcome := _OUTCOMES.get(event.event)) is not None:
            self._take(event.counter, outcome)

    def take_advertisement(self, advertisement: Advertisement) -> None:
        """Take an authentic advertisement; a bolt elsewhere may not have started yet."""
        bolt = advertisement.bolt
        if bolt is Bolt.JAMMED or bolt in _WANTED[self.operation]:
            self._take(advertisement.counter, bolt)

    def accepted(self, counter: int, bolt: Bolt) -> None:
        """Note counter and bolt of the answer that the bolt moves.

        A very fast one may be there already.
        """
        self._accepted_at = counter
        if bolt in _WANTED[self.operation]:
            self._end.set_result(None)
        for early in self._early:
            self._take(*early)

    def abandon(self) -> None:
        """Wait no longer: nobody listens to the lock any more."""
        if not self._end.done():
            self._end.set_exception(UnconfirmedError(self._name))

    async def ended(self) -> None:
        """Wait until the bolt is where it was wanted; JammedError or UnconfirmedError."""
        await self._end

    def _take(self, counter: int, bolt: Bolt) -> None:
        if self._accepted_at is None:
            self._early.append((counter, bolt))
        elif (
            # At the end of its range the counter stays.
            counter > self._accepted_at or counter == COUNTER_MAX
        ) and not self._end.done():
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
