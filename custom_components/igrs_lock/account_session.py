"""The messages about accounts between this home and one lock.

What writes is sent once, in the session that was just told the lock's digest, and never again by
itself: whether a lost message was done, the lock's log and digest tell afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .errors import NoAnswerError, RefusedError
from .ilp import (
    UNKNOWN_SLOT,
    Account,
    AccountDigest,
    AccountRemoved,
    AccountWritten,
    AdvertisementKey,
    MalformedError,
    Reply,
    Request,
    Result,
    Status,
    requests,
)
from .ilp import RefusedError as ResultError
from .timekeeper import only_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .coordinator import IgrsLockCoordinator

_READ_AT_ONCE: Final = 5
"""Accounts in one message: each is answered with three frames, a message has room for 20."""


class ChangedMeanwhileError(Exception):
    """Somebody else changed the lock's accounts between two messages."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the lock says of its accounts: digest (8 bytes) and epoch."""

    digest: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a message: each command's result, and the counters that it caused.

    `slot` is that of an account written, `account` as the lock has it now, `epoch` the one a
    removal began; None where it does not apply. `digest` is told after all of it.
    """

    results: tuple[Result, ...]
    own: tuple[int, ...]
    digest: bytes
    slot: int | None = None
    account: Account | None = field(default=None, repr=False)
    epoch: int | None = None


class AccountSession:
    """Asks and writes. Raises kin of OperationError and IlpError."""

    def __init__(self, coordinator: IgrsLockCoordinator) -> None:
        self._coordinator = coordinator

    async def async_told(self) -> Told:
        """Ask for digest and epoch; the first message of a session that writes accounts."""
        digest, key = await self._coordinator.async_request(
            requests.account_digest_request(), requests.get_advertisement_key()
        )
        told = Told(AccountDigest.of(digest).digest, AdvertisementKey.of(key).epoch)
        self._follow(told.epoch)
        return told

    async def async_read(self) -> list[Account]:
        """Read every account; what changed meanwhile, only the digest tells."""
        accounts: list[Account] = []
        slot = 0
        while slot < UNKNOWN_SLOT:
            wanted = range(slot, min(slot + _READ_AT_ONCE, UNKNOWN_SLOT))
            replies = await self._coordinator.async_request(
                *(requests.read_account(one) for one in wanted)
            )
            for reply in replies:
                if reply.result is Result.BAD_VALUE:  # the lock has no such slot
                    return accounts
                if reply.result is not Result.UNKNOWN_ACCOUNT:
                    accounts.append(Account.of(reply))
            slot = wanted.stop
        return accounts

    async def async_add(self, account_id: bytes) -> Written:
        """Write a new account ID: a disabled account."""
        before, added, digest = await self._once(
            requests.get_status(), requests.write_account(account_id), _DIGEST
        )
        if added.result is not Result.DONE:
            return Written((added.result,), (), AccountDigest.of(digest).digest)
        told = AccountWritten.of(added)
        own = _own(Status.of(before).counter, [told.counter])
        return Written((added.result,), own, AccountDigest.of(digest).digest, slot=told.slot)

    async def async_remove(self, account_id: bytes) -> Written:
        """Remove an account: the lock begins a new epoch."""
        before, removed, digest = await self._once(
            requests.get_status(), requests.remove_account(account_id), _DIGEST
        )
        if removed.result is not Result.DONE:
            return Written((removed.result,), (), AccountDigest.of(digest).digest)
        told = AccountRemoved.of(removed)
        self._follow(told.epoch)
        own = _own(Status.of(before).counter, [told.counter])
        return Written((removed.result,), own, AccountDigest.of(digest).digest, epoch=told.epoch)

    async def async_change(self, account: Account, commands: Sequence[Request]) -> Written:
        """Send commands for an account, and read it back.

        ChangedMeanwhileError when another account is in its slot.
        """
        before, *replies, read, digest = await self._once(
            requests.get_status(), *commands, requests.read_account(account.slot), _DIGEST
        )
        states = [Status.of(reply) for reply in replies]
        try:
            now = Account.of(read)
        except ResultError as err:
            raise ChangedMeanwhileError from err
        if now.account_id != account.account_id:
            raise ChangedMeanwhileError
        return Written(
            tuple(state.result for state in states),
            _own(Status.of(before).counter, [state.counter for state in states]),
            AccountDigest.of(digest).digest,
            account=now,
        )

    async def _once(self, *wanted: Request) -> list[Reply]:
        """Send requests, and never again: a slot may be another's by then."""
        replies = await self._coordinator.async_request(*wanted, may_repeat=only_once)
        name = self._coordinator.config_entry.title
        for request, reply in zip(wanted, replies, strict=True):
            if reply.command != request.command:
                raise MalformedError("an answer to something else")
            if reply.result is Result.TOO_OLD:
                raise NoAnswerError(name)
        return replies

    def _follow(self, epoch: int) -> None:
        """Know the key of the lock's advertisements from now on."""
        coordinator = self._coordinator
        if coordinator.tracker.epoch != epoch:
            coordinator.tracker.set_epoch(epoch)
        if coordinator.remembered.get("epoch") != epoch:
            coordinator.remembered["epoch"] = epoch
            coordinator.memory.schedule_save()


_DIGEST: Final = requests.account_digest_request()


def refused(name: str, results: Sequence[Result]) -> RefusedError:
    """Return the error for the first result that is not *done*."""
    bad = next(result for result in results if result is not Result.DONE)
    return RefusedError(name, result=str(int(bad)))


def _own(before: int, after: Sequence[int]) -> tuple[int, ...]:
    """Return the counters of the records that commands of one message made.

    A message runs as one: a counter that grew by one between two answers is the command's own.
    """
    own = []
    for counter in after:
        if counter == before + 1:
            own.append(counter)
        before = counter
    return tuple(own)
