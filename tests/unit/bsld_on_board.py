"""The ESP32 port on MicroPython's unix port, with stand-ins for the chip and real littlefs.

    MICROPYPATH=tests/unit:firmware:.frozen micropython bsld_on_board.py

Every function named `check_…` is run on a board of its own; prints their number.
"""

# MicroPython's `os`, and parts exchanged on purpose
# mypy: disable-error-code="attr-defined, assignment, misc, unreachable"

import os
import sys

from bsld_stand_ins import Adc, Ble, I2c, Pin, Pwm, ResetError, Time, Wdt, install

install()

from boards import ble, esp32, parts  # noqa: E402 - only now
from boards.files import FileStorage  # noqa: E402
from bsld import const as c  # noqa: E402
from bsld import identifiers  # noqa: E402
from bsld.crypto import decryptor, encryptor, mac, x25519  # noqa: E402
from bsld.frames import decode, encode  # noqa: E402
from bsld.x25519 import BASE  # noqa: E402

ROWS = (16, 17, 18, 19)
COLUMNS = (21, 22, 23)
LATCH, TAMPER, BUZZER = 13, 12, 15


mounted: list[object] = []


class RamDisk:
    """Flash that forgets: 256 blocks of 512 bytes."""

    def __init__(self) -> None:
        self.data = bytearray(256 * 512)

    def readblocks(self, number: int, buffer: bytearray, offset: int = 0) -> None:
        at = number * 512 + offset
        buffer[:] = self.data[at : at + len(buffer)]

    def writeblocks(self, number: int, buffer: bytes, offset: int = 0) -> None:
        at = number * 512 + offset
        self.data[at : at + len(buffer)] = buffer

    def ioctl(self, operation: int, argument: int) -> int:
        return {4: 256, 5: 512}.get(operation, 0)


class Output:
    """What was printed."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def power_up(disk: RamDisk) -> esp32.Board:
    """The chip starts: pins float, the file system is mounted."""
    Pin.levels.clear()
    Pin.keys.clear()
    Pin.levels.update({32: 0, 27: 0, TAMPER: 0})  # locked, door and cover closed
    if mounted:
        os.umount("/flash")
    mounted.append(disk)
    os.mount(os.VfsLfs2(disk), "/flash")
    return esp32.Board()


def new_disk() -> RamDisk:
    disk = RamDisk()
    os.VfsLfs2.mkfs(disk)
    return disk


class Bench:
    """A board and a central beside it."""

    def __init__(self) -> None:
        self.disk = new_disk()
        self.printed = Output()
        esp32.sys = Output_as_sys(self.printed)
        self.board = power_up(self.disk)
        self.run(100)

    @property
    def radio(self) -> Ble:
        return Ble.one

    def restart(self) -> None:
        self.board = power_up(self.disk)
        self.run(100)

    def run(self, ms: int) -> None:
        end = Time.now + ms
        while Time.now < end:
            wait = self.board.turn()
            assert 0 <= wait <= 20
            Time.now += max(1, wait)

    def set_pin(self, number: int, level: int) -> None:
        Pin.levels[number] = level
        self.run(60)

    def press(self, key: str) -> None:
        at = "123456789*0#".index(key)
        Pin.keys.add((ROWS[at // 3], COLUMNS[at % 3]))
        self.run(60)
        Pin.keys.clear()
        self.run(60)

    # --- the central's side; its arithmetic is the lock's own, which the vectors prove ---

    def connect(self, conn: int, mtu: int = 247) -> None:
        self.radio.event(1, conn, 0, bytes(6))
        self.radio.event(21, conn, mtu)
        self.run(10)

    def tell(self, conn: int, message: bytes) -> None:
        self.radio.write(conn, self.radio.handles[c.REQUEST_UUID], b"\x80" + message)
        self.run(20)

    def heard(self, conn: int) -> list[bytes]:
        self.run(ble.GUESS_MS + 20)
        out = [data[1:] for to, _handle, data in self.radio.notified if to == conn]
        self.radio.notified.clear()
        return out

    def pair(self, conn: int) -> bytes:
        code = esp32.setup_code()[0]
        private = bytes(range(32))
        public = x25519(private, BASE)
        self.tell(conn, b"\x01" + public)
        [reply] = self.heard(conn)
        assert reply[0] == 2
        shared = x25519(private, reply[1:33])
        prk = mac(code, b"ILP1 pair", Ble.MAC, public, reply[1:33], shared)
        assert mac(prk, b"lock confirm")[:16] == reply[33:]
        self.tell(conn, b"\x03" + mac(prk, b"client confirm")[:16])
        assert self.heard(conn) == [b"\x04\x00"]
        return mac(prk, b"lock key")[:16]


class Output_as_sys:  # noqa: N801 - stands for the module
    """`sys` with another output."""

    def __init__(self, output: Output) -> None:
        self.stdout = output


class Controller:
    """A session of the controller over a connection."""

    def __init__(self, bench: Bench, conn: int, lock_key: bytes) -> None:
        self.bench = bench
        self.conn = conn
        bench.tell(conn, b"\x10")
        challenge = bench.heard(conn)[-1]
        assert challenge[0] == 0x11
        key = identifiers.controller_key(lock_key)
        prk = mac(key, b"ILP1 session", Ble.MAC, b"\xff\x01", challenge[1:], bytes(8))
        keys, ivs = mac(prk, b"\x01"), mac(prk, b"\x02")
        self.tag_key = keys[16:]
        self.encrypt = encryptor(keys[:16], ivs[:16])
        self.decrypt = decryptor(keys[:16], ivs[16:])
        self.sent = 0
        self.head = b"\x12\xff\x01" + bytes(8)

    def ask(self, command: int, value: bytes = b"") -> list[tuple[int, int, bytes, int, bool]]:
        ciphertext = self.encrypt(encode(command, c.REQUEST, value, Time.now // 1000))
        tag = mac(self.tag_key, b"\x00" + self.sent.to_bytes(4, "big"), ciphertext)[:8]
        self.bench.tell(self.conn, self.head + ciphertext + tag)
        self.head = b"\x13"
        self.sent += 1
        return self.take()

    def take(self) -> list[tuple[int, int, bytes, int, bool]]:
        frames = []
        for message in self.bench.heard(self.conn):
            assert message[0] == 0x13
            ciphertexts = [message[at : at + 16] for at in range(1, len(message), 24)]
            frames += [decode(self.decrypt(ciphertext)) for ciphertext in ciphertexts]
        return frames


def check_start() -> None:
    bench = Bench()
    lock = bench.board.lock
    assert lock.device_id == Ble.MAC
    text = bench.printed.text
    code = esp32.setup_code()
    assert not code[1]
    assert "IGRS-9818" in text
    assert identifiers.format_setup_code(code[0]) in text
    assert bench.radio.values[bench.radio.handles[c.INFO_UUID]] == lock.info()
    wanted = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_AUTO_LOCK
    assert lock.capabilities == wanted | c.CAP_RTC | c.CAP_LOG
    assert (lock.bolt, lock.door, lock.tamper) == (c.BOLT_LOCKED, c.DOOR_CLOSED, False)
    interval, _data, _response, connectable = bench.radio.advertised[-1]
    assert (interval, connectable) == (250_000, True)
    assert lock.battery == 100
    assert bench.radio.values[bench.radio.handles[0x2A19]] == b"\x64"
    bench.printed.text = ""
    bench.restart()
    assert bench.printed.text == ""
    assert esp32.setup_code() == code


def check_pairing_and_operating() -> None:
    bench = Bench()
    bench.connect(1)
    lock_key = bench.pair(1)
    session = Controller(bench, 1, lock_key)
    [status] = session.ask(c.GET_STATUS)
    assert status[2][:4] == bytes((0, c.BOLT_LOCKED, c.DOOR_CLOSED, 100))
    motor = (25, 26)
    [answer] = session.ask(c.OPERATE, bytes((c.OP_UNLOCK, 5)))
    assert answer[2][0] == c.ACCEPTED
    assert [Pin.levels[pin] for pin in motor] == [0, 1]
    bench.set_pin(32, 1)
    bench.run(1500)  # between the contacts while the motor runs
    assert [Pin.levels[pin] for pin in motor] == [0, 1]
    bench.set_pin(33, 0)
    assert [Pin.levels[pin] for pin in motor] == [0, 0]
    [event] = session.take()
    assert event[:2] == (c.OPERATE, c.EVENT)
    assert event[2][:2] == bytes((c.EV_UNLOCKED, c.BOLT_UNLOCKED))
    # Locking jams: the time runs out
    session.ask(c.OPERATE, bytes((c.OP_LOCK, 5)))
    assert [Pin.levels[pin] for pin in motor] == [1, 0]
    bench.set_pin(33, 1)
    bench.run(10_100)
    assert [Pin.levels[pin] for pin in motor] == [0, 0]
    bench.run(2000)
    assert bench.board.lock.bolt == c.BOLT_JAMMED
    # Opening pulls the latch; then a hand throws the bolt
    session.take()
    session.ask(c.OPERATE, bytes((c.OP_OPEN, 5)))
    bench.set_pin(33, 0)
    assert bench.board.bolt.running
    bench.set_pin(LATCH, 0)
    assert bench.board.lock.bolt == c.BOLT_OPEN
    bench.set_pin(LATCH, 1)
    assert bench.board.lock.bolt == c.BOLT_UNLOCKED
    bench.set_pin(33, 1)
    bench.run(1200)
    assert bench.board.lock.bolt == c.BOLT_UNKNOWN
    bench.set_pin(32, 0)
    assert bench.board.lock.bolt == c.BOLT_LOCKED
    # A movement to where it is already arrives at once
    bench.board.bolt.start(c.OP_LOCK)
    bench.board.lock.movement._operation = c.OP_LOCK
    bench.run(50)
    assert not bench.board.bolt.running
    bench.restart()
    assert bench.board.lock.paired
    bench.connect(2)
    assert Controller(bench, 2, lock_key).ask(c.GET_STATUS)


def check_radio() -> None:
    bench = Bench()
    radio = bench.radio
    advertised = len(radio.advertised)
    bench.connect(1)
    assert len(radio.advertised) > advertised
    # Answers wait until notifications are on: guessed after half a second, or known
    bench.tell(1, b"\x10")
    assert radio.notified == []
    bench.run(ble.GUESS_MS)
    assert len(radio.notified) == 1
    bench.connect(2)
    bench.board.radio.subscribed(2, True)
    radio.notified.clear()
    bench.tell(2, b"\x10")
    assert len(radio.notified) == 1
    # A full stack is asked again
    radio.full = True
    bench.tell(2, b"\x10")
    radio.full = False
    bench.run(50)
    assert len(radio.notified) == 2
    # Three writes before the main loop comes round are three writes
    request = radio.handles[c.REQUEST_UUID]
    bench.radio.notified.clear()
    radio.event(21, 2, 23)
    for part in (b"\x00\x77" + bytes(18), b"\x01" + bytes(19), b"\x82" + bytes(3)):
        radio.write(2, request, part)
    bench.run(50)
    assert [data[:3] for _conn, _handle, data in radio.notified] == [b"\x80\x1f\x07"]
    # A prepared write is longer than a write can be
    radio.notified.clear()
    radio.write(2, request, b"\x80" + bytes(60))
    bench.run(50)
    assert radio.notified[0][2][:3] == b"\x80\x1f\x01"
    # Writes to other things and of strangers are nothing
    radio.write(9, request, b"\x80\x10")
    radio.event(3, 2, 999)
    radio.event(27, 2, 0, 0, 0, 0)
    bench.run(50)
    # Without a session it is dropped, by and by, whatever the stack says
    radio.disconnected.append(1)
    bench.run(11_000)
    assert 2 in radio.disconnected
    assert not bench.board.radio.connected
    radio.event(2, 2, 0, bytes(6))
    bench.run(50)
    # The stack may have no connection left although the lock has
    radio.room = 0
    bench.connect(3)
    assert radio.advertised[-1][3] is False
    assert bench.board.radio.notify(3, b"x")


def check_keypad_buttons_and_sensors() -> None:
    bench = Bench()
    lock = bench.board.lock
    bench.connect(1)
    session = Controller(bench, 1, bench.pair(1))
    session.ask(c.WRITE_ID, b"a persona")
    session.ask(c.SET_PIN, b"\x00\x04\x25\x80" + b"\xff" * 5)
    session.ask(c.SET_RIGHTS, bytes((0, c.RIGHT_ENABLED | c.RIGHT_UNLOCK, 255)))
    for key in "99*258":
        bench.press(key)
    bench.run(9000)  # forgotten
    for key in "2580#":
        bench.press(key)
    assert lock.bolt == c.BOLT_UNLOCKING
    assert lock.log_records(lock.counter - 1) == []
    bench.set_pin(32, 1)
    bench.set_pin(33, 0)
    for key in "1" * 20 + "#" + "#":
        bench.press(key)
    assert lock.pin_misses == 0
    for key in "1111#":
        bench.press(key)
    assert lock.pin_misses == 1
    # The button: short, long, ten seconds; contacts that bounce are not pressed
    for _bounce in range(10):
        Pin.levels[14] = 1 - Pin.levels.get(14, 1)
        bench.run(5)
    Pin.levels[14] = 1
    bench.run(60)
    assert lock.bolt == c.BOLT_UNLOCKED
    Pin.levels[14] = 0
    bench.run(300)
    bench.set_pin(14, 1)
    assert lock.bolt == c.BOLT_LOCKING
    bench.set_pin(33, 1)
    bench.set_pin(32, 0)
    Pin.levels[14] = 0
    bench.run(5000)
    bench.set_pin(14, 1)
    assert not lock.setup_mode
    Pin.levels[14] = 0
    bench.run(10_100)
    assert lock.setup_mode
    bench.set_pin(14, 1)
    # Door, cover, battery
    bench.set_pin(27, 1)
    assert lock.door == c.DOOR_OPEN
    bench.set_pin(TAMPER, 1)
    assert lock.tamper
    Adc.microvolts = 2_300_000
    bench.run(61_000)
    assert (lock.battery, lock.low_battery) == (11, True)
    Adc.microvolts = 3_100_000
    # Light, and sound if it is wanted
    Pwm.tones.clear()
    lock.ports.indicator.show("identify")
    lit = set()
    for _turn in range(100):
        bench.run(60)
        lit.add(Pin.levels[2])
    assert lit == {0, 1}
    assert set(Pwm.tones) == {2000}
    assert Pin.levels[2] == 0


def check_clocks() -> None:
    bench = Bench()
    clock = bench.board.lock.ports.clock
    I2c.registers[15] |= 0x80
    assert clock.rtc() is None
    for unix in (
        1_767_225_600,
        1_772_323_199,  # 28 February 2026, 23:59:59
        1_835_438_400,  # 29 February 2028
        1_861_919_999,  # 31 December 2028
        1_861_920_000,
        3_124_137_600,  # 31 December 2068
    ):
        clock.set_rtc(unix)
        assert clock.rtc() == unix, unix
    clock.set_rtc(1_700_000_000)  # before there were such locks
    assert clock.rtc() is None
    I2c.registers[5] = 0x13
    assert clock.rtc() is None
    # The chip's ticks wrap; uptime does not
    before = clock.uptime_ms()
    Time.now += 1 << 28
    clock.uptime_ms()
    Time.now += 1 << 28
    assert clock.uptime_ms() == before + (1 << 29)
    plain = parts.Uptime()
    plain.set_rtc(5)
    assert plain.rtc() is None


def check_a_bare_lock() -> None:
    pins = dict(esp32.PINS)
    esp32.PINS.update(
        {
            "latch": None,
            "door": None,
            "tamper": None,
            "keypad_rows": None,
            "battery": None,
            "i2c": None,
            "buzzer": None,
        }
    )
    bench = Bench()
    lock = bench.board.lock
    assert lock.capabilities == c.CAP_AUTO_LOCK | c.CAP_LOG
    lock.ports.indicator.show("ok")
    bench.run(500)
    assert (lock.battery, lock.door) == (255, c.DOOR_NO_SENSOR)
    esp32.PINS.update(pins)


def check_littlefs() -> None:
    disk = new_disk()
    os.mount(os.VfsLfs2(disk), "/other")
    storage = FileStorage("/other")
    assert storage.read("a") is None
    storage.write("a", b"one")
    storage.append("a", b" two")
    storage.append("b", b"new")
    storage.rename("a", "b")
    storage.remove("a")
    storage.remove("a")
    assert storage.names() == ["b"]
    os.umount("/other")
    os.mount(os.VfsLfs2(disk), "/other")
    assert FileStorage("/other").read("b") == b"one two"
    missing = None
    try:
        FileStorage("/other/nowhere").append("a", b"x")
    except OSError as error:
        missing = error.errno
    assert missing == 2
    os.umount("/other")


def check_run_starts_anew_after_any_fault() -> None:
    bench = Bench()
    os.umount("/flash")
    os.mount(os.VfsLfs2(bench.disk), "/flash")
    turns = []

    class Faulty:
        def turn(self) -> int:
            turns.append(1)
            if len(turns) > 3:
                raise OSError(28)
            return 1

    board = esp32.Board
    esp32.Board = Faulty
    Wdt.fed = 0
    started_anew = False
    try:
        esp32.run()
    except ResetError:
        started_anew = True
    assert started_anew
    esp32.Board = board
    assert Wdt.fed == 3
    assert "OSError" in bench.printed.text


def main() -> None:
    esp32.PINS.update({"latch": LATCH, "tamper": TAMPER, "buzzer": BUZZER, "i2c": (4, 5)})
    esp32.FLASH = "/flash/lock"
    checks = [name for name in sorted(globals()) if name.startswith("check_")]
    for name in checks:
        globals()[name]()
    sys.stdout.write(f"{len(checks)}\n")


if __name__ == "__main__":
    main()
