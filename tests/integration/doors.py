"""Doors of a household: locks with hands at them, and what they really wrote into their logs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, override

from board import SETUP_BYTES, TestLock
from bsld import const as c
from bsld.lock import Lock
from bsld.ports import Ports

if TYPE_CHECKING:
    from household import House


@dataclass(frozen=True)
class Fact:
    """A record as the lock core wrote it, who really caused it, and whose access it is about."""

    counter: int
    event: int
    slot: int
    source: int
    bolt: int
    door: int
    detail: int
    timestamp: int
    at: float
    who: str | None
    about: str | None


class HouseLock(TestLock):
    """A lock whose sensors still read the same after its battery was taken out."""

    world: House

    def __init__(
        self, world: House, number: int, capabilities: int, log_size: int, name: str
    ) -> None:
        self.name = name
        self.log_size = log_size
        self.percent = 87
        self.at_bolt = c.BOLT_LOCKED
        self.door_open = False
        self.facts: list[Fact] = []
        super().__init__(world, number, capabilities)

    @override
    def power_up(self) -> None:
        self._started = self.world.monotonic()
        ports = Ports(self, self._random, self.flash, self, self, self)
        self.world.writers[id(self.flash)] = self
        self.core = Lock(
            ports,
            self.device_id,
            SETUP_BYTES,
            capabilities=self.capabilities,
            log_size=self.log_size,
        )
        self.core.battery_measured(self.percent, self.percent <= 15)
        if self.capabilities & c.CAP_DOOR_SENSOR:
            self.core.door_sensed(self.door_open)
        self.core.bolt_sensed(self.at_bolt)
        self.core.start()

    # --- hands ---

    def by_hand(self, bolt: int) -> None:
        """Turn the bolt with the knob or the key."""
        self.at_bolt = bolt
        self.core.bolt_sensed(bolt)

    def swing(self, *, is_open: bool) -> None:
        """Open or close the door."""
        self.door_open = is_open
        self.core.door_sensed(is_open)

    def drain(self, percent: int) -> None:
        """Let the battery go down to a charge."""
        self.percent = percent
        self.core.battery_measured(percent, percent <= 15)

    def new_battery(self) -> None:
        """Change the battery: for a moment there is no power."""
        self.percent = 100
        self.power_cut()

    @override
    def run(self) -> None:
        super().run()
        if self.core.bolt in (c.BOLT_LOCKED, c.BOLT_UNLOCKED):
            self.at_bolt = self.core.bolt  # where the sensor will find it
