"""What this home, or a person in it, asks of one lock."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from homeassistant.config_entries import SOURCE_REAUTH
from homeassistant.core import callback

from .carrier import KEPT_WAITING, async_make_room
from .client import always
from .const import AUTHENTICATION_FAILURES, MOVEMENT_TIMEOUT, QUEUE_MAX_AGE, REPEAT_MAX_AGE
from .errors import (
    AccessGoneError,
    AccessSuspendedError,
    DoorOpenError,
    GatewayBusyError,
    NeedsPairingError,
    NoRightError,
    OperationError,
    OutsideHoursError,
    UnconfirmedError,
)
from .ilp import Bolt, Door, IlpError, Operation, Reply, Request, Result, Status, requests
from .movement import Movement, moves, refusal
from .standing import check_still
from .store import async_get_pairings
from .sync import Job

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from .client import Identity
    from .coordinator import IgrsLockCoordinator

_PERSON_REFUSALS: Final[dict[Result, type[OperationError]]] = {
    Result.NO_RIGHT: NoRightError,
    Result.OUTSIDE_TIME: OutsideHoursError,
    Result.UNKNOWN_ACCOUNT: AccessGoneError,
    Result.DISABLED: AccessSuspendedError,
}
CLOSED: Final = frozenset((Result.OUTSIDE_TIME, Result.UNKNOWN_ACCOUNT, Result.DISABLED))
"""With these results a status tells nothing of the door."""


class Operator:
    """Operates a lock for people, one movement at a time, and lets everything else wait for them."""

    def __init__(self, coordinator: IgrsLockCoordinator) -> None:
        self.movement: Movement | None = None
        """The movement asked for, while its end is not known."""
        self._coordinator = coordinator
        self._operating = asyncio.Lock()
        self.refusals = 0
        """Refusals of this home's key in a row."""
        self._people = 0
        self._calm = asyncio.Event()
        self._calm.set()
        coordinator.client.on_session_end = self._session_ended
        coordinator.client.carrier.hindered = self._relays_hindered
        coordinator.client.carrier.job_waits = self._job_waits

    @asynccontextmanager
    async def hold(self) -> AsyncGenerator[None]:
        """Keep the connection for several requests; the first of them makes it."""
        with self._coordinator.client.held.hold():
            yield

    async def async_request(
        self,
        *wanted: Request,
        may_repeat: Callable[[], bool] = always,
        identity: Identity | None = None,
    ) -> list[Reply]:
        """Send requests that can wait for people at the door; kin of OperationError."""
        await self._calm.wait()
        return await self._async_request(wanted, may_repeat, always, identity)

    async def async_ask(self, *wanted: Request) -> list[Reply]:
        """Send requests because the lock is doubted: a refused key counts as when people ask."""
        await self._calm.wait()
        return await self._async_counting(wanted, always, always, None)

    async def _async_counting(
        self,
        wanted: tuple[Request, ...],
        may_repeat: Callable[[], bool],
        still_wanted: Callable[[], bool],
        identity: Identity | None,
    ) -> list[Reply]:
        """Send requests; ask the owner to pair anew when this home's key is refused again and again.

        Jobs in the background do not count: an ERROR is anybody's, and they try often.
        """
        try:
            return await self._async_request(wanted, may_repeat, still_wanted, identity)
        except NeedsPairingError:
            self.refusals += 1
            if self.refusals >= AUTHENTICATION_FAILURES:
                self._coordinator.config_entry.async_start_reauth(self._coordinator.hass)
            raise

    async def _async_request(
        self,
        wanted: tuple[Request, ...],
        may_repeat: Callable[[], bool],
        still_wanted: Callable[[], bool],
        identity: Identity | None,
    ) -> list[Reply]:
        """Send requests by the fastest way, noting that this home's key was accepted."""
        coordinator = self._coordinator
        client = coordinator.client
        try:
            replies = await client.async_request(
                *wanted,
                nonce=self._nonce,
                may_repeat=may_repeat,
                wanted=still_wanted,
                identity=identity,
            )
        except AccessGoneError:
            coordinator.sync.nudge(Job.ACCOUNTS)
            raise
        self.refusals = 0
        await self._async_key_accepted()
        coordinator.async_clock_told(off=client.clock_off)
        return replies

    async def _async_key_accepted(self) -> None:
        """Take back a request to pair anew that nobody has begun to follow.

        The keys that were pending are none of this lock's then.
        """
        coordinator = self._coordinator
        if coordinator.tracker.exhausted:
            return
        entry, flows = coordinator.config_entry, coordinator.hass.config_entries.flow
        for flow in entry.async_get_active_flows(coordinator.hass, {SOURCE_REAUTH}):
            if flow.get("step_id") == "reauth_confirm":
                flows.async_abort(flow["flow_id"])
                (await async_get_pairings(coordinator.hass)).forget(coordinator.device_id)

    async def async_operate(
        self, operation: Operation, identity: Identity | None, asked_at: float
    ) -> None:
        """Lock, unlock or open, and wait until the lock says that it is done.

        One at a time; `asked_at` is when somebody wanted it, in monotonic seconds. Raises kin of
        OperationError; whatever happens, the state shown is what the lock said, or unknown when
        nobody can tell what came of it.
        """
        client = self._coordinator.client
        self._people += 1
        self._calm.clear()
        try:
            with client.held.hold():  # also what a relay has begun to connect
                client.carrier.give_way()
                async with self._operating:
                    await self._async_operate(operation, identity, asked_at)
        finally:
            self._people -= 1
            if not self._people:
                self._calm.set()
                client.carrier.async_next()
        self._coordinator.sync.async_reached()

    async def _async_operate(
        self, operation: Operation, identity: Identity | None, asked_at: float
    ) -> None:
        coordinator = self._coordinator
        check_still(coordinator.home, coordinator, identity)
        name = coordinator.config_entry.title
        coordinator.doubt.async_give_way()
        self.movement = movement = Movement(
            operation, name, lambda: coordinator.client.session_alive
        )
        coordinator.async_update_listeners()
        changes = coordinator.changes

        def may_repeat() -> bool:
            if operation is Operation.LOCK:
                return True
            if time.monotonic() - asked_at > REPEAT_MAX_AGE:
                return False
            # A second one would open a door that somebody closed or locked meanwhile.
            return coordinator.changes == changes or (
                operation is Operation.UNLOCK
                and coordinator.data is not None
                and coordinator.data.bolt not in (Bolt.LOCKED, Bolt.LOCKING)
            )

        def still_wanted() -> bool:
            # Whoever wanted in has gone: a door must not unlock by itself later.
            return operation is Operation.LOCK or time.monotonic() - asked_at <= QUEUE_MAX_AGE

        try:
            request = (requests.operate(operation),)
            try:
                (reply,) = await self._async_counting(request, may_repeat, still_wanted, identity)
            except GatewayBusyError:
                # Somebody far away may have the last connection of a gateway, for another lock.
                if not await async_make_room(coordinator):
                    raise
                (reply,) = await self._async_counting(request, may_repeat, still_wanted, identity)
            try:
                status = Status.of(reply)
            except IlpError as err:
                raise UnconfirmedError(name) from err
            self._check_person(status, identity)
            coordinator.async_answered(status)
            if moves(status, operation):
                movement.accepted(status.counter, status.bolt)
                async with asyncio.timeout(MOVEMENT_TIMEOUT):
                    await movement.ended()
            elif status.result is not Result.DONE:
                raise refusal(status.result, name)
            coordinator.client.confirmed()
        except TimeoutError as err:
            raise UnconfirmedError(name) from err
        finally:
            self.movement = None
            coordinator.async_doubt()
            coordinator.async_update_listeners()
        state = coordinator.data
        if operation is Operation.LOCK and state is not None and state.door is Door.OPEN:
            raise DoorOpenError(name)

    def _check_person(self, status: Status, identity: Identity | None) -> None:
        """Raise what the lock has against a person; the lock did nothing then."""
        if identity is None or not identity.is_person:
            return
        if (error := _PERSON_REFUSALS.get(status.result)) is None:
            return
        coordinator = self._coordinator
        if status.result in CLOSED:
            coordinator.async_not_done()
        else:
            coordinator.async_answered(status)
        coordinator.sync.nudge(Job.ACCOUNTS)
        raise error(coordinator.config_entry.title, person=identity.name)

    @callback
    def _session_ended(self) -> None:
        if self.movement is not None:
            self.movement.link_changed()

    def _relays_hindered(self) -> bool:
        """Whether relays have to wait: for people here, and for jobs that waited for them."""
        if self._people:
            return True
        coordinator = self._coordinator
        if not coordinator.sync.running:
            return False
        # Somebody is being removed, or relays one after another left no room for anything else.
        doomed = bool(coordinator.accounts.ledger.doomed)
        return doomed or coordinator.client.carrier.kept_waiting >= KEPT_WAITING

    def _job_waits(self) -> bool:
        return self._coordinator.sync.running

    @callback
    def abandon(self) -> None:
        """Wait for no movement any longer: nobody listens to the lock any more."""
        if self.movement is not None:
            self.movement.abandon()

    def _nonce(self) -> bytes | None:
        """Return the advertised nonce where the lock would take it."""
        tracker = self._coordinator.tracker
        advertisement = tracker.advertisement
        if (
            advertisement is None
            or not advertisement.clock_trusted
            or self._coordinator.client.clock_off
            or tracker.exhausted
        ):
            return None
        return advertisement.nonce
