"""One relay at home: its turn on the lock's connection, its messages both ways, and its one end."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from homeassistant.core import callback

from ..carrier import Eviction
from ..errors import GatewayBusyError, LockBusyError, OperationError
from ..ilp import Kind
from ..link import LinkLostError
from ..log import DEBOUNCE
from ..sync import Job
from .relay_check import Passage, Passed, RelayRefused, Why
from .relay_limits import Direction
from .relay_told import async_take_told
from .tenants import moment, persons_tenant, tenant_of
from .wire import Status, b64

if TYPE_CHECKING:
    from ..coordinator import IgrsLockCoordinator
    from .relay import Relays
    from .relay_check import Tenant

_LOGGER = logging.getLogger(__name__)

_IDLE: Final = 15.0
"""Seconds without a message, and in all."""
_LONGEST: Final = 60.0
_NO_SESSION: Final = 10.0
"""As long as a lock's nonce is good: who asked for one and opens nothing is in the way."""
_YIELD: Final = 5.0
"""Seconds without a message while another person waits for the lock."""
_SHARED: Final = 15.0
"""Seconds in all while another person waits: who never falls silent has had their turn."""
_UNHEARD: Final = 3.0
"""Seconds after which a lock that may have moved its bolt, and says nothing, is doubted."""
_CODES: Final = {Why.MALFORMED: Status.MALFORMED, Why.FORBIDDEN: Status.REFUSED_BY_HOME}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a relay ended: answered, failed, expired or unknown, and a code of Table 1."""

    outcome: str
    code: Status = Status.DONE


ENDED: Final = Ending("answered")
"""The server knows already: it said so."""
_UNKNOWN: Final = Ending("unknown", Status.UNKNOWN)


class Relay:
    """One relay, a passenger of the lock's connection."""

    def __init__(
        self,
        relays: Relays,
        coordinator: IgrsLockCoordinator,
        relay_id: str,
        person: str | None,
        expires: int,
    ) -> None:
        """Know it; `person` is whose it is by the server's word, None for nobody who may relay."""
        self.id = relay_id
        self.coordinator = coordinator
        self.device = coordinator.device_id
        self.from_client = Direction()
        self._to_client = Direction()
        self._relays = relays
        self._person = person
        self._counted: str | None = None
        self._carrier = coordinator.client.carrier
        self._passage = Passage(
            bytes.fromhex(self.device), self._tenant_of, self._advertised, relays.first_time
        )
        self._loop = relays.gateway.hass.loop
        self._opened_at = self._heard_at = self._loop.time()
        self._expires_at = self._opened_at + relays.seconds_until(expires)
        self._waiting: deque[tuple[int, bytes, Passed]] = deque()
        self._news = asyncio.Event()
        self._expires = expires
        self._writes = 0
        self._unanswered = False
        self._doubting: asyncio.TimerHandle | None = None
        self._ended = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # --- what comes in from the server ----------------------------------------------------------

    def begin(self, data: bytes) -> None:
        """Take the first message, and be on the way to the lock."""
        self._arm()
        if not self._judged(data):
            return
        gateway = self._relays.gateway
        self._task = gateway.entry.async_create_background_task(
            gateway.hass, self._async_run(), f"{self.coordinator.client.name} relay"
        )

    def message(self, data: bytes) -> None:
        """Take a further message."""
        self._heard_at = self._loop.time()
        if self._judged(data):
            self._news.set()
            self._arm()

    def _judged(self, data: bytes) -> bool:
        """Judge a message, and put it in the queue; False: the relay has ended."""
        try:
            passed = self._passage.to_lock(data, moment())
        except RelayRefused as err:
            _LOGGER.debug("%s: a relay is refused: %s", self.coordinator.client.name, err)
            self.fail(_CODES[err.why])
            return False
        if self._passage.slot is None:
            # It may ask for a nonce in the name that the server gave it.
            if data[0] != Kind.CHALLENGE_REQUEST or self._person is None:
                self.fail(Status.REFUSED_BY_HOME)
                return False
        elif (tenant := self._tenant_of(self._passage.slot)) is not None:
            self._person = tenant.person_id
        if self._counted != self._person and self._person is not None:
            self._counted = self._person
            if not self._relays.may_begin(self._person):
                self.fail(Status.SLOW_DOWN)
                return False
        if passed.opens:
            self._relays.prewarm.used(self.device)
        self._waiting.append((self.from_client.last, data, passed))
        return True

    def ended_elsewhere(self) -> None:
        """Take that the server ended it: the client has enough, or is gone."""
        self._end(ENDED)

    # --- what is so at home ---------------------------------------------------------------------

    def _tenant_of(self, slot: int) -> Tenant | None:
        return tenant_of(self._relays.gateway, self.coordinator, slot)

    def _advertised(self) -> list[bytes]:
        return self._relays.gateway.states.passed_on(self.device)

    def still_allowed(self) -> bool:
        """Whether whose relay it is may still use the lock from afar."""
        gateway, person = self._relays.gateway, self._person
        if person is None or persons_tenant(gateway, self.coordinator, person) is None:
            return False
        slot = self._passage.slot
        return slot is None or self._tenant_of(slot) is not None  # else the account is another one

    # --- as a passenger -------------------------------------------------------------------------

    @property
    def person(self) -> str:
        """Whose it is."""
        return self._person or ""

    @callback
    def evicted(self, why: Eviction) -> None:
        """Stop at once: the lock is needed here, or gone."""
        self.interrupt(Status.LOCK_BUSY if why is Eviction.LOCAL else Status.OUT_OF_REACH)

    @callback
    def awaited(self) -> None:
        """Be shorter: another person waits."""
        self._arm()

    @callback
    def received(self, message: bytes) -> bool:
        """Take a message of the lock; hand it on if it is this session's."""
        if self._ended or not self._passage.from_lock(message):
            return False
        numbered = self._to_client.add(message)
        if numbered is None:
            self._end(_UNKNOWN)
            return True
        n, digest = numbered
        self._unanswered = False
        self._heard_at = self._loop.time()
        body = {"relay": self.id, "n": n, "data": b64(message), "hash": b64(digest)}
        self._relays.send("relay.data", self.device, body)
        if self._passage.slot is not None:
            async_take_told(self.coordinator, self._passage.slot, self._passage.told)
        self._arm()
        return True

    # --- the way to the lock --------------------------------------------------------------------

    async def _async_run(self) -> None:
        try:
            async with self._carrier.turn(self):
                await self._carrier.async_connect()
                if (late := self._relays.late(self._expires)) is not None:
                    self._end(late)
                while not self._ended:
                    if not self._waiting:
                        self._news.clear()
                        await self._news.wait()
                        continue
                    await self._async_write(*self._waiting.popleft())
        except LinkLostError, TimeoutError:
            self.interrupt(Status.OUT_OF_REACH)
        except LockBusyError, GatewayBusyError:
            self.interrupt(Status.LOCK_BUSY)
        except OperationError as err:
            _LOGGER.debug("%s: no relay: %s", self.coordinator.client.name, err)
            self.interrupt(Status.OUT_OF_REACH)
        except Exception:
            _LOGGER.exception("%s: a relay failed", self.coordinator.client.name)
            self.interrupt(Status.FAILED)
        finally:
            self.interrupt(Status.FAILED)  # cancelled with its entry
            self._settle()

    async def _async_write(self, n: int, data: bytes, passed: Passed) -> None:
        self._writes += 1
        self._unanswered = True
        if passed.moves and self._doubting is None:
            self._doubting = self._loop.call_later(_UNHEARD, self._doubt)
        await self._carrier.async_send(data, opens=passed.opens, moves=passed.moves)
        if not self._ended:
            body = {"relay": self.id, "state": "sent_to_lock", "n": n}
            self._relays.send("relay.state", self.device, body)
        await self._carrier.async_listen()

    def _settle(self) -> None:
        """Show what the lock itself says, and have its log read: it tells who did what."""
        if self._doubting is not None:
            self._doubting.cancel()
            self._doubt()
            self.coordinator.sync.nudge(Job.LOG, DEBOUNCE)

    @callback
    def _doubt(self) -> None:
        self.coordinator.async_doubt(moving=False)  # where it is on its way, it advertises the end
        self.coordinator.async_update_listeners()

    # --- the end --------------------------------------------------------------------------------

    def fail(self, code: Status) -> None:
        """End it for a reason; while an answer is due nobody knows what the lock did."""
        self._end(_UNKNOWN if self._unanswered else Ending("failed", code))

    def interrupt(self, code: Status) -> None:
        """End it in the middle: unknown if anything was written."""
        self._end(_UNKNOWN if self._writes else Ending("failed", code))

    def _end(self, ending: Ending) -> None:
        """End it, once: nothing is written or handed on any more."""
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._relays.over(self, ending)
        if self._task is not None:
            self._task.cancel()

    # --- its time -------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._ended:
            self._timer = self._loop.call_at(self._until(), self._tick)

    def _until(self) -> float:
        idle = _IDLE if self._passage.slot is not None else _NO_SESSION
        longest = _LONGEST
        if not self._unanswered and self._writes and self._carrier.others_wait(self.person):
            idle, longest = _YIELD, _SHARED
        until = min(self._heard_at + idle, self._opened_at + longest)
        return until if self._writes else min(until, self._expires_at)

    @callback
    def _tick(self) -> None:
        if self._loop.time() < self._until():
            self._arm()
        elif not self._writes and self._carrier.passenger is self:
            self._end(Ending("failed", Status.OUT_OF_REACH))  # it takes too long to connect
        elif not self._writes:
            self._end(self._relays.late(self._expires) or Ending("failed", Status.LOCK_BUSY))
        else:
            self._end(_UNKNOWN if self._unanswered else Ending("answered"))
