"""The event log: a ring of records in flash that a power cut cannot tear.

Segments of 64 records are appended to one after another; when all are full the oldest is removed
and begun anew, so every byte of flash wears alike and at least the promised number of records is
there. A record: the 9 bytes of its frame's value, Unix time 4, number 3, check 2.
"""

from binascii import crc32

from . import const as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Storage
    from .store import Store

    Record = tuple[int, int, int, int, int, int, int, int]

SEGMENT = 64
_SIZE = 18
_PREFIX = "log"
_NEW = "log.new"
KEY_GENERATION = 7


def _check(body: bytes) -> bytes:
    return (crc32(body) & 0xFFFF).to_bytes(2, "big")


def unpack(raw: bytes) -> "Record":
    """A stored record as (event, slot, source, counter, bolt, door, detail, Unix time or 0)."""
    counter = int.from_bytes(raw[3:6], "big")
    when = int.from_bytes(raw[9:13], "big")
    return (raw[0], raw[1], raw[2], counter, raw[6], raw[7], raw[8], when)


class EventLog:
    """Records in flash, oldest first; only an index of the segments is kept in memory."""

    def __init__(self, storage: "Storage", store: "Store", size: int) -> None:
        """Find the segments; cut off what a power cut left of a record."""
        self._storage = storage
        generation = store.get(KEY_GENERATION) or b"\x00"
        self._generation = generation[0]
        self._prefix = _PREFIX + str(generation[0]) + "-"
        self._places = size // SEGMENT + 1
        # One entry a segment, oldest first: [place, number of the first record, records]
        self._segments: list[list[int]] = []
        for name in storage.names():
            if not name.startswith(self._prefix):
                if name.startswith(_PREFIX):
                    storage.remove(name)  # of a generation erased, or half mended
                continue
            data = storage.read(name) or b""
            count = 0
            for at in range(0, len(data), _SIZE):
                raw = data[at : at + _SIZE]
                if len(raw) < _SIZE or _check(raw[:-2]) != raw[-2:]:
                    break
                count += 1
            if count == 0:
                storage.remove(name)
                continue
            if count * _SIZE != len(data):
                storage.write(_NEW, data[: count * _SIZE])
                storage.rename(_NEW, name)
            place = int(name[len(self._prefix) :])
            self._segments.append([place, int.from_bytes(data[13:16], "big"), count])
        self._segments.sort(key=lambda segment: segment[1])

    @property
    def total(self) -> int:
        """Records ever written (the advertisement shows it modulo 4)."""
        if not self._segments:
            return 0
        return self._segments[-1][1] + self._segments[-1][2]

    def append(self, record: "Record") -> None:
        """Store one record, a tuple as `unpack` returns it.

        Raises:
            OSError: not stored.
        """
        number = self.total
        if not self._segments:
            self._segments.append([0, number, 0])
        elif self._segments[-1][2] >= SEGMENT:
            while len(self._segments) >= self._places:
                self._storage.remove(self._prefix + str(self._segments[0][0]))
                self._segments.pop(0)
            # Not simply the next place: it may be taken if a new firmware keeps more records
            taken = [segment[0] for segment in self._segments]
            place = 0
            while place in taken:
                place += 1
            self._segments.append([place, number, 0])
        segment = self._segments[-1]
        event, slot, source, counter, bolt, door, detail, when = record
        body = (
            bytes((event, slot, source))
            + counter.to_bytes(3, "big")
            + bytes((bolt, door, detail))
            + when.to_bytes(4, "big")
            + number.to_bytes(3, "big")
        )
        self._storage.append(self._prefix + str(segment[0]), body + _check(body))
        segment[2] += 1

    def _raw(self, segment: "list[int]") -> bytes:
        return self._storage.read(self._prefix + str(segment[0])) or b""

    def read(self, after: int, limit: int) -> "list[bytes]":
        """Stored records with a counter above `after`, rising, at most `limit`; see `unpack`."""
        found: list[bytes] = []
        # Backwards to the first segment that has something new: usually the last one
        start = len(self._segments)
        while start > 0:
            start -= 1
            if int.from_bytes(self._raw(self._segments[start])[3:6], "big") <= after:
                break
        for segment in self._segments[start:]:
            data = self._raw(segment)
            for at in range(0, segment[2] * _SIZE, _SIZE):
                if len(found) >= limit:
                    return found
                counter = int.from_bytes(data[at + 3 : at + 6], "big")
                if counter > after:
                    # At the end of the counter's range several share it: only one can be asked for
                    after = counter
                    found.append(data[at : at + _SIZE])
        return found

    def oldest(self) -> int:
        """Counter of the oldest record, 0 without any."""
        return int.from_bytes(self._raw(self._segments[0])[3:6], "big") if self._segments else 0

    def newest(self) -> "bytes | None":
        """The newest record as stored, None without any."""
        if not self._segments:
            return None
        end = self._segments[-1][2] * _SIZE
        return self._raw(self._segments[-1])[end - _SIZE : end]

    def last_time(self) -> int:
        """The latest time that a record since the last setting of the clock knows, else 0."""
        for segment in reversed(self._segments):
            data = self._raw(segment)
            for at in range((segment[2] - 1) * _SIZE, -1, -_SIZE):
                record = unpack(data[at : at + _SIZE])
                if record[0] == c.EV_CLOCK_SET:
                    return 0  # it carries the old time, which may have been wrong
                if record[7]:
                    return record[7]
        return 0

    @property
    def next_generation(self) -> int:
        """What the store has to get before `clear`."""
        return (self._generation + 1) & 0xFF

    def clear(self, generation: int) -> None:
        """Erase all records, once the store has the next generation (0 to 255)."""
        for segment in self._segments:
            self._storage.remove(self._prefix + str(segment[0]))
        self._segments = []
        self._generation = generation
        self._prefix = _PREFIX + str(generation) + "-"
