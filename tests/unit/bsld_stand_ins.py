"""Stand-ins for `bluetooth`, `machine` and `time` on MicroPython, small and obedient.

`install` puts them in place of the real modules before the board's are imported.
"""

# Modules are put together here that the type checker takes for something else
# mypy: disable-error-code="attr-defined, assignment"

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Module:
    """Whatever is set on it."""


class Time:
    """Time that is moved by hand, with ticks that wrap like a chip's."""

    now = (1 << 30) - 5000


def ticks_ms() -> int:
    return Time.now & ((1 << 30) - 1)


def ticks_diff(end: int, start: int) -> int:
    half = 1 << 29
    return ((end - start + half) & ((1 << 30) - 1)) - half


def sleep_ms(ms: int) -> None:
    Time.now += ms


class Pin:
    """All pins of the chip; inputs float high."""

    IN = 0
    OUT = 1
    PULL_UP = 2
    levels: dict[int, int] = {}  # noqa: RUF012 - MicroPython has no ClassVar
    modes: dict[int, int] = {}  # noqa: RUF012 - as above
    # Keys held on the matrix: {(row pin, column pin)}
    keys: set[tuple[int, int]] = set()  # noqa: RUF012 - as above

    def __init__(self, number: int, mode: int = 0, pull: int = 0, value: int | None = None) -> None:
        self.number = number
        Pin.modes[number] = mode
        if value is not None:
            Pin.levels[number] = value

    def value(self, level: int | None = None) -> int:
        if level is not None:
            assert Pin.modes[self.number] == Pin.OUT
            Pin.levels[self.number] = int(level)
        for row, column in Pin.keys:
            if column == self.number and Pin.levels.get(row) == 0:
                return 0
        return Pin.levels.get(self.number, 1)


class Adc:
    """A voltage."""

    microvolts = 3_100_000

    def __init__(self, pin: Pin) -> None:
        self.pin = pin

    def read_uv(self) -> int:
        return Adc.microvolts


class Pwm:
    """A buzzer."""

    tones: list[int] = []  # noqa: RUF012 - as above

    def __init__(self, pin: Pin, freq: int, duty_u16: int) -> None:
        self._freq = freq

    def freq(self, freq: int) -> None:
        self._freq = freq

    def duty_u16(self, duty: int) -> None:
        if duty:
            Pwm.tones.append(self._freq)


class I2c:
    """A bus with a DS3231's registers on it."""

    registers = bytearray(19)

    def __init__(self, number: int, sda: Pin, scl: Pin) -> None:
        self.number = number

    def readfrom_mem(self, address: int, register: int, size: int) -> bytes:
        assert address == 0x68
        return bytes(I2c.registers[register : register + size])

    def writeto_mem(self, address: int, register: int, data: bytes) -> None:
        assert address == 0x68
        I2c.registers[register : register + len(data)] = data


class Wdt:
    """A watchdog that counts its meals."""

    fed = 0

    def __init__(self, timeout: int) -> None:
        self.timeout = timeout

    def feed(self) -> None:
        Wdt.fed += 1


class ResetError(BaseException):
    """The chip started anew."""


def reset() -> None:
    raise ResetError


class Uuid:
    """A UUID, 16 or 128 bits."""

    def __init__(self, value: int | str) -> None:
        self.value = value


class Ble:
    """A radio with one pair of ears."""

    one: Ble
    MAC = bytes.fromhex("7ebf64669818")

    def __init__(self) -> None:
        Ble.one = self
        self.values: dict[int, bytes] = {}
        self.handles: dict[object, int] = {}
        self.buffers: dict[int, int] = {}
        self.settings: dict[str, object] = {}
        self.advertised: list[tuple[object, ...]] = []
        self.notified: list[tuple[int, int, bytes]] = []
        self.disconnected: list[int] = []
        self.full = False
        self.handler: Any = None
        self.room = 4

    def active(self, on: bool) -> None:
        self.is_active = on

    def config(self, name: str | None = None, **settings: object) -> tuple[int, bytes]:
        self.settings.update(settings)
        return (0, Ble.MAC)

    def gatts_register_services(self, services: Any) -> list[list[int]]:
        out = []
        number = 10
        for _uuid, characteristics in services:
            row = []
            for characteristic in characteristics:
                self.handles[characteristic[0].value] = number
                self.values[number] = b""
                row.append(number)
                number += 3
            out.append(row)
        return out

    def gatts_set_buffer(self, handle: int, size: int) -> None:
        self.buffers[handle] = size

    def gatts_write(self, handle: int, data: bytes, send: bool = False) -> None:
        self.values[handle] = data

    def gatts_read(self, handle: int) -> bytes:
        return self.values[handle]

    def gatts_notify(self, conn: int, handle: int, data: bytes) -> None:
        if self.full:
            raise OSError(12)
        self.notified.append((conn, handle, bytes(data)))

    def irq(self, handler: object) -> None:
        self.handler = handler

    def gap_advertise(
        self, interval: int, adv_data: bytes, resp_data: bytes, connectable: bool
    ) -> None:
        if connectable and self.room <= 0:
            raise OSError(16)
        assert len(adv_data) == 31
        assert len(resp_data) <= 31
        self.advertised.append((interval, adv_data, resp_data, connectable))

    def gap_disconnect(self, conn: int) -> None:
        if conn in self.disconnected:
            raise OSError(128)
        self.disconnected.append(conn)

    # --- what the other side does ---

    def event(self, number: int, *data: object) -> None:
        self.handler(number, data)

    def write(self, conn: int, handle: int, data: bytes) -> None:
        # As the chip does it: the value is replaced, then the handler is called
        self.values[handle] = data[: self.buffers.get(handle, 20)]
        self.event(3, conn, handle)


def install() -> None:
    bluetooth = _Module()
    bluetooth.BLE = Ble
    bluetooth.UUID = Uuid
    machine = _Module()
    machine.ADC = Adc
    machine.PWM = Pwm
    machine.Pin = Pin
    machine.I2C = I2c
    machine.WDT = Wdt
    machine.reset = reset
    sys.modules["bluetooth"] = bluetooth
    sys.modules["machine"] = machine
    time = _Module()
    time.ticks_ms = ticks_ms
    time.ticks_diff = ticks_diff
    time.sleep_ms = sleep_ms
    sys.modules["time"] = time
