"""Advertisement (ILP1 section 2): the 10 data bytes, the packets around them, the counter."""

from . import const as c
from .crypto import mac
from .identifiers import local_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .store import Store

FLAG_SETUP = 0x01
FLAG_CLOCK = 0x02
FLAG_LOW_BATTERY = 0x20
FLAG_TAMPER = 0x40

_KEY_COUNTER = 4


def seal(key: "bytes | None", device_id: bytes, plain: bytes, counter: int) -> bytes:
    """Make the 10 data bytes.

    Args:
        key: the epoch's advertisement key, None while unpaired (nothing masked, tag zero).
        device_id: 6 bytes.
        plain: bytes 0 to 2: version and flags, state, battery.
        counter: 0 to 0xFFFFFF.
    """
    head = plain + counter.to_bytes(3, "big")
    if key is None:
        return head + bytes(4)
    tail = head[3:] + mac(key, device_id, head)[:4]
    mask = mac(key, b"mask", device_id, tail)
    return bytes((plain[0], plain[1] ^ mask[0], plain[2] ^ mask[1])) + tail


def nonce(data: bytes) -> bytes:
    """The lock nonce that 10 data bytes offer to a session of source 0: 8 bytes."""
    return b"\x00" + data[3:10]


def _uuid() -> bytes:
    # Little-endian on the air
    return bytes(reversed(bytes.fromhex(c.SERVICE_UUID.replace("-", ""))))


def payload(data: bytes) -> bytes:
    """The 31 bytes of the advertising packet: Flags 06, then Service Data."""
    return b"\x02\x01\x06\x1b\x21" + _uuid() + data


def scan_response(device_id: bytes) -> bytes:
    """The scan response: complete list of 128-bit UUIDs, complete local name."""
    name = local_name(device_id).encode()
    return b"\x11\x07" + _uuid() + bytes((len(name) + 1, 0x09)) + name


class Counter:
    """The advertisement counter: never the same value twice, whatever happens to the power.

    Its block's last value is in flash before the block's first is used; a restart goes on after
    the block. It stays at its end (see `Lock` for what that means).
    """

    def __init__(self, store: "Store") -> None:
        """Go on behind the last block that was begun."""
        self._store = store
        stored = store.get(_KEY_COUNTER)
        self._last = -1 if stored is None else int.from_bytes(stored, "big")
        self.value = min(self._last + 1, c.COUNTER_END)
        self._reserve()

    @property
    def exhausted(self) -> bool:
        """Whether the end of the range is reached."""
        return self.value >= c.COUNTER_END

    def grow(self) -> None:
        """Go to the next value; at the end of the range stay."""
        if not self.exhausted:
            before = self.value
            self.value += 1
            try:
                self._reserve()
            except OSError:
                self.value = before
                raise

    def _reserve(self) -> None:
        if self.value > self._last:
            last = self.value | (c.COUNTER_BLOCK - 1)
            self._store.commit((_KEY_COUNTER, last.to_bytes(3, "big")))
            self._last = last
