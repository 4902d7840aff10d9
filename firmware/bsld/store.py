"""What a lock must not forget, in one file that survives a power cut at any byte.

The file "state" is a row of records, each a set of changes that hold together or not at all:
length 2, changes, CRC-32 4. A cut leaves at most one unfinished record, at the end: it is ignored
and the file is written anew before anything is added behind it. When the row gets long (flash
wears by writing) it is replaced by one record of all values: written under another name, then
renamed, which is atomic. Keys and what they hold are the other modules' business:

1 lock key, 2 epoch, 3 pairing complete, 4 counter, 5 PIN misses, 6 offsets, 7 log generation,
8 removed account IDs, 16 + option, 64 + slot.
"""

from binascii import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Storage

    Change = tuple[int, "bytes | None"]

_FILE = "state"
_NEW = "state.new"
_GONE = 0xFFFF
_GROWTH = 4096


def _pack(changes: "list[Change]") -> bytes:
    body = b"".join(
        bytes((key,)) + (_GONE if value is None else len(value)).to_bytes(2, "big") + (value or b"")
        for key, value in changes
    )
    body = len(body).to_bytes(2, "big") + body
    return body + crc32(body).to_bytes(4, "big")


class Store:
    """Values by key (0 to 255), changed in atomic steps."""

    def __init__(self, storage: "Storage") -> None:
        """Read what is stored; mend what a power cut left."""
        self._storage = storage
        self._values: dict[int, bytes] = {}
        self._size = 0
        self._limit = 0
        data = storage.read(_FILE) or b""
        while self._size < len(data):
            end = self._size + 6 + int.from_bytes(data[self._size : self._size + 2], "big")
            body = data[self._size : end - 4]
            if end > len(data) or crc32(body) != int.from_bytes(data[end - 4 : end], "big"):
                break
            self._apply(body)
            self._limit = self._limit or end + _GROWTH
            self._size = end
        self._whole = self._size == len(data)

    def _apply(self, body: bytes) -> None:
        at = 2
        while at < len(body):
            key = body[at]
            size = int.from_bytes(body[at + 1 : at + 3], "big")
            at += 3
            if size == _GONE:
                self._values.pop(key, None)
            else:
                self._values[key] = body[at : at + size]
                at += size

    def get(self, key: int) -> "bytes | None":
        """The value of a key, None if it has none."""
        return self._values.get(key)

    def commit(self, *changes: "Change") -> None:
        """Store changes (key, value or None for none) in one atomic step.

        Raises:
            OSError: not stored, nothing changed.
        """
        record = _pack(list(changes))
        if not self._whole or self._size + len(record) > self._limit:
            values = dict(self._values)
            for key, value in changes:
                if value is None:
                    values.pop(key, None)
                else:
                    values[key] = value
            self.replace(values)
            return
        self._whole = False  # until the whole record is there
        self._storage.append(_FILE, record)
        self._whole = True
        self._size += len(record)
        self._apply(record[:-4])

    def replace(self, values: "dict[int, bytes]") -> None:
        """Replace everything in one atomic step; the old values leave the flash file.

        Raises:
            OSError: not stored, nothing changed.
        """
        record = _pack(sorted(values.items()))
        self._storage.write(_NEW, record)
        self._storage.rename(_NEW, _FILE)
        self._values = values
        self._size = len(record)
        self._limit = self._size + _GROWTH
        self._whole = True

    def keep(self, keys: "tuple[int, ...]") -> "dict[int, bytes]":
        """The values of these keys, for `replace`."""
        return {key: self._values[key] for key in keys if key in self._values}
