"""One simulated lock: the real lock core with a simulated board around it."""

import asyncio
import json
import logging
import secrets
import time
from collections import deque
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from boards.files import FileStorage
from bsld import const as c
from bsld.lock import Lock
from bsld.ports import Ports

from .door import MOTOR_SECONDS, Door
from .events import BOLTS, DOORS, Happening, sentence
from .gatt import LockRadio
from .identity import load_identity, write_private
from .storage import CuttableStorage, PowerCutError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from pathlib import Path

    from .link import Radio

_LOGGER = logging.getLogger(__name__)

CAPABILITIES = (
    c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_AUTO_LOCK | c.CAP_RTC | c.CAP_LOG
)
CONNECTIONS = 3
HAPPENINGS = 60
TRACE = 10_000


class _Clock:
    """Uptime, and a battery-backed clock that runs on while the lock has no power."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started = 0.0

    def power_up(self) -> None:
        self._started = asyncio.get_running_loop().time()

    def uptime_ms(self) -> int:
        return int((asyncio.get_running_loop().time() - self._started) * 1000)

    def rtc(self) -> int | None:
        if not self._path.exists():
            return None
        ahead: float = json.loads(self._path.read_text("utf-8"))["ahead"]
        return int(time.time() + ahead)

    def set_rtc(self, unix: int) -> None:
        # Half a second: the time was cut to whole seconds by whoever sent it.
        ahead = unix + 0.5 - time.time()
        write_private(self._path, json.dumps({"ahead": ahead}), durable=False)

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


class VirtualLock:
    """A lock, its door, its flash and its radio.

    Stands between the core and its board: everything that reaches the core goes through `_tell`,
    which calls `poll` afterwards and takes the power away when it is cut.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        radio: Radio,
        on_change: Callable[[VirtualLock], None] = lambda _lock: None,
        motor_seconds: float = MOTOR_SECONDS,
    ) -> None:
        """Restore a lock from its folder, or make a new one there; `power_on` starts it."""
        self.identity = load_identity(folder, name)
        self.folder = folder
        self._radio = radio
        self._on_change = on_change
        self.core: Lock | None = None
        self.air: LockRadio | None = None
        self.door = Door(folder, self, motor_seconds)
        self._clock = _Clock(folder / "clock.json")
        self._storage: CuttableStorage | None = None
        self._poll_timer: asyncio.Handle | None = None
        self._indicator: tuple[str, float] | None = None
        self._logged = 0
        self._seen_counter = -1
        self._look_soon = False
        self._switching = asyncio.Lock()
        self._noted = 0
        self.happenings: deque[Happening] = deque(maxlen=HAPPENINGS)
        self.traced: deque[dict[str, object]] = deque(maxlen=TRACE)

    # --- power --------------------------------------------------------------------------------

    async def power_on(self) -> None:
        """Give it power; nothing if it has."""
        async with self._switching:
            if self.core is None:
                await self._power_on()

    async def _power_on(self) -> None:
        flash = self.folder / "flash"
        flash.mkdir(exist_ok=True)
        self._storage = CuttableStorage(FileStorage(str(flash), sync=False))
        self._clock.power_up()
        self.air = air = LockRadio(self._radio, self.identity.device_id, self)
        ports = Ports(
            clock=self._clock,
            random=secrets.token_bytes,
            storage=self._storage,
            motor=self,
            radio=air,
            indicator=self,
        )
        core = Lock(
            ports,
            self.identity.device_id,
            self.identity.setup_secret,
            capabilities=CAPABILITIES,
            connections=CONNECTIONS,
        )
        await air.start()
        self.core = core
        self._tell(core.start)
        if self.core is core:
            if self._logged == 0:
                self._read_log(core, missing=0.0)
            self.happened("Power is on")
            self.door.report()

    def power_off(self) -> None:
        """Tear the power out: no goodbye to anybody, memory is gone, flash stays as it is."""
        if self.core is None:
            return
        self.core = None
        if self._poll_timer is not None:
            self._poll_timer.cancel()
            self._poll_timer = None
        if self._storage is not None:
            self._storage.cut = True  # whatever still runs stores nothing more
        if self.air is not None:
            self.air.power_off()
            self.air = None
        self._indicator = None
        self.door.power_gone()
        self.trace("power", on=False)
        self.happened("Power is off")

    def cut_power_after(self, count: int) -> None:
        """Cut the power once `count` more bytes went to flash, in the middle of what is written."""
        if self._storage is not None:
            self._storage.cut_after(count)

    async def forget_clock(self) -> None:
        """Take out the clock's backup battery and the power with it, and put the power back."""
        self._clock.forget()
        self.power_off()
        await self.power_on()

    # --- towards the core ---------------------------------------------------------------------

    def _run[**P, T](self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Call the core; the result, None when it died over it."""
        try:
            return call(*args, **kwargs)
        except PowerCutError:
            self.power_off()
        except OSError as error:
            _LOGGER.error("%s could not store anything (%s) and stops", self.identity.id, error)  # noqa: TRY400 - the cause is said, a trace adds nothing
            self.power_off()
        return None

    def _tell[**P, T](self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Tell the core something, and let it do what is due then."""
        result = self._run(call, *args, **kwargs)
        if self.core is not None:
            if self._poll_timer is not None:
                self._poll_timer.cancel()
            self._poll_timer = asyncio.get_running_loop().call_soon(self._poll)
        return result

    def _poll(self) -> None:
        if self.core is None:
            return
        wait = self._run(self.core.poll)
        if wait is not None:
            loop = asyncio.get_running_loop()
            self._poll_timer = loop.call_later(max(wait, 1) / 1000, self._poll)
        self.changed()

    # The radio calls these (gatt.Core).

    def connected(self, conn: Hashable) -> None:
        """A gateway or phone connected."""
        if self.core is not None:
            self.happened("A client connected")
            self._tell(self.core.connected, conn)

    def disconnected(self, conn: Hashable) -> None:
        """A connection ended."""
        if self.core is not None:
            self.happened("A client left")
            self._tell(self.core.disconnected, conn)

    def mtu_changed(self, conn: Hashable, mtu: int) -> None:
        """The ATT MTU was agreed."""
        if self.core is not None:
            self._tell(self.core.mtu_changed, conn, mtu)

    def subscribed(self, conn: Hashable, on: bool) -> None:
        """Notifications were switched."""
        if self.core is not None:
            self._tell(self.core.subscribed, conn, on)

    def written(self, conn: Hashable, data: bytes) -> None:
        """The request characteristic was written."""
        if self.core is not None:
            self._tell(self.core.written, conn, data)

    def info(self) -> bytes:
        """The info characteristic."""
        return b"" if self.core is None else self.core.info()

    def battery_level(self) -> int:
        """The Battery service's percent."""
        return self.door.percent

    # The door calls these (door.Sensors).

    def bolt_sensed(self, bolt: int) -> None:
        """The bolt's sensors."""
        self.trace("bolt", bolt=BOLTS[bolt])
        if self.core is not None:
            self._tell(self.core.bolt_sensed, bolt)

    def door_sensed(self, is_open: bool) -> None:
        """The door's contact."""
        if self.core is not None:
            self._tell(self.core.door_sensed, is_open)

    def battery_measured(self, percent: int, low: bool) -> None:
        """The battery's charge."""
        if self.core is not None:
            self._tell(self.core.battery_measured, percent, low)

    def tamper_sensed(self, on: bool) -> None:
        """The cover's contact."""
        if self.core is not None:
            self._tell(self.core.tamper_sensed, on)

    # A person does these; None: the lock has no power.

    def pin_entered(self, digits: str) -> int | None:
        """Type a PIN; a result value."""
        return None if self.core is None else self._tell(self.core.pin_entered, digits)

    def pin_refusals(self) -> dict[int, str]:
        """What results that refuse a PIN mean to the person at the keypad now."""
        words = {c.UNKNOWN_ACCOUNT: "wrong PIN", c.BAD_VALUE: "a PIN has 4 to 14 digits"}
        if self.core is not None and not self.core.paired:
            words[c.NOT_NOW] = "not paired yet, it knows no PINs"
        elif self.core is not None and self.core.access.keypad.waiting():
            words[c.NOT_NOW] = "too many wrong PINs: wait"
        return words

    def button_pressed(self) -> int | None:
        """Press the button inside; a result value."""
        return None if self.core is None else self._tell(self.core.button_pressed)

    def button_held(self, seconds: float) -> bool:
        """Hold the button inside."""
        if self.core is None:
            return False
        self._tell(self.core.inner_button_held, seconds)
        return True

    # --- from the core: motor and indicator ---------------------------------------------------

    def start(self, operation: int) -> None:
        """Drive the bolt (bsld.ports.Motor)."""
        self.trace("operate", operation=operation)
        self.door.start(operation)

    def stop(self) -> None:
        """Stop the drive (bsld.ports.Motor)."""
        self.door.stop()

    def show(self, what: str) -> None:
        """Light and sound (bsld.ports.Indicator)."""
        self._indicator = (what, time.monotonic())
        self.changed()

    # --- for whoever looks --------------------------------------------------------------------

    def trace(self, what: str, **details: object) -> None:
        """Note when something happened, for the benches."""
        self.traced.append({"t_monotonic_ns": time.monotonic_ns(), "what": what, **details})

    def happened(self, text: str) -> None:
        """Note something the lock itself does not write down."""
        self._note(Happening(time.time(), text, "world"))
        self.changed()

    def _note(self, line: Happening) -> None:
        self._noted += 1
        self.happenings.append(replace(line, number=self._noted))

    def changed(self) -> None:
        """Something to show changed: whoever looks is told after what is being done is done."""
        if not self._look_soon:
            self._look_soon = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._look_soon = False
        if self.core is not None and self.core.counter != self._seen_counter:
            self._seen_counter = self.core.counter
            self._read_log(self.core)
        self._on_change(self)

    def _read_log(self, core: Lock, missing: float | None = None) -> None:
        """Put new log records into words; `missing` is the time of those without one."""
        while records := core.log_records(self._logged, 20):
            for record in records:
                line = sentence(record)
                when = line.time or (time.time() if missing is None else missing)
                self._note(replace(line, time=when))
            self._logged = records[-1][3]

    @property
    def indicator(self) -> str | None:
        """What light and sound say at the moment."""
        if self._indicator is None:
            return None
        what, since = self._indicator
        return what if time.monotonic() - since < 5 else None

    def state(self) -> dict[str, Any]:
        """Everything there is to see, for JSON."""
        core, door, air = self.core, self.door, self.air
        return {
            "id": self.identity.id,
            "address": self.identity.address,
            "name": self.identity.name,
            "radio_name": self.identity.radio_name,
            "setup_code": self.identity.setup_code,
            "powered": core is not None,
            "bolt": BOLTS[core.bolt] if core else "unknown",
            "door": DOORS[core.door] if core else "unknown",
            "battery": {"percent": door.percent, "low": door.low_battery},
            "tamper": door.cover_off,
            "paired": core.paired if core else None,
            "setup_mode": core.setup_mode if core else False,
            "clock_trusted": core.clock_trusted if core else False,
            "clock": self._clock.rtc(),
            "counter": core.counter if core else None,
            "connections": len(air.connections) if air else 0,
            "advertising_ms": air.interval_ms if air else None,
            "indicator": self.indicator,
            "physical": {
                "position": round(door.position, 3),
                "target": door.target if door.operation else None,
                "operation": door.operation,
                "motor_seconds": door.motor_seconds,
                "latch_pulled": door.latch_pulled,
                "door_open": door.is_open,
                "jam": door.jam,
            },
            "events": [asdict(line) for line in list(self.happenings)[-20:]],
        }
