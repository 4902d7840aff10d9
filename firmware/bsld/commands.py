"""Requests inside a session: who may what, and what it does (section 5)."""

from . import const as c
from .crypto import same
from .eventlog import unpack
from .frames import decode, encode
from .schedule import signed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .accounts import Account
    from .lock import Lock
    from .session import Session

    Handler = Callable[[Session, bytes, int], list[bytes]]

# Who may (end of section 5). MANAGE and LOG are rights; a manager may read the log as well.
_CONTROLLER = 0
_ANYBODY = -1
_LOG = c.RIGHT_LOG | c.RIGHT_MANAGE

# Responses without bolt, door and battery
_OTHER_FORM = (c.GET_DIGEST, c.GET_LOG, c.GET_OPTION, c.READ_ACCOUNT, c.GET_ADVERT_KEY)


class Commands:
    """Runs the frames of a session, one after another."""

    def __init__(self, lock: "Lock") -> None:
        """Serve a lock."""
        self._lock = lock
        self._room = 0
        manage = c.RIGHT_MANAGE
        self._table: dict[int, tuple[int, Handler]] = {
            c.WRITE_ID: (_CONTROLLER, self._write_id),
            c.AUTHENTICATE: (_ANYBODY, self._authenticate),
            c.OPERATE: (_ANYBODY, self._operate),
            c.REMOVE_ID: (manage, self._remove_id),
            c.SET_RIGHTS: (manage, self._set_rights),
            c.SET_VALIDITY: (manage, self._set_validity),
            c.SET_HOURS: (manage, self._set_hours),
            c.SET_TIME: (manage, self._set_time),
            c.SET_PIN: (manage, self._set_pin),
            c.SET_OPTION: (manage, self._set_option),
            c.GET_STATUS: (_ANYBODY, self._get_status),
            c.GET_DIGEST: (manage, self._get_digest),
            c.GET_LOG: (_LOG, self._get_log),
            c.FACTORY_RESET: (_CONTROLLER, self._factory_reset),
            c.GET_OPTION: (manage, self._get_option),
            c.READ_ACCOUNT: (manage, self._read_account),
            c.GET_ADVERT_KEY: (c.RIGHT_FOLLOW, self._get_advert_key),
            c.IDENTIFY: (manage, self._identify),
            c.SET_NEXT_OFFSET: (manage, self._set_next_offset),
        }

    def run(self, session: "Session", frames: "list[bytes]", room: int) -> "list[bytes]":
        """Run a message's frames; returns the answers in order, in the clear.

        Args:
            session: whose.
            frames: decrypted requests.
            room: answers that may be given; only log records are left out for want of it.
        """
        answers: list[bytes] = []
        for number, frame in enumerate(frames):
            # Everything but log records takes three frames a request at most
            self._room = room - len(answers) - 3 * (len(frames) - number - 1)
            answers += self._run(session, frame)
        return answers

    def _run(self, session: "Session", frame: bytes) -> "list[bytes]":
        command, kind, value, timestamp, good = decode(frame)
        if session.ended:
            return self._closed(command, session.ended)
        account = None
        if session.slot != c.SLOT_CONTROLLER:
            # The person first: who has no valid account learns nothing of the door by odd requests
            asks = good and kind == c.REQUEST and command == c.AUTHENTICATE
            operates = good and kind == c.REQUEST and command == c.OPERATE
            account = self._lock.accounts.get(session.slot)
            refused = self._judge(session, account, asks, operates)
            if refused != c.DONE:
                return self._closed(command, refused)
        if not good:
            return self.status(command, c.BAD_CHECK)
        known = self._table.get(command)
        if kind != c.REQUEST or known is None:
            return self.status(command, c.NOT_SUPPORTED)
        limit = c.MAX_AGE_S
        if command == c.OPERATE:
            limit = value[1]
            if not c.OP_LOCK <= value[0] <= c.OP_OPEN or not 1 <= limit <= c.MAX_AGE_S:
                return self.status(command, c.BAD_VALUE)
        lock = self._lock
        age = session.age(timestamp, lock.clock.now(), lock.ports.clock.uptime_ms())
        result = c.DONE if c.MIN_AGE_S <= age <= limit else c.TOO_OLD
        if result == c.DONE and account and known[0] != _ANYBODY and not account.rights & known[0]:
            result = c.NO_RIGHT
        if result != c.DONE:
            return self._refuse(command, value, result)
        return known[1](session, value, command)

    def _judge(
        self, session: "Session", account: "Account | None", asks: bool, operates: bool
    ) -> int:
        """Whether a person may ask anything (rule 4, validity): DONE, or why not.

        Args:
            session: whose; ended here where the rule says so.
            account: what the session's slot holds.
            asks: the request is a proper 02.
            operates: the request is a proper 03, whose refusal is logged.
        """
        lock = self._lock
        if account is None or not account.rights & c.RIGHT_ENABLED:
            session.ended = c.DISABLED if account else c.UNKNOWN_ACCOUNT
            lock.access.denied(session.slot, c.SRC_BLUETOOTH, session.ended)
            return session.ended
        if not session.authenticated and not asks:
            session.ended = c.UNKNOWN_ACCOUNT
            return session.ended
        if not asks and not lock.clock.allows(account):
            if operates:
                lock.access.denied(session.slot, c.SRC_BLUETOOTH, c.OUTSIDE_TIME)
            return c.OUTSIDE_TIME
        return c.DONE

    # --- answers ------------------------------------------------------------------------------

    def _reply(self, command: int, *parts: "bytes | int") -> "list[bytes]":
        value = b"".join(bytes((part,)) if isinstance(part, int) else part for part in parts)
        return [encode(command, c.RESPONSE, value, self._lock.clock.now())]

    def _state(self) -> bytes:
        lock = self._lock
        return bytes((lock.bolt, lock.door, lock.battery)) + lock.counter.to_bytes(3, "big")

    def status(self, command: int, result: int, aux: int = 0) -> "list[bytes]":
        """The *status* response."""
        return self._reply(command, result, self._state(), aux)

    def _closed(self, command: int, result: int) -> "list[bytes]":
        """Refuse somebody who has no valid account, and is told nothing about the door.

        The counter is on the air anyway, and clients take it from any answer.
        """
        counter = self._lock.counter.to_bytes(3, "big")
        nothing = bytes((c.BOLT_UNKNOWN, c.DOOR_NO_SENSOR, c.BATTERY_UNKNOWN)) + counter
        if command == c.AUTHENTICATE:
            nothing = bytes((c.SLOT_NOBODY, 0, 0, self._lock.clock.trusted))
        elif command == c.WRITE_ID:
            nothing = bytes((c.SLOT_NOBODY,)) + nothing
        elif command in _OTHER_FORM:
            nothing = b""
        return self._reply(command, result, nothing)

    def _refuse(self, command: int, value: bytes, result: int) -> "list[bytes]":
        """A result other than done, in the form of the command's own response."""
        lock = self._lock
        if command == c.WRITE_ID:
            return self._reply(command, result, c.SLOT_NOBODY, self._state())
        if command == c.REMOVE_ID:
            return self._reply(command, result, self._state(), lock.owner.epoch.to_bytes(2, "big"))
        if command == c.AUTHENTICATE:
            return self._reply(command, result, c.SLOT_NOBODY, 0, 0, int(lock.clock.trusted))
        if command in _OTHER_FORM:
            named = command in (c.GET_OPTION, c.READ_ACCOUNT)
            return self._reply(command, result, value[:1] if named else b"")
        return self.status(command, result, value[0] if command == c.OPERATE else 0)

    # --- clause 8: Tables 3 to 8 --------------------------------------------------------------

    def _write_id(self, session: "Session", value: bytes, command: int) -> "list[bytes]":
        lock = self._lock
        account = lock.accounts.find(value)
        slot = account.slot if account else None
        if slot is None:
            if lock.accounts.was_removed(value):
                return self.status(command, c.BAD_VALUE)
            slot = lock.accounts.add(value)
            if slot is None:
                return self._refuse(command, value, c.FULL)
            lock.record(c.EV_ACCOUNT, session.slot, c.SRC_BLUETOOTH, slot)
        return self._reply(command, c.DONE, slot, self._state())

    def _authenticate(self, session: "Session", value: bytes, command: int) -> "list[bytes]":
        lock = self._lock
        if session.slot == c.SLOT_CONTROLLER:
            # It has no account and sends no 02; its session goes on
            return self._refuse(command, value, c.NO_RIGHT)
        account = lock.accounts.get(session.slot)
        if account is None or not same(account.account_id, value):
            session.ended = c.UNKNOWN_ACCOUNT
            lock.access.denied(session.slot, c.SRC_BLUETOOTH, session.ended)
            return self._closed(command, session.ended)
        session.authenticated = True
        return self._reply(
            command, c.DONE, account.slot, account.rights, account.uses, int(lock.clock.trusted)
        )

    def _operate(self, session: "Session", value: bytes, command: int) -> "list[bytes]":
        operation = value[0]
        result = self._lock.access.operate(operation, session.slot, c.SRC_BLUETOOTH)
        return self.status(command, result, operation)

    # --- accounts -----------------------------------------------------------------------------

    def _account(self, slot: int) -> "Account | int":
        """The account in a slot, or the result that refuses the slot."""
        if slot >= self._lock.accounts.slots:
            return c.BAD_VALUE
        return self._lock.accounts.get(slot) or c.UNKNOWN_ACCOUNT

    def _save(self, session: "Session", account: "Account", command: int) -> "list[bytes]":
        if self._lock.accounts.save(account):
            self._lock.record(c.EV_ACCOUNT, session.slot, c.SRC_BLUETOOTH, account.slot)
        return self.status(command, c.DONE)

    def _remove_id(self, session: "Session", value: bytes, command: int) -> "list[bytes]":
        account = self._lock.accounts.find(value)
        if account is None:
            return self._refuse(command, value, c.UNKNOWN_ACCOUNT)
        self._lock.remove_account(account, session)
        return self._refuse(command, value, c.DONE)

    def _set_rights(self, session: "Session", value: bytes, command: int) -> "list[bytes]":
        account = self._account(value[0])
        if isinstance(account, int):
            return self.status(command, account)
        account.rights = value[1]
        if value[2] != c.USES_KEEP:
            account.uses = value[2]
        return self._save(session, account, command)

    def _set_validity(self, session: "Session", value: bytes, command: int) -> "list[bytes]":
        account = self._account(value[0])
        if isinstance(account, int):
            return self.status(command, account)
        account.not_before = int.from_bytes(value[1:5], "big")
        account.not_after = int.from_bytes(value[5:9], "big")
        if 0 < account.not_after <= account.not_before:
            return self.status(command, c.BAD_VALUE)
        return self._save(session, account, command)

    def _set_hours(self, session: "Session", value: bytes, command: int) -> "list[bytes]":
        account = self._account(value[0])
        if isinstance(account, int):
            return self.status(command, account)
        account.days = value[1]
        account.first = int.from_bytes(value[2:4], "big")
        account.last = int.from_bytes(value[4:6], "big")
        if account.days > 0x7F or account.first >= 1440 or account.last >= 1440:
            return self.status(command, c.BAD_VALUE)
        return self._save(session, account, command)

    def _set_pin(self, session: "Session", value: bytes, command: int) -> "list[bytes]":
        lock = self._lock
        if not lock.capabilities & c.CAP_KEYPAD:
            return self.status(command, c.NOT_SUPPORTED)
        account = self._account(value[0])
        if isinstance(account, int):
            return self.status(command, account)
        count = value[1]
        if count == 0:
            account.pin = b""
            return self._save(session, account, command)
        text = value[2:9].hex()
        digits = text[:count]
        if not 4 <= count <= 14 or "f" * (14 - count) != text[count:] or not digits.isdigit():
            return self.status(command, c.BAD_VALUE)
        lock_key = lock.owner.lock_key or b""
        holder = lock.accounts.holder(lock_key, digits)
        if holder is not None and holder.slot != account.slot:
            return self.status(command, c.BAD_VALUE)
        if holder is None:
            account.pin = lock.accounts.pin(lock_key, digits, lock.ports.random(8))
        return self._save(session, account, command)

    def _get_digest(self, _session: "Session", _value: bytes, command: int) -> "list[bytes]":
        return self._reply(command, c.DONE, self._lock.accounts.digest())

    def _read_account(self, _session: "Session", value: bytes, command: int) -> "list[bytes]":
        account = self._account(value[0])
        if isinstance(account, int):
            if account == c.BAD_VALUE:
                return self.status(command, account)
            return self._refuse(command, value, account)
        raw = account.pack()
        now = self._lock.clock.now()
        answers = self._reply(command, c.DONE, account.slot, raw[9:11], raw[19:24])
        answers.append(encode(command, c.RECORD, account.account_id, now))
        pin_set = bytes((bool(account.pin),))
        answers.append(encode(command, c.RECORD, raw[11:19] + pin_set, now))
        return answers

    # --- time, options and the rest -----------------------------------------------------------

    def _set_time(self, session: "Session", value: bytes, command: int) -> "list[bytes]":
        lock = self._lock
        clock = lock.clock
        unix = int.from_bytes(value[:4], "big")
        offset = signed(value[4:6])
        force = value[6]
        before = clock.now()
        offset_before = clock.offset(before)
        far = clock.trusted and abs(unix - before) > c.CLOCK_STEP_S
        if force > 1 or (far and not force) or not clock.set(unix, offset):
            return self.status(command, c.BAD_VALUE)
        if (before, offset_before) != (unix, offset):
            lock.record(c.EV_CLOCK_SET, session.slot, c.SRC_BLUETOOTH, 0, before)
        return self.status(command, c.DONE)

    def _set_next_offset(self, _session: "Session", value: bytes, command: int) -> "list[bytes]":
        change = int.from_bytes(value[:4], "big")
        good = self._lock.clock.set_next_offset(change, signed(value[4:6]))
        return self.status(command, c.DONE if good else c.BAD_VALUE)

    def _set_option(self, session: "Session", value: bytes, command: int) -> "list[bytes]":
        lock = self._lock
        option = value[0]
        number = int.from_bytes(value[1:5], "big")
        result = lock.options.refused(option)
        if result == c.DONE and not lock.options.allowed(option, number):
            result = c.BAD_VALUE
        if result == c.DONE and number != lock.options.get(option):
            lock.options.set(option, number)
            lock.record(c.EV_OPTION, session.slot, c.SRC_BLUETOOTH, option)
            lock.movement.arm(anew=True)
        return self.status(command, result)

    def _get_option(self, _session: "Session", value: bytes, command: int) -> "list[bytes]":
        refused = self._lock.options.refused(value[0])
        if refused:
            return self.status(command, refused)
        number = self._lock.options.get(value[0])
        return self._reply(command, c.DONE, value[0], number.to_bytes(4, "big"))

    def _get_status(self, _session: "Session", _value: bytes, command: int) -> "list[bytes]":
        return self.status(command, c.DONE)

    def _get_log(self, session: "Session", value: bytes, command: int) -> "list[bytes]":
        lock = self._lock
        if not 1 <= value[3] <= c.LOG_RECORDS_PER_ANSWER:
            return self.status(command, c.BAD_VALUE)
        room = min(value[3], self._room - 1)
        if room < 1:
            return self._refuse(command, value, c.BUSY)
        after = int.from_bytes(value[:3], "big")
        records = [unpack(raw) for raw in lock.log.read(after, room)]
        newest = unpack(lock.log.newest() or bytes(18))[3]
        if session.slot == c.SLOT_CONTROLLER:
            reached = records[-1][3] if records else after
            # With the newest record it has all there is to know up to now
            lock.accounts.log_was_read(lock.counter if reached >= newest else reached)
        head = (lock.log.oldest().to_bytes(3, "big"), newest.to_bytes(3, "big"))
        answers = self._reply(command, c.DONE, len(records), *head)
        for event, slot, source, counter, bolt, door, detail, when in records:
            head_of_record = bytes((event, lock.accounts.shown_slot(slot, session.slot), source))
            body = head_of_record + counter.to_bytes(3, "big") + bytes((bolt, door, detail))
            answers.append(encode(command, c.RECORD, body, when))
        return answers

    def _factory_reset(self, session: "Session", value: bytes, command: int) -> "list[bytes]":
        if value != c.RESET_WORD:
            return self.status(command, c.BAD_VALUE)
        self._lock.factory_reset()
        session.ended = c.UNKNOWN_ACCOUNT
        return self.status(command, c.DONE)

    def _get_advert_key(self, _session: "Session", _value: bytes, command: int) -> "list[bytes]":
        lock = self._lock
        key = lock.owner.advertisement_key or b""
        now = lock.clock.now()
        answers = self._reply(command, c.DONE, lock.owner.epoch.to_bytes(2, "big"))
        answers.append(encode(command, c.RECORD, b"\x00" + key[:8], now))
        answers.append(encode(command, c.RECORD, b"\x01" + key[8:], now))
        return answers

    def _identify(self, _session: "Session", _value: bytes, command: int) -> "list[bytes]":
        self._lock.ports.indicator.show("identify")
        return self.status(command, c.DONE)
