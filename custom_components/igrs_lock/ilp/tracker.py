"""Which advertisements of a lock count: the receiver's rules of ILP1 section 2."""

from .advertisement import Advertisement, AdvertisementReader
from .const import (
    ASK_INTERVAL,
    BEHIND_ONLY_BEFORE_ASKING,
    COUNTER_EXPIRY,
    COUNTER_MAX,
    EPOCH_MAX,
)
from .errors import AuthenticationError, MalformedError, SessionError
from .keys import advertisement_key, seen_proof


class AdvertisementTracker:
    """Follows one lock's advertisements, heard by any number of gateways.

    Pure: `now` is always monotonic seconds of the caller's one clock. Public attributes, to be
    read only: `counter` (last authenticated counter, None before the first), `epoch`,
    `advertisement` (the state that counts, None until heard or when an answer overtook it),
    `heard_at` (last time that this very advertisement came), `advanced_at` (last time that the
    counter was proved to be new).
    """

    __slots__ = (
        "_asked_at",
        "_behind_at",
        "_behind_since",
        "_data",
        "_data_epoch",
        "_device_id",
        "_first_at",
        "_lock_key",
        "_next_reader",
        "_packet_at",
        "_reader",
        "advanced_at",
        "advertisement",
        "counter",
        "epoch",
        "heard_at",
    )

    def __init__(
        self, device_id: bytes, lock_key: bytes, epoch: int = 0, counter: int | None = None
    ) -> None:
        """Start with what was remembered: the epoch of the keys and the last counter."""
        if counter is not None:
            _check_counter(counter)
        self._device_id = device_id
        self._lock_key = lock_key
        self.counter = counter
        self.advertisement: Advertisement | None = None
        self.heard_at: float | None = None
        self.advanced_at: float | None = None
        self._data: bytes | None = None
        self._data_epoch = epoch
        self._first_at: float | None = None
        self._packet_at: float | None = None
        self._behind_since: float | None = None
        self._behind_at: float | None = None
        self._asked_at: float | None = None
        self.set_epoch(epoch)

    @property
    def data(self) -> bytes | None:
        """The 10 bytes of `advertisement` as they were sent."""
        return self._data

    @property
    def exhausted(self) -> bool:
        """Whether the counter reached its end: the lock has to be paired anew."""
        return self.counter == COUNTER_MAX

    def set_epoch(self, epoch: int) -> None:
        """Use the keys of an epoch that an authenticated answer (41, 4E) told."""
        self._reader = AdvertisementReader(
            advertisement_key(self._lock_key, epoch), self._device_id
        )
        self._next_reader = (
            AdvertisementReader(advertisement_key(self._lock_key, epoch + 1), self._device_id)
            if epoch < EPOCH_MAX
            else None
        )
        self.epoch = epoch

    def feed(self, data: bytes, now: float) -> Advertisement | None:
        """Take 10 bytes of service data; return them opened when they tell something new.

        None for everything else: the same again, a wrong tag, a counter behind, malformed bytes.
        A tag of the next epoch moves the epoch on: its key is known to nobody before the lock
        removed an account, and the answer to that removal may have been lost.
        """
        self._packet_at = now
        if data == self._data:
            self.heard_at = now
            self._behind_since = None
            return None
        if self._first_at is None:
            self._first_at = now
        advertisement = self._open(data)
        if advertisement is None:
            return None
        if self.counter is not None and (
            advertisement.counter < self.counter
            # The counter grows before the state changes, so one counter has one content.
            or (advertisement.counter == self.counter and self._data is not None)
        ):
            self._behind_at = now
            if self._behind_since is None:
                self._behind_since = now
            return None
        self._data = data
        self._data_epoch = self.epoch
        self.counter = advertisement.counter
        self.advertisement = advertisement
        self.heard_at = self.advanced_at = now
        self._behind_since = None
        return advertisement

    def authentic(self, data: bytes) -> bool:
        """Tell whether 10 bytes have a right tag, of this epoch or the next; nothing moves by it."""
        for reader in (self._reader, self._next_reader):
            if reader is not None:
                try:
                    reader.open(data)
                except AuthenticationError, MalformedError:
                    continue
                return True
        return False

    def seen(self, gateway_time: int) -> bytes:
        """Return the proof for remote clients that `data` was heard at a time (Unix seconds).

        SessionError before there is any. It is made with the key that `data` was sealed with.
        """
        if self._data is None:
            raise SessionError("nothing was heard")
        key = advertisement_key(self._lock_key, self._data_epoch)
        return seen_proof(key, self._device_id, self._data, gateway_time)

    def adopt(self, counter: int, now: float) -> None:
        """Take the counter of an authenticated answer or event, up or down."""
        _check_counter(counter)
        if counter != self.counter:
            self.counter = counter
            self.advertisement = None
            self._data = None
        self.advanced_at = now
        self._behind_since = None

    def is_current(self, now: float) -> bool:
        """Whether a new counter came within 25 minutes; if not, the state is unknown."""
        return self.advanced_at is not None and now - self.advanced_at <= COUNTER_EXPIRY

    def ask_due(self, now: float) -> bool:
        """Whether a session should ask for the status (call `asked` when it is tried).

        Due when only older counters came for 30 s. Also when the state is not current although
        the lock's address is heard: a lock two epochs ahead, or one whose counter stands still,
        would otherwise stay unavailable for ever. At most every 10 minutes.
        """
        if self._asked_at is not None and now - self._asked_at < ASK_INTERVAL:
            return False
        if self._behind_since is not None and self._behind_at is not None:
            return self._behind_at - self._behind_since >= BEHIND_ONLY_BEFORE_ASKING
        if self._packet_at is None or now - self._packet_at > BEHIND_ONLY_BEFORE_ASKING:
            return False
        if self.advanced_at is not None:
            return now - self.advanced_at > COUNTER_EXPIRY
        return self._first_at is not None and now - self._first_at >= BEHIND_ONLY_BEFORE_ASKING

    def asked(self, now: float) -> None:
        """Note that a session was tried, whatever came of it."""
        self._asked_at = now
        self._behind_since = None

    def _open(self, data: bytes) -> Advertisement | None:
        try:
            return self._reader.open(data)
        except MalformedError:
            return None
        except AuthenticationError:
            if self._next_reader is None:
                return None
        try:
            advertisement = self._next_reader.open(data)
        except AuthenticationError, MalformedError:
            return None
        self.set_epoch(self.epoch + 1)
        return advertisement


def _check_counter(counter: int) -> None:
    if not 0 <= counter <= COUNTER_MAX:
        raise MalformedError("counter out of range")
