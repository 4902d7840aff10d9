"""What the lock advertises now, and when the counter grows for it (section 2)."""

from . import advert
from . import const as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .lock import Lock
    from .store import Store


class Beacon:
    """Keeps the advertisement in line with the lock."""

    def __init__(self, lock: "Lock", store: "Store") -> None:
        """Go on with the stored counter."""
        self._lock = lock
        self._store = store
        self.data = b""  # the 10 data bytes as last sealed
        self.counter = advert.Counter(store)
        self._plain = b""
        self._sealed_at = -1
        self._key: bytes | None = None
        self._fast_until = 0
        self._quiet = False
        self._grown_at = lock.ports.clock.uptime_ms()
        self._sent: tuple[bytes, int, bool] | None = None

    def grow(self) -> None:
        """The counter's next value, for a log record or an accepted session."""
        self.counter.grow()
        self._grown_at = self._lock.ports.clock.uptime_ms()
        self._quiet = False

    def start_anew(self) -> None:
        """A new lock key began its own range, because the old one's was used up."""
        self.counter = advert.Counter(self._store)
        self._sealed_at = -1

    def poll(self, now: int) -> None:
        """The heartbeat: after ten idle minutes the counter grows by itself."""
        if now - self._grown_at >= c.HEARTBEAT_MS:
            quiet = now >= self._fast_until
            self.grow()
            self._quiet = quiet

    def due(self, now: int) -> int:
        """When `poll` or `publish` has something to do (ms of uptime)."""
        beat = self._grown_at + c.HEARTBEAT_MS
        return min(beat, self._fast_until) if self._fast_until > now else beat

    def _state(self) -> bytes:
        lock = self._lock
        flags = c.VERSION << 4 | (lock.log.total & 3) << 2
        if lock.setup_mode:
            flags |= advert.FLAG_SETUP
        if lock.clock.trusted:
            flags |= advert.FLAG_CLOCK
        state = lock.bolt | lock.door << 3
        if lock.low_battery:
            state |= advert.FLAG_LOW_BATTERY
        if lock.tamper:
            state |= advert.FLAG_TAMPER
        return bytes((flags, state, lock.battery))

    def _seal(self) -> bool:
        """Make the data bytes fit the lock; False if they did."""
        plain = self._state()
        key = self._lock.owner.advertisement_key
        if plain != self._plain and self._sealed_at == self.counter.value:
            self.grow()  # before the change is sent
        if (plain, self.counter.value, key) == (self._plain, self._sealed_at, self._key):
            return False
        self._plain = plain
        self._sealed_at = self.counter.value
        self._key = key
        self.data = advert.seal(key, self._lock.device_id, plain, self._sealed_at)
        return True

    def nonce(self) -> "bytes | None":
        """The nonce a session of source 0 needs at this moment; None while there is none."""
        if self.counter.exhausted or not self._lock.clock.trusted:
            return None
        if self._seal():
            self._begin_fast()
        return advert.nonce(self.data)

    def _begin_fast(self) -> None:
        if not self._quiet:
            self._fast_until = self._lock.ports.clock.uptime_ms() + c.FAST_ADVERTISING_MS

    def again(self) -> None:
        """A connection began or ended: many radios have stopped advertising then."""
        self._sent = None

    def publish(self, connectable: bool) -> None:
        """Send what changed."""
        if self._seal():
            self._begin_fast()
        interval = self._lock.options.get(c.OPT_ADVERTISING)
        if self._lock.ports.clock.uptime_ms() < self._fast_until:
            interval = min(interval, c.FAST_INTERVAL_MS)
        sent = (self.data, interval, connectable)
        if sent != self._sent:
            self._sent = sent
            self._lock.ports.radio.advertise(*sent)
