"""What a lock's core asks of the board it runs on.

A board hands one `Ports` object to `lock.Lock`. The protocol classes below document and type
the members; a board's classes need not inherit from them. Nothing here is needed at run time on
a microcontroller except `Ports` itself.

Errors: a storage that cannot store raises `OSError`. The core lets it out of the call that
needed it, before anything that rests on the stored bytes has happened (no bolt has moved, no
counter was used). A board restarts then; memory and flash may differ after it.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Protocol
else:
    Protocol = object


class Clock(Protocol):
    """Uptime and, where there is one, a battery-backed clock."""

    def uptime_ms(self) -> int:
        """Milliseconds since power-up: monotonic, never set, never wrapping."""

    def rtc(self) -> "int | None":
        """Unix seconds of a battery-backed clock, None without one or when it lost its time."""

    def set_rtc(self, unix: int) -> None:
        """Set the battery-backed clock to Unix seconds; nothing to do without one."""


class Storage(Protocol):
    """A handful of small named files in flash.

    A power cut during `append` may leave any prefix of the appended bytes, during `write` any
    prefix of the new contents (the old ones are gone). `rename` and `remove` are atomic. What a
    finished call stored survives a power cut.
    """

    def read(self, name: str) -> "bytes | None":
        """Return the whole contents, None if there is no such file."""

    def append(self, name: str, data: bytes) -> None:
        """Add data at the end of a file, made if missing."""

    def write(self, name: str, data: bytes) -> None:
        """Replace a file's contents."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what had it."""

    def remove(self, name: str) -> None:
        """Delete a file; a missing one is no error."""

    def names(self) -> "list[str]":
        """Return the names of all files, in any order."""


class Motor(Protocol):
    """The bolt's drive. Where the bolt is comes back through `Lock.bolt_sensed`."""

    def start(self, operation: int) -> None:
        """Begin a movement: 1 lock, 2 unlock, 3 open (pull the latch too). Returns at once."""

    def stop(self) -> None:
        """Cut the drive's current: the movement ended, well or not."""


class Radio(Protocol):
    """Advertising and the two ILP1 characteristics (section 3)."""

    def advertise(self, data: bytes, interval_ms: int, connectable: bool) -> None:
        """Advertise these 10 data bytes from now on (`advert.payload` makes the 31 bytes).

        Also goes on while connections exist. Called again with the same values after a
        connection began or ended, for radios whose advertising stops then.
        """

    def notify(self, conn: "Hashable", data: bytes) -> bool:
        """Send one notification of the response characteristic (at most MTU - 3 bytes).

        False: not now (buffers full), the core tries again from `poll`.
        """

    def disconnect(self, conn: "Hashable") -> None:
        """End a connection; `Lock.disconnected` may come during the call or later."""


class Indicator(Protocol):
    """Light and sound. Whether sound is wanted: `Lock.option(2)`."""

    def show(self, what: str) -> None:
        """Show "identify" (for 5 s), "alert", "setup", "ok" or "refused"."""


class Ports:
    """All ports of one lock. `random(n)` returns n bytes fit for keys."""

    def __init__(
        self,
        clock: "Clock",
        random: "Callable[[int], bytes]",
        storage: "Storage",
        motor: "Motor",
        radio: "Radio",
        indicator: "Indicator",
    ) -> None:
        """Keep the ports."""
        self.clock = clock
        self.random = random
        self.storage = storage
        self.motor = motor
        self.radio = radio
        self.indicator = indicator
