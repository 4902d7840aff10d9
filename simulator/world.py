"""All there is: one radio, some locks, and the adapters plugged in over TCP."""

import asyncio
import fcntl
from typing import TYPE_CHECKING, Any, Self, TextIO

from .door import MOTOR_SECONDS
from .events import Hub
from .hci_server import HciServer
from .identity import lock_name
from .link import Radio
from .virtual_lock import VirtualLock

if TYPE_CHECKING:
    from pathlib import Path

GATHER_SECONDS = 0.03
"""Changes within this time are told together."""


class World:
    """A radio with locks. `async with` starts and stops it."""

    def __init__(
        self,
        state: Path,
        count: int,
        *,
        hci_port: int = 0,
        seed: int | None = None,
        motor_seconds: float = MOTOR_SECONDS,
    ) -> None:
        """Prepare; nothing is started or written yet.

        Args:
            state: folder of all locks' states.
            count: number of locks, 1 or more.
            hci_port: TCP port for adapters, 0 for a free one.
            seed: for the radio's noise.
            motor_seconds: how long a bolt takes.
        """
        self.radio = Radio(seed)
        self.hub = Hub()
        self.locks: dict[str, VirtualLock] = {}
        self.hci = HciServer(self.radio, self._adapters_changed)
        self.hci_port = hci_port
        self._state = state
        self._count = count
        self._motor_seconds = motor_seconds
        self._changed: set[VirtualLock] = set()
        self._telling: asyncio.TimerHandle | None = None
        self._claim: TextIO | None = None
        self._stopped = False

    async def __aenter__(self) -> Self:
        """Start everything.

        Raises:
            OSError: a port is taken, or another simulator uses the folder.
            ValueError: a lock's identity is damaged.
        """
        self._state.mkdir(parents=True, exist_ok=True)
        self._claim = (self._state / "in-use").open("w")
        try:
            fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._claim.close()
            raise OSError(f"another simulator is running on {self._state}") from error
        for number in range(1, self._count + 1):
            lock = VirtualLock(
                self._state / f"lock-{number:03}",
                lock_name(number),
                self.radio,
                self._lock_changed,
                self._motor_seconds,
            )
            self.locks[lock.identity.id] = lock
        for lock in self.locks.values():
            await lock.power_on()
        self.hci_port = await self.hci.start(self.hci_port)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Stop everything; what locks know is in their folders already."""
        self._stopped = True
        await self.hci.stop()
        for lock in self.locks.values():
            lock.power_off()
        if self._telling is not None:
            self._telling.cancel()
        self.hub.close()
        if self._claim is not None:
            self._claim.close()

    # --- who is there -------------------------------------------------------------------------

    @property
    def gateways(self) -> list[str]:
        """Names of the adapters that are plugged in."""
        return sorted({adapter.name for adapter in self.hci.adapters})

    def radio_state(self) -> dict[str, Any]:
        """The radio's settings and adapters, for JSON."""
        return {
            "interval_ms": self.radio.interval_ms,
            "loss": self.radio.loss,
            "gateways": self.gateways,
        }

    def lock_state(self, lock: VirtualLock) -> dict[str, Any]:
        """A lock's state with its signal strengths, for JSON."""
        name = lock.identity.id
        return lock.state() | {
            "rssi": {gateway: self.radio.rssi(name, gateway) for gateway in self.gateways}
        }

    # --- telling ------------------------------------------------------------------------------

    def _lock_changed(self, lock: VirtualLock) -> None:
        self._changed.add(lock)
        if self._telling is None and not self._stopped:
            loop = asyncio.get_running_loop()
            self._telling = loop.call_later(GATHER_SECONDS, self._tell)

    def _tell(self) -> None:
        self._telling = None
        for lock in self._changed:
            if self.hub.listeners:
                self.hub.publish("lock", self.lock_state(lock))
        self._changed.clear()

    def _adapters_changed(self) -> None:
        self.radio_changed()

    def radio_changed(self) -> None:
        """Tell that the radio's settings or adapters changed, and with them signal strengths."""
        self.hub.publish("radio", self.radio_state())
        for lock in self.locks.values():
            self._lock_changed(lock)
