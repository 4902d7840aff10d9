"""Whose a slot was, where somebody else changed accounts and this home has not looked yet.

A record names a slot only. Another controller, or this home in a time that a restored backup knows
nothing of, may have removed somebody and given the slot to another: then a record must not be told
as the doing of the one who held it before.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from .ilp import CONTROLLER_SLOT, UNKNOWN_SLOT, Account, Event, RefusedError, requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .coordinator import IgrsLockCoordinator
    from .ledger import LockLedger
    from .log_store import LogEntry


class SlotCheck:
    """Takes names away that may be wrong."""

    def __init__(self, coordinator: IgrsLockCoordinator) -> None:
        self._coordinator = coordinator

    async def async_checked(
        self, before: Sequence[LogEntry], new: Sequence[LogEntry]
    ) -> list[LogEntry]:
        """Return new entries, without the names of those who may not have held their slot.

        `before` are those read earlier. Asks the lock only about slots in doubt; kin of
        OperationError and IlpError when it does not answer.
        """
        coordinator = self._coordinator
        ledger = coordinator.home.ledger.lock(coordinator.device_id)
        doubtful = _doubtful(ledger, (*before, *new))
        held: dict[int, bool] = {}
        checked = []
        for entry in new:
            slot = entry.slot
            if (
                entry.name is not None
                and slot not in (CONTROLLER_SLOT, UNKNOWN_SLOT)
                and entry.counter > min(doubtful.get(slot, math.inf), doubtful.get(-1, math.inf))
            ):
                if slot not in held:
                    held[slot] = await self._async_held(ledger, slot)
                if not held[slot]:
                    checked.append(replace(entry, person_id=None, name=None))
                    continue
            checked.append(entry)
        return checked

    async def _async_held(self, ledger: LockLedger, slot: int) -> bool:
        """Whether a slot holds the account that it held when this home looked last.

        Then it did so all the time: an ID that was removed is never written again.
        """
        (reply,) = await self._coordinator.async_request(requests.read_account(slot))
        try:
            account = Account.of(reply)
        except RefusedError:
            return False
        known = ledger.account(account.account_id)
        return known is not None and known.slot == account.slot == slot


def is_accounted(ledger: LockLedger, entry: LogEntry) -> bool:
    """Whether a change of accounts is this home's own, or was judged by it."""
    judged = ledger.accounts_counter
    return judged is None or entry.counter <= judged or entry.counter in ledger.own


def _doubtful(ledger: LockLedger, entries: Sequence[LogEntry]) -> dict[int, int]:
    """Return from which counter on each slot may be another's; -1 is every slot."""
    found: dict[int, int] = {}
    for entry in entries:
        if is_accounted(ledger, entry):
            continue
        if entry.event is None or entry.event is Event.PAIRED:
            found.setdefault(-1, entry.counter)
        elif entry.event is Event.ACCOUNT_CHANGED:
            found.setdefault(entry.detail, entry.counter)
    return found
