"""A whole lock on an ESP32: put it together, run it, start anew after any fault.

Copy `bsld/` and `boards/` to the board and call `boards.esp32.run()` from `main.py`. Never run on
hardware here; see the README for what that leaves open.
"""

import os
import sys
from time import sleep_ms  # type: ignore[attr-defined]  # MicroPython's own

from bsld import const as c
from bsld import identifiers
from bsld.lock import Lock
from bsld.ports import Ports
from machine import I2C, WDT, Pin, reset  # type: ignore[import-not-found]  # as well

from .ble import BleRadio
from .files import FileStorage
from .parts import Battery, BoltDrive, Ds3231, Indicator, InnerButton, Input, Keypad, Uptime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Change these to your wiring. None: not fitted.
PINS: "dict[str, Any]" = {
    "motor": (25, 26),
    "locked": 32,
    "unlocked": 33,
    "latch": None,
    "door": 27,
    "tamper": None,
    "button": 14,
    "keypad_rows": (16, 17, 18, 19),
    "keypad_columns": (21, 22, 23),
    "light": 2,
    "buzzer": None,
    "battery": 34,
    "i2c": None,  # (data, clock) of a DS3231
}
DIVIDER = 2.0
EMPTY_VOLTS = 4.4
FULL_VOLTS = 6.2

FLASH = "/lock"
_CODE = "setup_code"
_WATCHDOG_MS = 20_000  # pairing calculates for a second or two
_BUSY_MS = 5
_IDLE_MS = 20


def setup_code() -> "tuple[bytes, bool]":
    """The lock's setup code, made at the very first start; and whether this was it."""
    storage = FileStorage(FLASH + ".id")
    for folder in (FLASH, FLASH + ".id"):
        try:
            os.mkdir(folder)
        except OSError:
            pass  # it is there
    code = storage.read(_CODE)
    if code is not None and len(code) == 10:
        return code, False
    code = os.urandom(10)
    storage.write("new", code)
    storage.rename("new", _CODE)
    return code, True


class Board:
    """All parts of one lock."""

    def __init__(self) -> None:
        """Find what is fitted, and make the lock."""
        pins = PINS
        # The radio first: the chip's random numbers are good only while it is on
        self.radio = BleRadio("IGRS Lock", "ESP32 reference", "1")
        code, first = setup_code()
        if first:
            sys.stdout.write(label(self.radio.device_id, code))
        clock: Any = Uptime()
        capabilities = c.CAP_AUTO_LOCK | c.CAP_LOG
        if pins["i2c"] is not None:
            data, scl = pins["i2c"]
            clock = Ds3231(I2C(0, sda=Pin(data), scl=Pin(scl)))
            capabilities |= c.CAP_RTC
        forward, backward = pins["motor"]
        self.bolt = BoltDrive(forward, backward, pins["locked"], pins["unlocked"], pins["latch"])
        if pins["latch"] is not None:
            capabilities |= c.CAP_LATCH
        self.door = self._input("door")
        if self.door is not None:
            capabilities |= c.CAP_DOOR_SENSOR
        self.keypad = None
        if pins["keypad_rows"] is not None:
            self.keypad = Keypad(pins["keypad_rows"], pins["keypad_columns"])
            capabilities |= c.CAP_KEYPAD
        self.tamper = self._input("tamper")
        self.button = InnerButton(pins["button"])
        self.indicator = Indicator(pins["light"], pins["buzzer"])
        self.battery = None
        if pins["battery"] is not None:
            self.battery = Battery(pins["battery"], DIVIDER, EMPTY_VOLTS, FULL_VOLTS)
        ports = Ports(clock, os.urandom, FileStorage(FLASH), self.bolt, self.radio, self.indicator)
        self.lock = Lock(ports, self.radio.device_id, code, capabilities=capabilities)
        self.radio.begin(self.lock)
        self.lock.start()
        if self.door is not None:
            self.lock.door_sensed(not self.door.closed)
        if self.tamper is not None:
            self.lock.tamper_sensed(not self.tamper.closed)

    @staticmethod
    def _input(name: str) -> "Input | None":
        return None if PINS[name] is None else Input(PINS[name])

    def turn(self) -> int:
        """Go round once: read everything, tell the lock; returns milliseconds to sleep."""
        lock = self.lock
        self.radio.pump()
        self.bolt.poll(lock)
        if self.door is not None and self.door.poll():
            lock.door_sensed(not self.door.closed)
        if self.tamper is not None and self.tamper.poll():
            lock.tamper_sensed(not self.tamper.closed)
        if self.keypad is not None:
            self.keypad.poll(lock)
        self.button.poll(lock)
        if self.battery is not None:
            self.battery.poll(lock, self.bolt.running)
        self.indicator.poll(lock)
        busy = self.radio.connected or self.bolt.running
        return min(lock.poll(), _BUSY_MS if busy else _IDLE_MS)


def label(device_id: bytes, code: bytes) -> str:
    """What to print on the label behind the cover. Shown once, at the very first start."""
    name = identifiers.local_name(device_id)
    return f"{name}  {identifiers.format_device_id(device_id)}\nsetup code {identifiers.format_setup_code(code)}\n"


def run() -> None:
    """Run for ever. Whatever goes wrong, the board starts anew: flash is always whole."""
    try:
        board = Board()
        watchdog = WDT(timeout=_WATCHDOG_MS)
        while True:
            sleep_ms(board.turn())
            watchdog.feed()
    except Exception as error:  # noqa: BLE001 - a lock that stands still opens no door
        sys.stdout.write(f"starting anew after {type(error).__name__}\n")
        sleep_ms(1000)
        reset()
