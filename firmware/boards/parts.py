"""What a lock on a microcontroller is made of: bolt drive, keypad, buttons, clocks, light, sound.

Each part is polled from the main loop. Never run on hardware here: tests run them with a stand-in
for `machine`. All inputs are active low, with the pull-ups of the chip.
"""

from time import ticks_diff, ticks_ms  # type: ignore[attr-defined]  # MicroPython's own

from bsld import const as c
from machine import ADC, PWM, Pin  # type: ignore[import-not-found]  # as well

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bsld.lock import Lock

DEBOUNCE_MS = 30
_BETWEEN_MS = 1000
_TARGETS = {c.OP_LOCK: c.BOLT_LOCKED, c.OP_UNLOCK: c.BOLT_UNLOCKED, c.OP_OPEN: c.BOLT_OPEN}
_KEY_PAUSE_MS = 8000
_EPOCH_2000 = 946_684_800
# No lock was made before: 1 January 2026
_EARLIEST = 1_767_225_600


class Input:
    """A contact to ground, debounced."""

    def __init__(self, pin: int) -> None:
        """Use a pin."""
        self._pin = Pin(pin, Pin.IN, Pin.PULL_UP)
        self.closed = self._pin.value() == 0
        self._changed_at: int | None = None

    def poll(self) -> bool:
        """Read it; True if it has changed."""
        closed = self._pin.value() == 0
        if closed == self.closed:
            self._changed_at = None
            return False
        now = ticks_ms()
        if self._changed_at is None:
            self._changed_at = now
        if ticks_diff(now, self._changed_at) < DEBOUNCE_MS:
            return False
        self._changed_at = None
        self.closed = closed
        return True


class BoltDrive:
    """A motor on an H-bridge, with a contact at each end. Implements `bsld.ports.Motor`.

    Args:
        forward: pin of the bridge that throws the bolt.
        backward: pin that draws it, and then pulls the latch.
        locked: contact closed by a thrown bolt.
        unlocked: contact closed by a drawn bolt.
        latch: contact closed by a pulled latch; None without one.
    """

    def __init__(
        self, forward: int, backward: int, locked: int, unlocked: int, latch: "int | None"
    ) -> None:
        """Take the pins; the motor stands."""
        self._forward = Pin(forward, Pin.OUT, value=0)
        self._backward = Pin(backward, Pin.OUT, value=0)
        self._contacts = [(Input(locked), c.BOLT_LOCKED), (Input(unlocked), c.BOLT_UNLOCKED)]
        if latch is not None:
            self._contacts.insert(0, (Input(latch), c.BOLT_OPEN))
        self.running = False
        self._target = c.BOLT_UNKNOWN
        self._told: int | None = None
        self._between_since: int | None = None

    def start(self, operation: int) -> None:
        """Begin a movement."""
        self.stop()
        (self._forward if operation == c.OP_LOCK else self._backward).value(1)
        self._target = _TARGETS[operation]
        self.running = True

    def stop(self) -> None:
        """Both sides of the bridge off."""
        self._forward.value(0)
        self._backward.value(0)
        self.running = False

    def position(self) -> int:
        """Where the contacts say the bolt is; 0 between them."""
        for contact, bolt in self._contacts:
            if contact.closed:
                return bolt
        return c.BOLT_UNKNOWN

    def poll(self, lock: "Lock") -> None:
        """Tell the lock that a movement has arrived, or that a hand has turned the bolt."""
        for contact, _bolt in self._contacts:
            contact.poll()
        bolt = self.position()
        now = ticks_ms()
        if self.running:
            # Wherever else it is, it is on its way; if it never arrives the lock's time runs out
            self._between_since = now
            if bolt != self._target:
                return
        elif bolt == self._told:
            self._between_since = None
            return
        elif bolt == c.BOLT_UNKNOWN and self._told is not None:
            # A hand turns it; only a bolt that stays between its ends is nowhere
            if self._between_since is None:
                self._between_since = now
            if ticks_diff(now, self._between_since) < _BETWEEN_MS:
                return
        self._told = bolt
        lock.bolt_sensed(bolt)


class Keypad:
    """A matrix of keys, 4 rows by 3 columns: digits, `*` forgets, `#` enters."""

    _KEYS = ("123", "456", "789", "*0#")

    def __init__(self, rows: "list[int]", columns: "list[int]") -> None:
        """Drive rows, read columns."""
        self._rows = [Pin(pin, Pin.OUT, value=1) for pin in rows]
        self._columns = [Pin(pin, Pin.IN, Pin.PULL_UP) for pin in columns]
        self._down = ""
        self._since = 0
        self._accepted = False
        self._digits = ""
        self._last = 0

    def _scan(self) -> str:
        found = ""
        for row, keys in zip(self._rows, self._KEYS):  # noqa: B905 - no `strict` here
            row.value(0)
            for column, key in zip(self._columns, keys):  # noqa: B905 - no `strict` here
                if column.value() == 0:
                    found = key
            row.value(1)
        return found

    def poll(self, lock: "Lock") -> None:
        """Read the keys; a whole PIN goes to the lock and is forgotten here."""
        now = ticks_ms()
        key = self._scan()
        if key != self._down:
            self._down = key
            self._since = now
            self._accepted = False
        elif key and not self._accepted and ticks_diff(now, self._since) >= DEBOUNCE_MS:
            self._accepted = True
            self._last = now
            self._pressed(lock, key)
        if self._digits and ticks_diff(now, self._last) >= _KEY_PAUSE_MS:
            self._digits = ""

    def _pressed(self, lock: "Lock", key: str) -> None:
        if key == "*":
            self._digits = ""
        elif key == "#":
            digits = self._digits
            self._digits = ""
            if digits:
                lock.pin_entered(digits)
        elif len(self._digits) < 15:
            self._digits += key


class InnerButton:
    """The button inside: short turns the bolt, ten seconds begin setup mode."""

    _SHORT_MS = 1500

    def __init__(self, pin: int) -> None:
        """Use a pin."""
        self._input = Input(pin)
        self._since = ticks_ms()
        self._done = not self._input.closed

    def poll(self, lock: "Lock") -> None:
        """Tell the lock what was pressed."""
        if self._input.poll():
            if self._input.closed:
                self._since = ticks_ms()
                self._done = False
            elif not self._done:
                held = ticks_diff(ticks_ms(), self._since)
                if held < self._SHORT_MS:
                    lock.button_pressed()
                else:
                    lock.inner_button_held(held / 1000)
        elif self._input.closed and not self._done:
            held = ticks_diff(ticks_ms(), self._since)
            if held >= c.SETUP_HOLD_S * 1000:
                self._done = True
                lock.inner_button_held(held / 1000)


class Battery:
    """Cells on an ADC behind a divider, measured once a minute while the motor rests.

    Args:
        pin: of the ADC.
        ratio: battery voltage over measured voltage.
        empty: volts of an empty battery, full: of a full one.
        low: percent at or below which it should be replaced.
    """

    _EVERY_MS = 60_000

    def __init__(self, pin: int, ratio: float, empty: float, full: float, low: int = 20) -> None:
        """Use an ADC."""
        self._adc = ADC(Pin(pin))
        self._ratio = ratio
        self._empty = empty
        self._full = full
        self._low = low
        self._at: int | None = None

    def poll(self, lock: "Lock", motor_runs: bool) -> None:
        """Measure when it is due."""
        now = ticks_ms()
        if motor_runs or (self._at is not None and ticks_diff(now, self._at) < self._EVERY_MS):
            return
        self._at = now
        volts = self._adc.read_uv() / 1_000_000 * self._ratio
        percent = int((volts - self._empty) / (self._full - self._empty) * 100)
        percent = max(0, min(100, percent))
        lock.battery_measured(percent, percent <= self._low)


class Uptime:
    """Milliseconds since power-up that never wrap: `ticks_ms` wraps after days.

    Polled often enough by the main loop for nothing to get lost.
    """

    def __init__(self) -> None:
        """Begin at zero."""
        self._last = ticks_ms()
        self._total = 0

    def uptime_ms(self) -> int:
        """Milliseconds since power-up."""
        now = ticks_ms()
        self._total += ticks_diff(now, self._last)
        self._last = now
        return self._total

    def rtc(self) -> "int | None":
        """No battery-backed clock: the time is unknown until the gateway sets it."""
        return None

    def set_rtc(self, unix: int) -> None:
        """Nothing to set."""


class Ds3231(Uptime):
    """A DS3231 on I2C, with its own cell. Implements `bsld.ports.Clock`."""

    _ADDRESS = 0x68
    _STATUS = 0x0F
    _STOPPED = 0x80

    def __init__(self, i2c: "Any") -> None:
        """Use a `machine.I2C`."""
        super().__init__()
        self._i2c = i2c

    def rtc(self) -> "int | None":
        """Unix seconds; None if its oscillator has stopped since it was set."""
        if self._i2c.readfrom_mem(self._ADDRESS, self._STATUS, 1)[0] & self._STOPPED:
            return None
        raw = self._i2c.readfrom_mem(self._ADDRESS, 0, 7)
        second, minute, hour = (_from_bcd(raw[at]) for at in (0, 1, 2))
        day, month, year = _from_bcd(raw[4]), _from_bcd(raw[5] & 0x1F), _from_bcd(raw[6])
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return None
        unix = _EPOCH_2000 + _days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
        return unix if unix >= _EARLIEST else None

    def set_rtc(self, unix: int) -> None:
        """Set it and clear the mark of a stopped oscillator."""
        days, seconds = divmod(unix - _EPOCH_2000, 86400)
        year = 0
        while _days(year + 1, 1, 1) <= days:
            year += 1
        month = 12
        while _days(year, month, 1) > days:
            month -= 1
        day = days - _days(year, month, 1) + 1
        fields = (seconds % 60, seconds // 60 % 60, seconds // 3600, 1, day, month, year)
        self._i2c.writeto_mem(self._ADDRESS, 0, bytes(n // 10 << 4 | n % 10 for n in fields))
        status = self._i2c.readfrom_mem(self._ADDRESS, self._STATUS, 1)[0] & ~self._STOPPED
        self._i2c.writeto_mem(self._ADDRESS, self._STATUS, bytes((status,)))


def _from_bcd(value: int) -> int:
    return (value >> 4) * 10 + (value & 15)


def _days(year: int, month: int, day: int) -> int:
    """Days since 1 January 2000 of a day in 2000 to 2099."""
    before = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)[month - 1]
    leap = year // 4 + 1 if month > 2 or year % 4 else year // 4
    return year * 365 + leap + before + day - 1


class Indicator:
    """A light, and a buzzer when the owner wants sound. Implements `bsld.ports.Indicator`."""

    # what: (ms altogether, ms of one half of a blink, Hz)
    _PATTERNS = {
        "identify": (5000, 100, 2000),
        "alert": (4000, 80, 3000),
        "setup": (3000, 500, 1500),
        "ok": (300, 300, 2500),
        "refused": (900, 150, 400),
    }

    def __init__(self, light: int, buzzer: "int | None") -> None:
        """Use two pins."""
        self._light = Pin(light, Pin.OUT, value=0)
        self._buzzer = None if buzzer is None else PWM(Pin(buzzer), freq=1000, duty_u16=0)
        self._pattern: tuple[int, int, int] | None = None
        self._since = 0

    def show(self, what: str) -> None:
        """Begin to show something."""
        self._pattern = self._PATTERNS[what]
        self._since = ticks_ms()

    def poll(self, lock: "Lock") -> None:
        """Blink."""
        if self._pattern is None:
            return
        whole, half, tone = self._pattern
        gone = ticks_diff(ticks_ms(), self._since)
        on = gone < whole and gone // half % 2 == 0
        self._light.value(on)
        if self._buzzer is not None:
            self._buzzer.freq(tone)
            self._buzzer.duty_u16(32768 if on and lock.option(c.OPT_SOUND) else 0)
        if gone >= whole:
            self._pattern = None
