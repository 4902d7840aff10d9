"""What is done to one lock's accounts, each step stored before it is sent and after it is answered."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from .account_plan import Step, disabled, new_account, recover, steps
from .account_session import AccountSession, ChangedMeanwhileError, Told, Written, refused
from .const import CONF_ACCOUNT_ID, CONF_ACCOUNT_SLOT
from .drift import HOME_NAME, judge
from .drift import Told as Record
from .errors import RefusedError
from .ilp import (
    CONTROLLER_SLOT,
    UNKNOWN_SLOT,
    USES_UNLIMITED,
    Account,
    Command,
    Event,
    Result,
    Right,
    account_digest,
    new_account_id,
    parse_account_id,
)
from .ledger_lock import Doomed, Grant, Intention, LockLedger
from .pairing import HOME_RIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .account_plan import Terms
    from .coordinator import IgrsLockCoordinator
    from .drift import Wanted
    from .ledger import Ledger
    from .log_store import LogEntry

_LOGGER = logging.getLogger(__name__)

_CHANGES: Final = frozenset((Event.ACCOUNT_CHANGED, Event.PAIRED))
_HOLDERS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Task:
    """One account to be written. `account` None: to be added; `person_id` None: this home's."""

    person_id: str | None
    name: str
    account: Account | None = field(default=None, repr=False)
    after: Account | None = field(default=None, repr=False)
    pin: str | None = field(default=None, repr=False)
    terms: Terms | None = None
    narrow: bool = False
    """Only what the owner takes away: the key (`after` is disabled), or else the PIN."""


class AccountWriter:
    """Reads and writes one lock's accounts and keeps its part of the ledger in step.

    Methods raise kin of OperationError and IlpError, and ChangedMeanwhileError when somebody else
    writes at the same time: then everything has to be looked at again.
    """

    def __init__(self, coordinator: IgrsLockCoordinator, ledger: Ledger) -> None:
        self._coordinator = coordinator
        self._all = ledger
        self._session = AccountSession(coordinator)

    @property
    def ledger(self) -> LockLedger:
        """This lock's part of the ledger."""
        return self._all.lock(self._coordinator.device_id)

    @property
    def home_account(self) -> Account | None:
        """The account "Home Assistant" as the pairing wrote it; None if it could not."""
        data = self._coordinator.config_entry.data
        if data.get(CONF_ACCOUNT_SLOT) is None:
            return None
        account_id = parse_account_id(data[CONF_ACCOUNT_ID])
        return replace(new_account(data[CONF_ACCOUNT_SLOT], account_id), rights=HOME_RIGHTS)

    def changes(self) -> Iterator[LogEntry]:
        """Return what the log has of changes that are not accounted for, newest first.

        A gap is one: it may hide some.
        """
        ledger = self.ledger
        judged = ledger.accounts_counter
        if judged is None:
            return
        for entry in reversed(self._coordinator.log.entries):
            if entry.counter <= judged:
                return
            if is_change(entry) and entry.counter not in ledger.own:
                yield entry

    # --- looking --------------------------------------------------------------------------------

    async def async_verify(self, wanted: dict[str, Wanted] | None) -> bool:
        """Look at the lock's accounts; return whether the ledger now is as the lock.

        If not all that happened is this home's doing, everything is read and judged; without
        `wanted` (no People entry) it is left at that.
        """
        log = self._coordinator.log
        await log.async_read()
        told = await self._session.async_told()
        if await self._explained(told):
            return True
        if wanted is None:
            return False
        await log.async_read()  # what was told may have happened after the first time
        accounts = await self._session.async_read()
        told = await self._session.async_told()
        if account_digest(accounts) != told.digest:
            raise ChangedMeanwhileError
        ledger = self.ledger
        changes = list(self.changes())
        self._note_strangers(accounts, changes)
        # In a gap of its log a manager may have given somebody's account a PIN of their own.
        hidden = any(entry.event is None for entry in changes) and (
            told.epoch != ledger.epoch
            or any(one.rights & Right.MANAGE for one in (*accounts, *(ledger.known or ())))
        )
        judge(
            ledger,
            accounts,
            wanted,
            self.home_account,
            self._records(changes),
            round(time.time()),
            hidden=hidden,
        )
        await self._accounted(told)
        return True

    async def _explained(self, told: Told) -> bool:
        """Whether all that happened to the accounts is this home's doing; then note it."""
        ledger = self.ledger
        known, epoch, intention = ledger.known, ledger.epoch, ledger.intention
        if epoch is None:
            return False
        if known is None:
            home = self.home_account
            known = [] if home is None else [home]
        changes = list(self.changes())[::-1]
        if intention is None:
            found = known
            if changes or (told.digest, told.epoch) != (account_digest(known), epoch):
                return False
        else:
            if any(
                entry.event is not Event.ACCOUNT_CHANGED or entry.slot != CONTROLLER_SLOT
                for entry in changes
            ):
                return False
            slots = [entry.detail for entry in changes]
            now = (told.digest, told.epoch)
            recovered = recover(known, epoch, intention, now, slots, restarted=self._restarted())
            if recovered is None:
                return False
            found = recovered
        dirty = ledger.known is None or intention is not None
        ledger.known = found
        self._note_added(changes)
        ledger.intention = None
        ledger.doomed = [one for one in ledger.doomed if ledger.account(one.account_id)]
        await self._accounted(told, dirty=dirty)
        return True

    def _restarted(self) -> bool:
        """Whether the lock lost its power since everything was accounted for."""
        judged = self.ledger.accounts_counter or 0
        return any(
            entry.event is Event.RESTARTED and entry.counter > judged
            for entry in self._coordinator.log.entries
        )

    async def _accounted(self, told: Told, *, dirty: bool = True) -> None:
        """Note that everything up to the end of the log is accounted for."""
        ledger = self.ledger
        newest = max(self._coordinator.log.cursor or 0, ledger.accounts_counter or 0)
        own = {counter for counter in ledger.own if counter > newest}
        before = (ledger.accounts_counter, ledger.epoch)
        ledger.accounts_counter, ledger.own, ledger.epoch = newest, own, told.epoch
        if dirty or before != (newest, told.epoch):
            await self._all.async_save()

    def _note_added(self, changes: Sequence[LogEntry]) -> None:
        """Note the slot of an account whose answer was lost."""
        ledger = self.ledger
        for person_id, grant in ledger.grants.items():
            account = ledger.account(grant.account_id)
            if account is not None and grant.slot is None:
                grant.slot = account.slot
                since = changes[0].counter if changes else (ledger.accounts_counter or 0) + 1
                self._note_holder(account.slot, since, person_id, grant.name)
        if ledger.intention is None or ledger.intention.states[0] is not None or not changes:
            return
        for doomed in ledger.doomed:
            account = ledger.account(doomed.account_id)
            if account is not None and account.account_id == ledger.intention.account_id:
                since = changes[0].counter
                self._note_holder(account.slot, since, doomed.person_id, doomed.name)

    def _note_strangers(self, accounts: Sequence[Account], changes: Sequence[LogEntry]) -> None:
        """Note from when on a slot is not any more that of the one who held it before."""
        ledger = self.ledger
        for account in accounts:
            if ledger.account(account.account_id) is not None:
                continue
            counters = [
                entry.counter
                for entry in changes
                if entry.event is Event.ACCOUNT_CHANGED and entry.detail == account.slot
            ]
            since = min(counters, default=(ledger.accounts_counter or 0) + 1)
            person_id = next(
                (key for key, one in ledger.grants.items() if one.account_id == account.account_id),
                None,
            )
            name = "" if person_id is None else ledger.grants[person_id].name
            self._note_holder(account.slot, since, person_id, name)

    def _note_holder(self, slot: int, since: int, person_id: str | None, name: str) -> None:
        holders = self.ledger.holders
        holders.append((slot, since, person_id, name))
        del holders[:-_HOLDERS_MAX]

    def _records(self, changes: Sequence[LogEntry]) -> dict[int, Record]:
        """Return the newest change of each slot."""
        found: dict[int, Record] = {}
        for entry in changes:  # newest first
            if entry.event is Event.ACCOUNT_CHANGED and entry.detail not in found:
                found[entry.detail] = Record(entry.counter, entry.timestamp, self._by(entry))
        return found

    def _by(self, entry: LogEntry) -> str:
        """Return who made a change, "" when that is not known."""
        if entry.slot == CONTROLLER_SLOT:
            return HOME_NAME
        if entry.slot == UNKNOWN_SLOT:
            return ""
        holder = self.ledger.holder(entry.slot, entry.counter)
        return "" if holder is None else holder.name

    # --- writing --------------------------------------------------------------------------------

    async def async_remove(self, doomed: Doomed, *, ours: bool) -> None:
        """Remove an account; `ours`: the ledger is as the lock."""
        ledger = self.ledger
        account = ledger.account(doomed.account_id)
        if ours and account is None:
            ledger.doomed.remove(doomed)
            await self._all.async_save()
            return
        if ours and account is not None:
            account = await self._note_rest(account)
            ledger.intention = Intention(doomed.account_id, [account, None])
            await self._all.async_save()
        elif (grant := ledger.replaced(doomed.account_id)) is not None:
            self._rest(grant, 0)  # nobody knows: rather none than too many
            await self._all.async_save()
        written = await self._session.async_remove(doomed.account_id)
        (result,) = written.results
        gone = result is Result.UNKNOWN_ACCOUNT
        if result is not Result.DONE and not gone:
            raise refused(self._coordinator.config_entry.title, written.results)
        ledger.doomed = [one for one in ledger.doomed if one.account_id != doomed.account_id]
        if not ours:
            await self._all.async_save()
            return
        if gone:
            raise ChangedMeanwhileError
        ledger.known = [one for one in ledger.known or () if one.account_id != doomed.account_id]
        ledger.epoch = written.epoch
        await self._done(written)

    async def _note_rest(self, account: Account) -> Account:
        """Note how many uses the account that takes the place of this one gets.

        This one is suspended first: no more of its uses can be taken then.
        """
        ledger = self.ledger
        grant = ledger.replaced(account.account_id)
        if grant is None or grant.replaces is None or account.uses == USES_UNLIMITED:
            return account
        if grant.replaces.uses is None:
            return account
        try:
            if account.rights & Right.ENABLED:
                await self._send(account, disabled(account))
                account = ledger.account(account.account_id) or account
            else:
                # Suspended before: what is known of its uses may be older than that.
                written = await self._session.async_change(account, ())
                account = written.account or account
        except RefusedError:
            self._rest(grant, 0)
        else:
            self._rest(grant, account.uses)
        return account

    @staticmethod
    def _rest(grant: Grant, left: int) -> None:
        if grant.replaces is not None and grant.replaces.left != USES_UNLIMITED:
            grant.replaces = replace(grant.replaces, left=left)

    async def async_add(self, task: Task) -> bool:
        """Write a new account ID; False when the lock has no slot left.

        RefusedError when it refuses for another reason; the next time the ID is another one.
        """
        await self._coordinator.log.async_read()  # slots are used again
        if any(True for _ in self.changes()):
            raise ChangedMeanwhileError
        ledger = self.ledger
        person_id = task.person_id or ""
        grant = ledger.grants.get(person_id)
        if grant is None:
            grant = ledger.grants[person_id] = Grant(new_account_id(), task.name)
        ledger.intention = Intention(grant.account_id, [None, new_account(-1, grant.account_id)])
        await self._all.async_save()
        written = await self._session.async_add(grant.account_id)
        (result,) = written.results
        if written.slot is None:
            ledger.grants.pop(person_id, None)
            if grant.replaces is not None:
                ledger.grants[person_id] = Grant(
                    new_account_id(), task.name, replaces=grant.replaces
                )
        else:
            taken = {one.slot for one in ledger.known or ()}
            if written.slot in taken:
                raise ChangedMeanwhileError
            grant.slot = written.slot
            ledger.known = [*(ledger.known or ()), new_account(written.slot, grant.account_id)]
            since = max(written.own, default=(ledger.accounts_counter or 0) + 1)
            self._note_holder(written.slot, since, person_id, task.name)
        await self._done(written)
        if result not in (Result.DONE, Result.FULL):
            raise refused(self._coordinator.config_entry.title, written.results)
        return result is Result.DONE

    async def async_change(self, task: Task, still: Callable[[], bool]) -> bool:
        """Write a change; False when the PIN is somebody else's, and the rest not complete.

        `still` is asked before an account is enabled: the owner may not want it any more.
        RefusedError when the lock refuses anything else.
        """
        ledger = self.ledger
        if task.account is None or task.after is None:
            raise ValueError("an account that is not there is not changed")
        if task.narrow:
            return await self._narrow(task, task.account)
        before = task.account
        grant = ledger.grants.get(task.person_id or "")
        first, second = steps(before, task.after, task.pin)
        if first and second and grant is not None and grant.settled is not None:
            # Cut off between them the account is suspended, whatever the owner wants by then.
            grant.settled = replace(grant.settled, rights=grant.settled.rights & ~Right.ENABLED)
        for commands in (first, second):
            if commands:
                if commands[-1].after.rights & Right.ENABLED and not still():
                    return True
                if not await self._send(before, commands):
                    return False
                before = commands[-1].after
        grant = ledger.grants.get(task.person_id or "")
        if grant is None or task.terms is None:
            return True
        now = ledger.account(grant.account_id)
        grant.settled, grant.replaces = task.terms, None
        grant.lease_end = None if now is None else now.not_after
        if task.pin is not None:
            grant.pin_taken = grant.pin_taken and not task.pin
            if ledger.pins.get(task.person_id or "") == task.pin:
                del ledger.pins[task.person_id or ""]
        await self._all.async_save()
        return True

    async def _narrow(self, task: Task, account: Account) -> bool:
        """Write what the owner takes away, while something else about the account is asked."""
        if task.after is not None and account.rights & ~task.after.rights:
            await self._send(account, disabled(account))
            return True
        (commands, _) = steps(account, account, "")
        await self._send(account, commands)
        if self.ledger.pins.get(task.person_id or "") == "":
            del self.ledger.pins[task.person_id or ""]
            await self._all.async_save()
        return True

    async def _send(self, account: Account, commands: Sequence[Step]) -> bool:
        """Send commands; False when only the PIN was refused."""
        ledger = self.ledger
        ledger.intention = Intention(
            account.account_id,
            [account, *(step.after for step in commands)],
            [number for number, step in enumerate(commands, 1) if step.free],
        )
        await self._all.async_save()
        written = await self._session.async_change(account, [step.request for step in commands])
        now = written.account
        if now is None:
            raise ChangedMeanwhileError
        ledger.known = [
            now if one.account_id == now.account_id else one for one in ledger.known or ()
        ]
        await self._done(written)
        wrong = [
            (step.request.command, result)
            for step, result in zip(commands, written.results, strict=True)
            if result is not Result.DONE
        ]
        if not wrong:
            if replace(commands[-1].after, uses=now.uses) != now:
                raise ChangedMeanwhileError
            return True
        if wrong == [(Command.SET_PIN, Result.BAD_VALUE)]:
            return False
        raise refused(self._coordinator.config_entry.title, written.results)

    async def _done(self, written: Written) -> None:
        """Store what the lock answered; ChangedMeanwhileError if that is not all that it has."""
        ledger = self.ledger
        ledger.own.update(written.own)
        ledger.intention = None
        await self._all.async_save()
        if account_digest(ledger.known or ()) != written.digest:
            raise ChangedMeanwhileError


def is_change(entry: LogEntry) -> bool:
    """Whether a record tells of changed accounts; a gap may hide one."""
    return entry.event is None or entry.event in _CHANGES
