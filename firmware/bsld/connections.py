"""All connections and the messages on them (sections 3 and 4)."""

from . import const as c
from .commands import Commands
from .fragments import MalformedError
from .frames import decode, encode
from .links import Link
from .pairing import Pairing
from .session import Session, SessionOpen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable

    from .lock import Lock

# A message is at most 21 frames and its kind; this many kinds are allowed for in the queue
_KINDS = 8


class Connections:
    """Who is connected, and what they say."""

    def __init__(self, lock: "Lock", setup_code: bytes, limit: int) -> None:
        """Serve at most `limit` connections."""
        self._lock = lock
        self._limit = limit
        self._links: dict[Hashable, Link] = {}
        self._commands = Commands(lock)
        self._busy = False  # the radio takes no more notifications at the moment
        self.pairing = Pairing(setup_code, lock.device_id)

    @property
    def connectable(self) -> bool:
        """Whether a connection is free."""
        return len(self._links) < self._limit

    def _now(self) -> int:
        return self._lock.ports.clock.uptime_ms()

    # --- connections --------------------------------------------------------------------------

    def connected(self, conn: "Hashable") -> None:
        """A new connection; when all are taken the oldest without a session goes (rule 7)."""
        link = Link(conn, self._now())
        self._links[conn] = link
        if not self.connectable:
            silent = [one for one in self._links.values() if not one.session and one is not link]
            if silent:
                # Somebody who pairs goes last: two who say nothing must not prevent it
                self._drop(min(silent, key=lambda one: (one.pairing, one.since)))
            elif len(self._links) > self._limit:
                self._drop(link)

    def disconnected(self, conn: "Hashable") -> None:
        """A connection is gone, with its session."""
        self._links.pop(conn, None)
        self.pairing.forget(conn)

    def _drop(self, link: Link) -> None:
        self.disconnected(link.conn)
        self._lock.ports.radio.disconnect(link.conn)

    def mtu_changed(self, conn: "Hashable", mtu: int) -> None:
        """The MTU for what is sent from now on."""
        if conn in self._links:
            self._links[conn].mtu = mtu

    def subscribed(self, conn: "Hashable", on: bool) -> None:
        """Answers kept so far go out when notifications are on."""
        if conn in self._links:
            self._links[conn].listens(on)

    def flush(self) -> None:
        """Send what waits."""
        self._busy = False
        for link in list(self._links.values()):
            if not link.flush(self._lock.ports.radio):
                self._busy = True

    def poll(self, now: int) -> None:
        """Drop who has been silent for too long, and unfinished messages."""
        for link in list(self._links.values()):
            link.incoming.drop_old(now)
            if now >= link.deadline():
                self._drop(link)

    def due(self, now: int) -> "int | None":
        """When `poll` has something to do (ms of uptime), None for never."""
        if self._busy:
            return now + c.NOTIFY_RETRY_MS
        return min((link.deadline() for link in self._links.values()), default=None)

    def end_sessions(self, slot: "int | None", but: "Session | None" = None) -> None:
        """End a slot's sessions, or all (None); connections stay for a while."""
        for link in self._links.values():
            session = link.session
            if session is not None and session is not but and slot in (None, session.slot):
                link.end_session(self._now())

    # --- messages -----------------------------------------------------------------------------

    def _send(self, link: Link, message: bytes) -> None:
        if not link.put(message):
            self._drop(link)

    def _error(self, link: Link, code: int) -> None:
        nonce = link.challenge(self._lock.ports.random(8), self._now())
        self._send(link, bytes((c.ERROR, code)) + nonce)

    def written(self, conn: "Hashable", data: bytes) -> None:
        """One write to the request characteristic."""
        link = self._links.get(conn)
        if link is None:
            return
        try:
            message = link.incoming.feed(data, self._now())
        except MalformedError:
            self._error(link, c.ERR_MALFORMED)
            return
        if message is None:
            return
        kind = message[0]
        code = 0
        if kind == c.SESSION_OPEN:
            code = self._open(link, message)
        elif kind == c.SEALED:
            code = self._sealed(link, message[1:])
        elif kind == c.CHALLENGE_REQUEST:
            if len(message) == 1:
                nonce = link.challenge(self._lock.ports.random(8), self._now())
                self._send(link, bytes((c.CHALLENGE,)) + nonce)
            else:
                code = c.ERR_MALFORMED
        elif kind in (c.PAIR_REQUEST, c.PAIR_CONFIRM):
            code = self._pair(link, kind, message[1:])
        elif kind in (c.PAIR_REPLY, c.PAIR_DONE, c.CHALLENGE, c.ERROR):
            code = c.ERR_MALFORMED  # the lock's own kinds
        else:
            code = c.ERR_VERSION
        if code:
            self._error(link, code)

    def _pair(self, link: Link, kind: int, body: bytes) -> int:
        lock = self._lock
        if not lock.setup_mode:
            return c.ERR_NOT_SETUP
        if kind == c.PAIR_REQUEST:
            private = lock.ports.random(32)
            reply = self.pairing.request(link.conn, body, self._now(), private)
            if reply != c.ERR_BUSY:
                self.pairing.computed(self._now())
            if isinstance(reply, int):
                return reply
            link.pairing = True
            self._send(link, bytes((c.PAIR_REPLY,)) + reply)
            return 0
        lock_key = self.pairing.confirm(link.conn, body)
        if lock_key is None:
            return c.ERR_AUTHENTICATION
        lock.pair(lock_key)
        self._send(link, bytes((c.PAIR_DONE, c.DONE)))
        return 0

    def _open(self, link: Link, message: bytes) -> int:
        """A SESSION_OPEN; returns an ERROR code, 0 if accepted (rules 1 to 3)."""
        lock = self._lock
        now = self._now()
        try:
            opening = SessionOpen(message)
        except ValueError:
            return c.ERR_MALFORMED
        challenged = opening.source == c.NONCE_CHALLENGE
        if challenged:
            refused = c.ERR_AUTHENTICATION
            nonce = link.take_nonce(now)
        else:
            refused = c.ERR_RETRY
            nonce = lock.nonce()
        key = lock.owner.session_key(lock.accounts, opening.slot)
        if nonce is None or key is None:
            return refused
        session = Session(
            key,
            lock.device_id,
            opening.slot,
            opening.source,
            nonce,
            opening.client_nonce,
            link.nonce_ms,
        )
        frames = session.open(opening.sealed)
        if frames is None:
            return refused
        session.first = decode(frames[0])[3]
        age = session.age(session.first, lock.clock.now(), now)
        if not challenged and not c.MIN_AGE_S <= age <= c.MAX_AGE_S:
            return refused
        lock.session_accepted(session)
        link.session = session
        if not self.connectable and session.slot != c.SLOT_CONTROLLER:
            # One person's sessions must not keep everybody else out
            for other in list(self._links.values()):
                held = other.session
                if other is not link and held is not None and held.slot == session.slot:
                    self._drop(other)
        self._run(link, session, frames)
        return 0

    def _sealed(self, link: Link, sealed: bytes) -> int:
        session = link.session
        if session is None:
            return c.ERR_NO_SESSION
        if not sealed or len(sealed) % c.SEALED_SIZE:
            return c.ERR_MALFORMED
        frames = session.open(sealed)
        if frames is None:
            link.end_session(self._now())
            return c.ERR_NO_SESSION
        self._run(link, session, frames)
        return 0

    def _run(self, link: Link, session: Session, frames: "list[bytes]") -> None:
        link.heard = self._now()
        room = (c.QUEUE_BYTES - link.waiting - _KINDS) // c.SEALED_SIZE
        self._seal(link, session, self._commands.run(session, frames, room))
        if session.ended and link.session is session:
            link.end_session(self._now())

    def _seal(self, link: Link, session: Session, frames: "list[bytes]") -> None:
        for at in range(0, len(frames), c.FRAMES_PER_MESSAGE):
            part = session.seal(frames[at : at + c.FRAMES_PER_MESSAGE])
            self._send(link, bytes((c.SEALED,)) + part)

    def _may_follow(self, session: Session) -> bool:
        """Whether a session is told of state events: who may ask for the status."""
        if session.slot == c.SLOT_CONTROLLER:
            return True
        account = self._lock.accounts.get(session.slot)
        if account is None or not (session.authenticated and account.rights & c.RIGHT_ENABLED):
            return False
        return self._lock.clock.allows(account)

    def tell(self, event: bytes, slot: int) -> None:
        """Send a state event (its first 7 value bytes, then slot and source) to all sessions."""
        lock = self._lock
        for link in list(self._links.values()):
            session = link.session
            if session is not None and self._may_follow(session):
                value = (
                    event[:7] + bytes((lock.accounts.shown_slot(slot, session.slot),)) + event[8:]
                )
                frame = encode(c.OPERATE, c.EVENT, value, lock.clock.now())
                self._seal(link, session, [frame])
