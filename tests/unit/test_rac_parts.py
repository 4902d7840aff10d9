"""A remote client's smaller parts: links, its memory, joining before a hostile server, its words, its errors' tables."""

import contextlib
import json
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igrs_rac import errors
from igrs_rac.conversation import Done
from igrs_rac.errors import (
    AddressError,
    BadAnswerError,
    BoxError,
    JoinGoneError,
    JoinPendingError,
    JoinRefusedError,
    JoinWrongError,
    LinkTextError,
    NoSuchLockError,
    NotJoinedError,
    RacError,
    SecondStepError,
    SignInError,
    StateFileError,
    UnreachableError,
    server_says,
    tables,
)
from igrs_rac.joining import go_on_joining, second_step, sign_in
from igrs_rac.keys import KeyRing
from igrs_rac.links import check_address, read_link
from igrs_rac.memory import ASKING, JOINED, OPENED, Memory
from igrs_rac.state import View, Why
from igrs_rac.texts import describe, describe_record, done_text
from igrs_rac.wire import CloseCode, Fields, MalformedError, Message, Status, b64, ulid, unb64
from ilp import Bolt, Door, ErrorCode, Event, LogRecord, Operation, Result, Source
from ilp.joining import JoinKeyPair, home_join_keys, is_done_proof, is_join_proof, seal_box
from rac import find
from rac_support import SITE, lock_keys

if TYPE_CHECKING:
    from pathlib import Path

    from igrs_rac.http import Http

INVITATION = "ad" * 16
SECRET = bytes(range(16))
LINK = f"https://app.example.org/#https://ras.example.org,{INVITATION},{SECRET.hex()}"
USER, JOIN = "02" * 16, "01" * 16

# --- links


def test_a_link_says_server_invitation_and_secret() -> None:
    link = read_link(LINK)
    assert (link.server, link.id, link.secret) == ("https://ras.example.org", INVITATION, SECRET)
    assert SECRET.hex() not in repr(link)
    assert read_link(LINK.replace("#https://", "#https%3A%2F%2F")) == link


@pytest.mark.parametrize(
    "text", ["", "#", LINK.replace("#", "?"), LINK[:-1], LINK + "00", LINK + ",", LINK.upper()]
)
def test_what_is_no_link(text: str) -> None:
    with pytest.raises((LinkTextError, AddressError)):
        read_link(text)


@given(st.text())
def test_any_text_is_a_link_or_is_refused(text: str) -> None:
    with pytest.raises((LinkTextError, AddressError)):
        read_link(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://ras.example.org", "http://127.0.0.1.example.org", "ftp://127.0.0.1", "https://", "https://a/b",
        "https://user:pass@a", "https://a?token=1", "https://a#b", "https://a:port", "//a", "https://ä.example", "https://a\n",
    ],
)  # fmt: skip
def test_what_is_no_address_to_trust(text: str) -> None:
    with pytest.raises(AddressError):
        check_address(text)


@pytest.mark.parametrize(
    "text",
    ["https://a.example:8443", "https://[2001:db8::1]:1", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost"],
)  # fmt: skip
def test_what_is_an_address(text: str) -> None:
    assert check_address(text) == text
    assert check_address(text + "/") == text


# --- the wire


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_reading_raises_one_error_only(text: str) -> None:
    with pytest.raises(MalformedError):
        Message.parse(text)
    with contextlib.suppress(MalformedError):
        assert b64(unb64(text)) == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "id": st.just("0" * 26) | json_values,
        "type": st.sampled_from(["keys", "ok"]) | json_values,
        "lock": st.just("C4112233445F") | json_values,
        "seq": st.integers(-1, 2**64) | json_values,
        "body": st.dictionaries(st.text(max_size=8), json_values) | json_values,
    },
)


@given(envelopes)
def test_an_envelope_is_typed_or_refused(fields: dict[str, Any]) -> None:
    try:
        message = Message.parse(json.dumps(fields))
    except MalformedError:
        return
    assert type(message.seq) is int
    assert 0 <= message.seq < 2**63
    assert message.lock in ("", "C4112233445F")
    assert type(fields["body"]) is dict


def test_a_ulid_has_its_time_in_front() -> None:
    assert ulid(0)[:10] == "0" * 10
    assert ulid(2**48 - 1)[:10] == "7ZZZZZZZZZ"
    assert ulid(5) != ulid(5)


# --- errors


def test_every_number_has_an_error_and_every_error_a_sentence_of_its_own() -> None:
    known = tables()
    assert set(known["status"]) == {status for status in Status if status}
    assert set(known["close"]) == set(CloseCode)
    assert set(known["error"]) == set(ErrorCode)
    assert set(known["result"]) == {result for result in Result if result > Result.ACCEPTED}
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, RacError)
    ]
    sentences = [kind().sentence for kind in kinds]
    assert len(kinds) > 60
    assert len(set(sentences)) == len(sentences)
    assert all(sentence[-1] == "." and sentence[0].isupper() for sentence in sentences)
    assert str(server_says(99)) == f"{errors.ServerSaysError().sentence} (99)"


# --- joining


class Home:
    """The home and an honest server before it, to be made hostile."""

    def __init__(self) -> None:
        self.pair = JoinKeyPair()
        self.calls: list[tuple[str, dict[str, Any], str]] = []
        self.changed: dict[str, Any] = {}
        self.errors: list[RacError] = []
        self.done = b""
        self.plain = {"person": "05" * 16, "name": "Ben", "locks": [lock_keys().as_json()]}

    async def call(self, method: str, path: str, body: Any = None, token: str = "") -> Fields:
        assert method == "POST"
        self.calls.append((path, body, token))
        if self.errors:
            raise self.errors.pop(0)
        if path == "/api/v1/joins":
            return Fields(self.joined(body))
        if path == f"/api/v1/joins/{JOIN}/done":
            self.done = unb64(body["done"])
            return Fields({})
        return Fields(
            {"user": USER, "session": "03" * 16, "second_step": "none", "methods": [], "token": "u_new", "device": "d"}
            | self.changed
        )  # fmt: skip

    def joined(self, body: dict[str, Any]) -> dict[str, Any]:
        client = unb64(body["client_public"])
        id_ = bytes.fromhex(body["invitation"])
        assert is_join_proof(SECRET, id_, client, unb64(body["proof"]))
        keys = home_join_keys(self.pair, client, SECRET, id_)
        self.done_key = keys.done
        return {
            "join": JOIN, "state": "answered", "site": SITE, "user": USER, "home_public": b64(self.pair.public),
            "box": b64(seal_box(keys, id_, json.dumps(self.plain).encode())), "token": "u_first",
        } | self.changed  # fmt: skip


def http(home: Home) -> Http:
    return home  # type: ignore[return-value]


@pytest.fixture
def home() -> Home:
    return Home()


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory.begin(tmp_path / "rac.json", read_link(LINK), "Ben's laptop")


async def test_a_join_stores_each_step_before_the_next(home: Home, memory: Memory) -> None:
    private = Memory.load(memory.path).private
    assert private == memory.private
    home.errors = [JoinGoneError()]
    with pytest.raises(JoinGoneError):
        await go_on_joining(memory, http(home))
    home.errors = [UnreachableError()]
    with pytest.raises(UnreachableError):
        await go_on_joining(memory, http(home))
    await go_on_joining(Memory.load(memory.path), http(home))
    joined = Memory.load(memory.path)
    assert joined.stage == JOINED
    assert is_done_proof(home.done_key, home.done)
    assert {call[1]["client_public"] for call in home.calls[:3]} == {
        b64(JoinKeyPair(private).public)
    }
    assert (joined.user, joined.site, joined.join, joined.token) == (USER, SITE, JOIN, "u_first")
    assert (joined.secret, joined.private, joined.done) == (b"", b"", b""), "of no use any more"
    assert joined.locks == {"7EBF64669818": lock_keys()}
    await go_on_joining(joined, http(home))
    assert len(home.calls) == 4, "what is done is not asked for again"


async def test_a_power_cut_before_done_was_told_says_it_again(home: Home, memory: Memory) -> None:
    original = home.call

    async def cut(method: str, path: str, body: Any = None, token: str = "") -> Fields:
        if path.endswith("/done"):
            raise UnreachableError
        return await original(method, path, body, token)

    home.call = cut  # type: ignore[method-assign]
    with pytest.raises(UnreachableError):
        await go_on_joining(memory, http(home))
    again = Memory.load(memory.path)
    assert again.stage == OPENED
    assert again.require_keys("7EBF64669818") == lock_keys()
    home.call = original  # type: ignore[method-assign]
    await go_on_joining(again, http(home))
    assert is_done_proof(home.done_key, home.done)
    assert [call[0] for call in home.calls] == ["/api/v1/joins", f"/api/v1/joins/{JOIN}/done"]


async def test_a_session_that_ended_before_done_is_made_again(home: Home, memory: Memory) -> None:
    calls = home.call
    ended = [SignInError()]

    async def once(method: str, path: str, body: Any = None, token: str = "") -> Fields:
        if path.endswith("/done") and ended:
            raise ended.pop()
        return await calls(method, path, body, token)

    home.call = once  # type: ignore[method-assign]
    await go_on_joining(memory, http(home))
    assert memory.stage == JOINED
    assert [call[0] for call in home.calls].count("/api/v1/joins") == 2


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"state": "pending"}, JoinPendingError),
        ({"state": "refused"}, JoinRefusedError),
        ({"state": "wrong"}, JoinWrongError),
        ({"state": "done"}, BadAnswerError),
        ({"state": None}, BadAnswerError),
        ({"site": "../../x"}, BadAnswerError),
        ({"token": 5}, BadAnswerError),
        ({"box": ""}, BoxError),
        ({"box": b64(bytes(100))}, BoxError),
        ({"home_public": b64(bytes(65))}, BoxError),
        ({"home_public": b64(JoinKeyPair().public)}, BoxError),
        ({"home_public": b64(bytes(64))}, BadAnswerError),
    ],
)
async def test_case_57_nothing_that_a_server_says_of_a_join_is_taken_for_the_homes(
    home: Home, memory: Memory, changed: dict[str, Any], error: type[RacError]
) -> None:
    home.changed = changed
    with pytest.raises(error):
        await go_on_joining(memory, http(home))
    kept = Memory.load(memory.path)
    assert kept.stage == ASKING
    assert kept.locks == {}
    with pytest.raises(NotJoinedError):
        kept.require_keys("7EBF64669818")
    home.changed = {}
    await go_on_joining(kept, http(home))
    assert kept.joined, "the same key asks again"


@pytest.mark.parametrize(
    "plain",
    [
        {"locks": []},
        {"person": "05" * 16, "locks": [{}]},
        {"person": "05" * 16, "locks": [lock_keys().as_json()] * 2},
        {"person": "05" * 16, "locks": [lock_keys().as_json() | {"key": b64(bytes(15))}]},
        {"person": "05" * 16, "locks": [lock_keys().as_json() | {"slot": 255}]},
        {"person": "05" * 16, "locks": [lock_keys().as_json() | {"account": "a" * 11}]},
    ],
)
def test_a_box_that_says_something_else_is_refused(plain: dict[str, Any]) -> None:
    with pytest.raises(BoxError):
        KeyRing.read(json.dumps(plain).encode())


async def test_signing_in_and_the_second_step(home: Home, memory: Memory) -> None:
    await go_on_joining(memory, http(home))
    home.changed = {"second_step": "needed", "methods": ["totp"], "token": "u_half"}
    assert await sign_in(memory, http(home), "ben@example.org", "a password") == ["totp"]
    with pytest.raises(SecondStepError):
        await second_step(memory, http(home), "totp", "123456")
    home.changed = {"second_step": "done", "token": "u_full"}
    await second_step(memory, http(home), "totp", "123456")
    assert home.calls[-1] == ("/api/v1/sessions/step", {"method": "totp", "code": "123456", "device": "d"}, "u_half")  # fmt: skip
    assert Memory.load(memory.path).token == "u_full"
    home.changed = {"user": "09" * 16}
    with pytest.raises(BadAnswerError):
        await sign_in(memory, http(home), "anna@example.org", "a password")
    assert Memory.load(memory.path).token == "u_full", "another person's session is not kept"


# --- memory


def test_the_file_is_its_owners_alone(memory: Memory) -> None:
    assert stat.S_IMODE(memory.path.stat().st_mode) == 0o600
    for secret in (memory.secret, memory.private):
        assert secret.hex() not in repr(memory)
    memory.path.chmod(0o640)
    with pytest.raises(StateFileError, match="others may read"):
        Memory.load(memory.path)


async def test_everything_comes_back_from_the_file(home: Home, memory: Memory) -> None:
    assert Memory.load(memory.path) == memory
    await go_on_joining(memory, http(home))
    memory.floors = {"7EBF64669818": (1_900_000_000, 77)}
    memory.number, memory.generation, memory.seq = 9, 8, 7
    memory.save()
    assert Memory.load(memory.path) == memory
    assert Memory.begin(memory.path, read_link(LINK), "again") == memory


def test_a_file_of_another_invitation_is_left_alone(memory: Memory) -> None:
    other = replace(read_link(LINK), id="00" * 16)
    with pytest.raises(StateFileError, match="another invitation"):
        Memory.begin(memory.path, other, "Ben")
    assert Memory.load(memory.path) == memory


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"version": 2}', "\udcff"])
def test_a_damaged_file_is_said_to_be(memory: Memory, text: str) -> None:
    memory.path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(StateFileError, match="damaged"):
        Memory.load(memory.path)


def test_each_field_is_checked_when_read(memory: Memory) -> None:
    good = json.loads(memory.path.read_text())
    for name in good:
        wrongs: tuple[Any, ...] = (None, -1, "x" * 3000, [{}])
        for wrong in wrongs:
            memory.path.write_text(json.dumps(good | {name: wrong}))
            with pytest.raises(StateFileError):
                Memory.load(memory.path)
        memory.path.write_text(json.dumps({key: good[key] for key in good if key != name}))
        with pytest.raises(StateFileError):
            Memory.load(memory.path)


def test_a_missing_file_and_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(StateFileError, match="join first"):
        Memory.load(tmp_path / "none.json")
    with pytest.raises(StateFileError):
        Memory.begin(tmp_path / "none" / "rac.json", read_link(LINK), "Ben")


async def test_a_lock_is_found_by_name_and_number(home: Home, memory: Memory) -> None:
    await go_on_joining(memory, http(home))
    ((device, keys),) = memory.locks.items()
    assert find(memory, keys.name.upper()) == find(memory, device.lower()) == device
    with pytest.raises(NoSuchLockError, match="see the command locks"):
        find(memory, "Cellar")
    with pytest.raises(NoSuchLockError):
        memory.require_keys("C00000000000")
    memory.locks["C00000000000"] = replace(keys, device="C00000000000")
    with pytest.raises(NoSuchLockError, match="more than one"):
        find(memory, keys.name)
    memory.locks = {}
    with pytest.raises(NoSuchLockError, match="none yet, or lets you use none"):
        find(memory, keys.name)


# --- words


def test_nothing_is_said_more_surely_than_it_is_known() -> None:
    view = View(None, Bolt.LOCKED, Door.CLOSED, 87, False, False, 3, True, False)
    assert describe(view) == "locked, door closed, battery 87 % (seen 3 s ago)"
    assert describe(replace(view, sealed=True, age=0)) == "locked, door closed, battery 87 % (said by the lock 0 s ago)"  # fmt: skip
    old = replace(view, current=False, age=600, door=Door.NO_SENSOR, battery=None)
    assert describe(old) == "not current: it was locked (seen 10 min ago)"
    assert describe(replace(view, low_battery=True, tamper=True, age=9999), age=False) == "locked, door closed, battery 87 %, battery low, cover open"  # fmt: skip
    for why in Why:
        assert describe(View(why=why)).startswith("not known: ")
    assert done_text(Done(Operation.LOCK, Bolt.LOCKED, Door.OPEN, False)) == "locked, but the door is open"  # fmt: skip
    assert done_text(Done(Operation.UNLOCK, Bolt.UNLOCKED, Door.OPEN, True)) == "was unlocked already"  # fmt: skip


@pytest.mark.parametrize(
    ("source", "slot", "text"),
    [
        (Source.BLUETOOTH, 4, "unlocked by you"),
        (Source.BLUETOOTH, 5, "unlocked by slot 5"),
        (Source.BLUETOOTH, 255, "unlocked by the home"),
        (Source.BLUETOOTH, 254, "unlocked"),
        (Source.BY_HAND, 254, "unlocked by hand"),
    ],
)
def test_a_record_says_who_as_far_as_the_lock_says_it(source: Source, slot: int, text: str) -> None:
    record = LogRecord(Event.UNLOCKED, slot, source, 7, Bolt.UNLOCKED, Door.CLOSED, 0, 0)
    assert describe_record(record, 4) == text
