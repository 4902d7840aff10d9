"""Writes to one lock who may use it, as soon as it is in reach (ILP1 section 4, rule 9).

Everything starts with what the lock says of its own accounts. If all that happened to them was this
home's doing, what the owner changed is written. If not, every account is read: what is to be
removed is removed, whatever else differs is a question to the owner. An intention is stored before
it is sent, so a cut at any point is found out about and gone on from.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from homeassistant.config_entries import SIGNAL_CONFIG_ENTRY_CHANGED, ConfigEntry, ConfigEntryChange
from homeassistant.core import CALLBACK_TYPE, HassJob, HomeAssistant, callback
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.helpers.event import async_call_later

from .access import Access, AccessState, PinState, access_list
from .account_intake import forget_ended, note_taken, refresh, refresh_ended
from .account_issues import async_update_issues
from .account_plan import Terms, lease_due, lease_renewal_at, target
from .account_session import ChangedMeanwhileError
from .account_writer import AccountWriter, Task, is_change
from .const import DOMAIN
from .drift import HOME, HOME_NAME, Choice, Wanted, decide
from .errors import NoAnswerError, OperationError, RefusedError
from .home import is_people
from .ilp import USES_KEEP, USES_UNLIMITED, Account, Capability, Event, IlpError, Right
from .sync import Job
from .timekeeper import clock_is_right

if TYPE_CHECKING:
    from collections.abc import Container
    from datetime import datetime

    from .coordinator import IgrsLockCoordinator
    from .home import Home
    from .ledger_lock import LockLedger, Question
    from .log_store import LogEntry

__all__ = ["Access", "AccessState", "AccountKeeper", "PinState"]

_LOGGER = logging.getLogger(__name__)

_ROUNDS: Final = 3
"""How often a run begins anew when somebody else writes at the same time."""
_TIMER_MAX: Final = 24 * 3600.0


class AccountKeeper:
    """The accounts job of one lock."""

    def __init__(self, hass: HomeAssistant, coordinator: IgrsLockCoordinator, home: Home) -> None:
        self._hass = hass
        self._coordinator = coordinator
        self._home = home
        self._writer = AccountWriter(coordinator, home.ledger)
        self._running = asyncio.Lock()
        self._full: set[str] = set()
        self._failed: set[str] = set()
        self._taken = home.taken.setdefault(coordinator.device_id, set())
        self._cancel_timer: CALLBACK_TYPE | None = None

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Begin to keep the accounts; returns what ends it."""
        coordinator = self._coordinator
        coordinator.sync.register(Job.ACCOUNTS, self.async_run)
        stops = [
            coordinator.log.async_listen(self.async_log_entry),
            async_dispatcher_connect(
                self._hass, SIGNAL_CONFIG_ENTRY_CHANGED, self._async_entry_changed
            ),
        ]
        if self._home.people_entry is not None:
            forget_ended(self.ledger, self._home, coordinator.device_id)
        self.async_people_changed()

        @callback
        def stop() -> None:
            self._disarm()
            for one in stops:
                one()

        return stop

    # --- what is known --------------------------------------------------------------------------

    @property
    def ledger(self) -> LockLedger:
        """This lock's part of the ledger."""
        return self._writer.ledger

    @property
    def name(self) -> str:
        """The lock's name."""
        return self._coordinator.config_entry.title

    @property
    def full(self) -> bool:
        """Whether the lock had no slot left for somebody."""
        return bool(self._full)

    @property
    def hushed(self) -> bool:
        """Whether the owner lets people's accounts be, without a People entry."""
        return self._home.people_entry is None and self._home.ledger.kept

    @property
    def failed(self) -> set[str]:
        """People (or HOME) whose access the lock refuses to change."""
        return self._failed

    def wanted(self) -> dict[str, Wanted] | None:
        """Return who is to have access; None without a People entry: then nothing is changed."""
        if self._home.people_entry is None:
            return None
        return {
            person.id: Wanted(person.name, Terms.of(person))
            for person in self._home.persons().values()
            if self._coordinator.device_id in person.locks and person.id not in self.ledger.ended
        }

    def access(self) -> list[Access]:
        """Return everybody's access, persons first."""
        return access_list(self.ledger, self.wanted(), self._full, self._failed, _now())

    @property
    def pending(self) -> bool:
        """Whether there is anything to ask the lock or to write to it."""
        ledger = self.ledger
        if ledger.doomed:
            return True
        if self._home.people_entry is None:
            return False
        return (
            ledger.known is None
            or ledger.intention is not None
            or any(True for _ in self._writer.changes())
            or self._next() is not None
        )

    # --- what happens ---------------------------------------------------------------------------

    @callback
    def async_people_changed(self) -> None:
        """Take what the owner changed; it is written when the lock is reached."""
        self._full.clear()
        self._failed.clear()
        if self._refresh():
            self._coordinator.config_entry.async_create_background_task(
                self._hass, self._async_save(), f"{self.name} people"
            )
        self.async_shown()
        if self.pending:
            self._coordinator.sync.nudge(Job.ACCOUNTS)

    @callback
    def async_log_entry(self, entry: LogEntry) -> None:
        """Take a record of the lock's log."""
        ledger = self.ledger
        if entry.event in (Event.UNLOCKED, Event.OPENED):
            self._count_use(entry.slot)
        judged = ledger.accounts_counter
        if judged is None or self._running.locked() or not is_change(entry):
            return
        if entry.counter > judged and entry.counter not in ledger.own:
            self._coordinator.sync.nudge(Job.ACCOUNTS)

    def _count_use(self, slot: int) -> None:
        """Note that somebody's uses fell by one: the lock tells of it with its log only."""
        known = self.ledger.known or []
        for number, account in enumerate(known):
            if account.slot == slot and 0 < account.uses < USES_UNLIMITED:
                known[number] = replace(account, uses=account.uses - 1)
                self._home.ledger.async_save_soon()
                self._home.async_access_changed()

    @callback
    def _async_entry_changed(self, _change: ConfigEntryChange, entry: ConfigEntry[Any]) -> None:
        if entry.domain == DOMAIN and is_people(entry):
            self.async_people_changed()

    async def _async_save(self) -> None:
        try:
            await self._home.ledger.async_save()
        except OperationError as err:
            _LOGGER.debug("%s: %s", self.name, err)  # the ledger logged it

    def _refresh(self) -> bool:
        """Take what the owner changed into the ledger; return whether that is to be stored."""
        if self._home.people_entry is None:
            return False
        changed = self._home.async_note_people()
        device_id = self._coordinator.device_id
        changed |= refresh_ended(self.ledger, self._home, device_id, self._taken)
        keypad = Capability.KEYPAD in self._coordinator.capabilities
        changed |= refresh(self.ledger, self.wanted() or {}, _now(), keypad=keypad)
        note_taken(self.ledger, self._home, device_id, self._taken)
        return changed

    @callback
    def async_shown(self) -> None:
        """Let everybody see what is so now."""
        async_update_issues(self._hass, self._home, self._coordinator.config_entry, self)
        self._home.async_access_changed()
        self._arm()

    # --- the job --------------------------------------------------------------------------------

    async def async_settle(self) -> None:
        """Write now what is pending; kin of OperationError or IlpError when that fails."""
        if self.pending:
            await self.async_run()

    async def async_run(self) -> None:
        """Bring the lock to what the owner wants; kin of OperationError or IlpError if it fails."""
        async with self._running:
            if self._refresh():
                await self._home.ledger.async_save()
            if not self.pending:
                return
            try:
                async with self._coordinator.async_hold():
                    await self._run()
            finally:
                self.async_shown()

    async def _run(self) -> None:
        for _ in range(_ROUNDS):
            try:
                refused = await self._round()
            except ChangedMeanwhileError:
                _LOGGER.debug("%s: somebody else changes its accounts", self.name)
                continue
            if refused is not None:
                raise refused
            return
        raise NoAnswerError(self.name)

    async def _round(self) -> RefusedError | None:
        """Do all that there is to do; what the lock refuses keeps nothing else from it."""
        refused: RefusedError | None = None
        ours = await self._writer.async_verify(self.wanted())
        for doomed in [*self.ledger.doomed]:
            try:
                await self._writer.async_remove(doomed, ours=ours)
            except RefusedError as err:
                refused = err
            self._full.clear()
        self._failed.clear()
        while ours and (task := self._next(self._failed)) is not None:
            try:
                await self._do(task)
            except RefusedError as err:
                self._failed.add(task.person_id or HOME)
                refused = err
            self._refresh()  # the owner may have changed something meanwhile
        return refused

    async def _do(self, task: Task) -> None:
        person_id = task.person_id or HOME

        def still() -> bool:
            one = (self.wanted() or {}).get(person_id)
            return person_id == HOME or (one is not None and one.terms == task.terms)

        if task.account is None:
            if not await self._writer.async_add(task):
                self._full.add(person_id)
        elif not await self._writer.async_change(task, still):
            await self._pin_taken(person_id)

    async def _pin_taken(self, person_id: str) -> None:
        """Note that a PIN is somebody else's; the one before is not to hold any longer."""
        ledger = self.ledger
        grant = ledger.grants.get(person_id)
        if grant is None:
            return  # removed meanwhile
        grant.pin_taken = True
        account = ledger.account(grant.account_id)
        ledger.pins.pop(person_id, None)
        if account is not None and account.pin_set:
            ledger.pins[person_id] = ""
        await self._home.ledger.async_save()

    def _next(self, but: Container[str] = ()) -> Task | None:
        """Return what is to be written next: first what is on the lock, then who is to be added."""
        wanted, ledger = self.wanted(), self.ledger
        if wanted is None:
            return None
        adding: Task | None = None
        for person_id, one in wanted.items():
            if person_id in but:
                continue
            grant = ledger.grants.get(person_id)
            account = None if grant is None else ledger.account(grant.account_id)
            if account is not None:
                if (task := self._change(person_id, one, account)) is not None:
                    return task
            elif person_id not in {*ledger.questions, *self._full, *self._replacing}:
                adding = adding or Task(person_id, one.name)
        return (None if HOME in but else self._home_task()) or adding

    @property
    def _replacing(self) -> set[str]:
        """People whose account before is still there: with both of them uses would count twice."""
        doomed = {one.account_id for one in self.ledger.doomed}
        return {
            person_id
            for person_id, grant in self.ledger.grants.items()
            if grant.replaces is not None and grant.replaces.account_id in doomed
        }

    def _change(self, person_id: str, one: Wanted, account: Account) -> Task | None:
        ledger, terms = self.ledger, one.terms
        if person_id in ledger.questions:
            # What the owner takes away needs no answer.
            after = account
            if not terms.rights & Right.ENABLED:
                after = replace(account, rights=account.rights & ~Right.ENABLED)
            if after == account and not (ledger.pins.get(person_id) == "" and account.pin_set):
                return None
            return Task(person_id, one.name, account, after, narrow=True)
        grant, now = ledger.grants[person_id], _now()
        pin = ledger.pins.get(person_id)
        after = account
        if grant.settled != terms:
            after = target(terms, grant.settled, account, now)
            if grant.settled is not None and grant.settled.uses == USES_KEEP:
                account = replace(account, uses=USES_KEEP)  # count anew, whatever is left
            elif grant.settled is None and grant.replaces is not None:
                after = replace(after, uses=grant.replaces.rest(terms.uses))
        elif self._lease_due(person_id, terms, account, now):
            after = target(terms, terms, account, now)
        elif pin is None:
            return None
        return Task(person_id, one.name, account, after, pin, terms)

    def _lease_due(self, person_id: str, terms: Terms, account: Account, now: int) -> bool:
        """Whether a lease is to be renewed: one that this home wrote, by a clock that is right."""
        return (
            self.ledger.grants[person_id].lease_end == account.not_after
            and lease_due(terms, account, now)
            and clock_is_right(self._coordinator.memory)
        )

    def _home_task(self) -> Task | None:
        """Return what gives this home's own account its rights again, if the owner wants that."""
        home, ledger = self._writer.home_account, self.ledger
        account = None if home is None else ledger.account(home.account_id)
        if home is None or account is None or HOME in ledger.questions:
            return None
        after = replace(home, slot=account.slot, pin_set=account.pin_set)
        if after == account or any(one.account_id == home.account_id for one in ledger.foreign):
            return None
        return Task(None, HOME_NAME, account, after, "" if account.pin_set else None)

    # --- what the owner decides -----------------------------------------------------------------

    async def async_decide(self, key: str, choice: Choice, asked: Question) -> bool:
        """Do what the owner decided; False if it is not what was asked any more.

        The lock is looked at again first, if it is in reach; if not, that is done before anything
        is written. LedgerNotSavedError.
        """
        async with self._running:
            try:
                async with self._coordinator.async_hold():
                    await self._writer.async_verify(self.wanted())
            except (OperationError, IlpError, ChangedMeanwhileError) as err:
                _LOGGER.debug("%s: not looked at again: %s", self.name, err)
            question = self.ledger.questions.get(key)
            if question is None or not question.same_as(asked):
                self.async_shown()
                return False
            person = self._home.known_persons().get(question.person_id or "")
            terms = None if person is None else Terms.of(person)
            ended: str | None = None

            def do() -> None:
                nonlocal ended
                ended = decide(self.ledger, key, choice, terms)
                if ended is not None:
                    self.ledger.ended.append(ended)
                    self._taken.discard(ended)

            await self._home.ledger.async_save_decision((self._coordinator.device_id,), do)
            if ended is not None:
                self._home.async_take_lock(ended, self._coordinator.device_id)
        self.async_people_changed()
        try:
            await self.async_settle()
        except (OperationError, IlpError) as err:
            _LOGGER.debug("%s: not written yet: %s", self.name, err)
        return True

    # --- leases ---------------------------------------------------------------------------------

    @callback
    def _arm(self) -> None:
        """Wake up when the next lease is to be renewed."""
        self._disarm()
        ledger, now = self.ledger, _now()
        times = [
            due
            for person_id, one in (self.wanted() or {}).items()
            if (grant := ledger.grants.get(person_id)) is not None
            and (account := ledger.account(grant.account_id)) is not None
            and grant.lease_end == account.not_after
            and (due := lease_renewal_at(one.terms, account)) is not None
        ]
        if times:
            seconds = min(max(min(times) - now, 3600.0 if min(times) <= now else 1.0), _TIMER_MAX)
            self._cancel_timer = async_call_later(
                self._hass, seconds, HassJob(self._tick, cancel_on_shutdown=True)
            )

    @callback
    def _disarm(self) -> None:
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None

    @callback
    def _tick(self, _now: datetime) -> None:
        self._cancel_timer = None
        if self.pending:
            self._coordinator.sync.nudge(Job.ACCOUNTS)
        self._arm()


def _now() -> int:
    return int(time.time())
