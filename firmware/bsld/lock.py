"""The lock as a board sees it: what happens outside comes in here, `Ports` is the way out."""

from . import const as c
from . import identifiers
from .access import Access
from .accounts import MAX_SLOTS, Accounts
from .beacon import Beacon
from .connections import Connections
from .eventlog import SEGMENT, EventLog, unpack
from .movement import Bolt
from .options import Options
from .owner import Owner
from .schedule import WallClock
from .store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Any

    from .accounts import Account
    from .eventlog import Record
    from .ports import Ports
    from .session import Session

# Events that sessions are told of
_TOLD = (
    c.EV_LOCKED,
    c.EV_UNLOCKED,
    c.EV_OPENED,
    c.EV_JAMMED,
    c.EV_TAMPER,
    c.EV_DOOR_OPENED,
    c.EV_DOOR_CLOSED,
    c.EV_LOW_BATTERY,
)


class Lock:
    """One ILP1 lock.

    Not thread safe: a board calls it from one place, for example its main loop. Ports may call
    back from within a call (a motor that reports its outcome at once is fine). After any call
    `poll` says how long it may wait.

    Attributes:
        bolt: BOLT_ value.
        door: DOOR_ value; 0 also while a sensor has not reported yet.
        battery: percent, 255 unknown.
        low_battery: whether it should be replaced.
        tamper: whether the cover is off.
    """

    def __init__(
        self,
        ports: "Ports",
        device_id: bytes,
        setup_code: bytes,
        *,
        capabilities: int = c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_AUTO_LOCK,
        slots: int = 32,
        log_size: int = 256,
        connections: int = 3,
        mains: bool = False,
        movement_ms: int = c.MOVEMENT_MS,
    ) -> None:
        """Make a lock from what its storage has; nothing is sent before `start`.

        Args:
            ports: the board.
            device_id: the Bluetooth address, 6 bytes, most significant first.
            setup_code: the 10 bytes behind the printed setup code.
            capabilities: the CAP_ bits of the hardware; the event log is always there.
            slots: account slots, 1 to 128.
            log_size: records the log keeps at least, a multiple of 64.
            connections: connections the radio can hold at once, 2 or more.
            mains: powered from the mains, so advertising every 100 ms.
            movement_ms: a motor silent for so long has jammed.

        Raises:
            ValueError: a size out of its range.
            OSError: from the storage, as from every other call.
        """
        if len(device_id) != 6 or len(setup_code) != 10:
            raise ValueError("device identifier 6 bytes, setup code 10 bytes")
        if not 1 <= slots <= MAX_SLOTS or log_size % SEGMENT or log_size < SEGMENT:
            raise ValueError("slots 1 to 128, log size a multiple of 64")
        if connections < 2:
            raise ValueError("two connections at least")
        self.ports = ports
        self.device_id = device_id
        self.capabilities = capabilities | c.CAP_LOG
        self.battery = c.BATTERY_UNKNOWN
        self.low_battery = False
        self.tamper = False
        self.door = c.DOOR_NO_SENSOR
        self._log_size = log_size
        self._setup_until: int | None = None
        self._events: list[tuple[bytes, int]] = []
        self._depth = 0
        self._again = False
        self._started = False
        self.store = store = Store(ports.storage)
        self.owner = Owner(store)
        self.options = Options(store, self.capabilities, mains)
        self.accounts = Accounts(store, slots)
        self.log = EventLog(ports.storage, store, log_size)
        self.clock = WallClock(ports.clock, store, self.log.last_time())
        self._beacon = Beacon(self, store)
        self.movement = Bolt(self, movement_ms)
        self.access = Access(self, store)
        self._connections = Connections(self, setup_code, connections)

    # --- what a control page reads ------------------------------------------------------------

    @property
    def bolt(self) -> int:
        """Where the bolt is: BOLT_ value."""
        return self.movement.state

    @property
    def paired(self) -> bool:
        """Whether a lock key is stored."""
        return self.owner.lock_key is not None

    @property
    def setup_mode(self) -> bool:
        """Whether the lock can be paired now."""
        return self._setup_until is not None

    @property
    def counter(self) -> int:
        """The advertisement counter, 0 to 0xFFFFFF."""
        return self._beacon.counter.value

    @property
    def clock_trusted(self) -> bool:
        """Whether the lock knows the time."""
        return self.clock.trusted

    @property
    def pin_misses(self) -> int:
        """The keypad's miss count."""
        return self.access.keypad.misses

    @property
    def advertisement(self) -> bytes:
        """The 10 data bytes as last sent."""
        return self._beacon.data

    def log_records(self, after: int = 0, limit: int = 20) -> "list[Record]":
        """Log records with a counter above `after`, rising, at most `limit`.

        Each is (event, slot, source, counter, bolt, door, detail, Unix time or 0).
        """
        return [unpack(raw) for raw in self.log.read(after, limit)]

    def option(self, number: int) -> int:
        """An option's value (OPT_ numbers)."""
        return self.options.get(number)

    def info(self) -> bytes:
        """The info characteristic's 12 bytes."""
        return identifiers.info(
            self.device_id, self.capabilities, self.accounts.slots, self._log_size
        )

    # --- what happens to the lock -------------------------------------------------------------

    def start(self) -> None:
        """Power is on: log the restart, begin to advertise.

        Sensors may report before or after; a first reading is no event.
        """
        self._started = True
        self._do(self._start)

    def connected(self, conn: "Hashable") -> None:
        """A central connected; `conn` is any hashable name for the connection."""
        self._beacon.again()
        self._do(self._connections.connected, conn)

    def disconnected(self, conn: "Hashable") -> None:
        """A connection ended, whoever ended it."""
        self._beacon.again()
        self._do(self._connections.disconnected, conn)

    def mtu_changed(self, conn: "Hashable", mtu: int) -> None:
        """The ATT MTU of a connection was agreed (23 before)."""
        self._do(self._connections.mtu_changed, conn, mtu)

    def subscribed(self, conn: "Hashable", on: bool) -> None:
        """Notifications of the response characteristic were switched on or off."""
        self._do(self._connections.subscribed, conn, on)

    def written(self, conn: "Hashable", data: bytes) -> None:
        """One write (with or without response) to the request characteristic.

        A prepared (long) write is refused by the board's GATT server.
        """
        self._do(self._connections.written, conn, data)

    def poll(self) -> int:
        """Do everything due; return the milliseconds until the lock wants to be called again."""
        self._do(self._poll)
        now = self.ports.clock.uptime_ms()
        due = self._beacon.due(now)
        for other in (
            self._setup_until,
            self.movement.due(),
            self.access.keypad.due(),
            self._connections.due(now),
        ):
            if other is not None and other < due:
                due = other
        return max(0, due - now)

    def bolt_sensed(self, bolt: int) -> None:
        """The bolt's sensor, on every change: 1 locked, 2 unlocked, 6 open, 5 jammed, 0 unknown.

        While the motor runs this is its outcome (an open passing 2 on its way is not), else the
        bolt was turned by hand.
        """
        self._do(self.movement.sensed, bolt)

    def door_sensed(self, is_open: bool) -> None:
        """The door's sensor, on every change."""
        self._do(self._door, is_open)

    def battery_measured(self, percent: int, low: bool) -> None:
        """Charge in percent (255 unknown), and whether it should be replaced."""
        self._do(self._battery, percent, low)

    def tamper_sensed(self, on: bool) -> None:
        """The cover is off, or on again."""
        self._do(self._tamper, on)

    def pin_entered(self, digits: str) -> int:
        """A PIN was typed: unlocks. Returns a result value; 0 and 1: right and done or under way.

        4: wrong. 11: not now (waiting after misses, keypad off). 12: no PIN at all. The others as
        for an operation by Bluetooth.
        """
        result: int = self._do(self.access.pin, digits)
        return result

    def button_pressed(self) -> int:
        """The button inside was pressed shortly: lock or unlock; unpaired: setup mode too."""
        result: int = self._do(self._button)
        return result

    def inner_button_held(self, seconds: float) -> None:
        """The button inside was held: 10 s begin setup mode (any time while unpaired)."""
        if seconds >= c.SETUP_HOLD_S or not self.owner.complete:
            self._do(self._begin_setup)

    def _do(self, work: "Callable[..., Any]", *args: object) -> "Any":
        """Run a call from outside; the outermost then tells the world what changed."""
        self._depth += 1
        try:
            result = work(*args)
            self._again = True
            if self._depth == 1:
                # A port may call back while it is told; then there is more to tell
                while self._again:
                    self._again = False
                    self._tell()
            return result
        finally:
            self._depth -= 1

    def _tell(self) -> None:
        events = self._events
        self._events = []
        for event, slot in events:
            self._connections.tell(event, slot)
        if self._started:
            self._beacon.publish(self._connections.connectable)
        self._connections.flush()

    # --- the insides of the above -------------------------------------------------------------

    def _start(self) -> None:
        self.record(c.EV_RESTARTED, c.SLOT_NOBODY, c.SRC_UNKNOWN)
        if not self.owner.complete:
            self._begin_setup()

    def _poll(self) -> None:
        now = self.ports.clock.uptime_ms()
        if self._setup_until is not None and now >= self._setup_until:
            self._end_setup()
        self.movement.poll(now)
        self.access.keypad.poll(now)
        self._connections.poll(now)
        self._beacon.poll(now)

    def _begin_setup(self) -> None:
        self._setup_until = self.ports.clock.uptime_ms() + c.SETUP_MODE_MS
        self.ports.indicator.show("setup")

    def _end_setup(self) -> None:
        self._setup_until = None
        self._connections.pairing.stop()

    def _door(self, is_open: bool) -> None:
        door = c.DOOR_OPEN if is_open else c.DOOR_CLOSED
        before = self.door
        if door == before:
            return
        self.door = door
        if before != c.DOOR_NO_SENSOR:
            event = c.EV_DOOR_OPENED if is_open else c.EV_DOOR_CLOSED
            self.record(event, c.SLOT_NOBODY, c.SRC_HAND)
        self.movement.door_changed(is_open)

    def _battery(self, percent: int, low: bool) -> None:
        self.battery = percent if 0 <= percent <= 100 else c.BATTERY_UNKNOWN
        fell = low and not self.low_battery
        self.low_battery = low
        if fell:
            self.record(c.EV_LOW_BATTERY, c.SLOT_NOBODY, c.SRC_UNKNOWN)

    def _tamper(self, on: bool) -> None:
        began = on and not self.tamper
        self.tamper = on
        if began:
            self.ports.indicator.show("alert")
            self.record(c.EV_TAMPER, c.SLOT_NOBODY, c.SRC_UNKNOWN)

    def _button(self) -> int:
        if not self.owner.complete:
            self._begin_setup()
        return self.access.button()

    # --- for the parts of the core ------------------------------------------------------------

    def record(
        self, event: int, slot: int, source: int, detail: int = 0, when: "int | None" = None
    ) -> None:
        """Log an event under a new counter, and tell sessions if it is about the door's state."""
        self._beacon.grow()
        when = self.clock.now() if when is None else when
        self.log.append((event, slot, source, self.counter, self.bolt, self.door, detail, when))
        if event in _TOLD:
            state = bytes((event, self.bolt, self.door, self.battery))
            value = state + self.counter.to_bytes(3, "big") + bytes((slot, source))
            self._events.append((value, slot))

    def nonce(self) -> "bytes | None":
        """The nonce a session of source 0 needs now, None if none is possible."""
        return self._beacon.nonce()

    def session_accepted(self, session: "Session") -> None:
        """All tags are right: the nonce is spent; a controller's first one completes pairing."""
        self._beacon.grow()
        controller = session.slot == c.SLOT_CONTROLLER
        if controller and session.source == c.NONCE_CHALLENGE and not self.owner.complete:
            self.owner.set_complete()
            self._end_setup()

    def pair(self, lock_key: bytes) -> None:
        """A client has proved the setup code: it owns the lock from now on."""
        if self._beacon.counter.exhausted:
            # "Clients ask to pair anew": under a new key old counters are harmless, and only so
            # the lock gets back what it lost. The log's could not rise any more: it starts anew.
            generation = self.log.next_generation
            self.owner.begin(lock_key, generation)
            self.log.clear(generation)
            self._beacon.start_anew()
        else:
            self.owner.begin(lock_key, None)
        self._connections.end_sessions(None)
        self.movement.forget(None)
        self.record(c.EV_PAIRED, c.SLOT_CONTROLLER, c.SRC_BLUETOOTH)

    def remove_account(self, account: "Account", session: "Session") -> None:
        """Erase an account, begin the next epoch, end its sessions."""
        self.accounts.remove(account, self.counter, self.owner.next_epoch())
        self.owner.reload()
        self.movement.forget(account.slot)
        if session.slot == account.slot:
            session.ended = c.UNKNOWN_ACCOUNT  # with its answer
        self._connections.end_sessions(account.slot, session)
        self.record(c.EV_ACCOUNT, session.slot, c.SRC_BLUETOOTH, account.slot)

    def factory_reset(self) -> None:
        """Command 4B: unpaired, not in setup mode, nothing left but the counter."""
        generation = self.log.next_generation
        self.owner.end(generation)
        self.log.clear(generation)
        self.access.forget()
        self.clock.forget_offsets()
        self.movement.forget(None)
        self._connections.end_sessions(None)
        self._end_setup()
        self._beacon.grow()
