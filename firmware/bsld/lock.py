"""The lock as a board sees it: what happens outside comes in here, `Ports` is the way out."""

from . import const as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable

    from .ports import Ports


class Lock:
    """One ILP1 lock.

    Not thread safe: a board calls it from one place, for example its main loop. Ports may call
    back from within a call (a motor that reports its outcome at once is fine).
    """

    def __init__(
        self,
        ports: "Ports",
        device_id: bytes,
        setup_code: bytes,
        *,
        capabilities: int = c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_AUTO_LOCK | c.CAP_LOG,
        slots: int = 32,
        log_size: int = 256,
        connections: int = 3,
        mains: bool = False,
        movement_ms: int = c.MOVEMENT_MS,
    ) -> None:
        """Make a lock on its ports; nothing is read or sent before `start`.

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
        """
        self.ports = ports
        self.device_id = device_id
        self.capabilities = capabilities | c.CAP_LOG

    # --- what a control page reads ------------------------------------------------------------

    battery: int  # percent, 255 unknown
    bolt: int  # BOLT_ value
    door: int  # DOOR_ value
    low_battery: bool
    tamper: bool

    @property
    def paired(self) -> bool:
        """Whether a lock key is stored."""
        return False

    @property
    def setup_mode(self) -> bool:
        """Whether the lock can be paired now."""
        return False

    @property
    def counter(self) -> int:
        """The advertisement counter, 0 to 0xFFFFFF."""
        return 0

    @property
    def clock_trusted(self) -> bool:
        """Whether the lock knows the time."""
        return False

    def log_records(self, after: int = 0, limit: int = 20) -> "list[tuple[int, ...]]":
        """Log records with a counter above `after`, rising, at most `limit`.

        Each is (event, slot, source, counter, bolt, door, detail, Unix time or 0).
        """
        return []

    def option(self, number: int) -> int:
        """An option's value (OPT_ numbers)."""
        return 0

    def info(self) -> bytes:
        """The info characteristic's 12 bytes."""
        return b""

    # --- what happens to the lock -------------------------------------------------------------

    def start(self) -> None:
        """Power is on: read storage, log the restart, begin to advertise.

        Sensors may report before or after; a first reading is no event.
        """

    def connected(self, conn: "Hashable") -> None:
        """A central connected; `conn` is any hashable name for the connection."""

    def disconnected(self, conn: "Hashable") -> None:
        """A connection ended, whoever ended it."""

    def mtu_changed(self, conn: "Hashable", mtu: int) -> None:
        """The ATT MTU of a connection was agreed (23 before)."""

    def subscribed(self, conn: "Hashable", on: bool) -> None:
        """Notifications of the response characteristic were switched on or off."""

    def written(self, conn: "Hashable", data: bytes) -> None:
        """One write (with or without response) to the request characteristic."""

    def poll(self) -> int:
        """Do everything due; return the milliseconds until the lock wants to be called again."""
        return 1000

    def bolt_sensed(self, bolt: int) -> None:
        """The bolt's sensor: 1 locked, 2 unlocked, 6 open, 5 jammed, 0 unknown.

        While the motor runs this is its outcome (an open passing 2 on its way is not), else the
        bolt was turned by hand.
        """

    def door_sensed(self, is_open: bool) -> None:
        """The door's sensor, on every change."""

    def battery_measured(self, percent: int, low: bool) -> None:
        """Charge in percent (255 unknown), and whether it should be replaced."""

    def tamper_sensed(self, on: bool) -> None:
        """The cover is off, or on again."""

    def pin_entered(self, digits: str) -> int:
        """A PIN was typed; returns a result value (0 or 1: right, the bolt is or gets unlocked)."""
        return c.NOT_SUPPORTED

    def button_pressed(self) -> int:
        """The button inside: lock or unlock; on an unpaired lock also setup mode."""
        return c.NOT_NOW

    def inner_button_held(self, seconds: float) -> None:
        """The button inside was held: 10 s begin setup mode (any press on an unpaired lock)."""
