"""What a server says, read strictly: whatever it is, it is a value within its bounds or Malformed."""

import base64
import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remote_pure import pure

wire = pure("wire")
identity = pure("identity")
pace = pure("pace")
Reader, Malformed, Message, Status = wire.Reader, wire.Malformed, wire.Message, wire.Status

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
DEVICE = "C4112233445F"
ID = "0123456789abcdef" * 2

READS: dict[str, tuple[Any, Any]] = {
    "text": (lambda read: read.text("x", 5, least=1), lambda v: isinstance(v, str) and 0 < len(v) < 6),
    "choice": (lambda read: read.choice("x", ("a", "b")), lambda v: v in ("a", "b")),
    "hex_id": (
        lambda read: read.hex_id("x"),
        lambda v: len(v) == 32 and set(v) <= set("0123456789abcdef"),
    ),
    "device": (
        lambda read: read.device("x"),
        lambda v: len(v) == 12 and set(v) <= set("0123456789ABCDEF"),
    ),
    "integer": (lambda read: read.integer("x", 1, 9), lambda v: type(v) is int and 1 <= v <= 9),
    "flag": (lambda read: read.flag("x"), lambda v: type(v) is bool),
    "binary": (lambda read: read.binary("x", 4), lambda v: type(v) is bytes and len(v) == 4),
    "short": (lambda read: read.binary("x", most=3), lambda v: type(v) is bytes and len(v) <= 3),
    "binaries": (
        lambda read: read.binaries("x", 2, 1),
        lambda v: len(v) <= 2 and all(len(one) == 1 for one in v),
    ),
    "hex_ids": (lambda read: read.hex_ids("x", 2), lambda v: len(v) <= 2),
    "devices": (lambda read: read.devices("x", 2), lambda v: len(v) <= 2),
    "child": (lambda read: read.child("x"), lambda v: isinstance(v, Reader)),
    "children": (lambda read: list(read.children("x", 2)), lambda v: len(v) <= 2),
}  # fmt: skip


def tried(take: Any, given_: object) -> tuple[Any, BaseException | None]:
    """Return what is read, or why nothing is."""
    try:
        return take(given_), None
    except Malformed as err:
        return None, err


@pytest.mark.parametrize("kind", READS)
@given(value=JSON)
def test_a_field_is_within_its_bounds_or_malformed(kind: str, value: object) -> None:
    take, right = READS[kind]
    found, error = tried(take, Reader({"x": value}))
    if error is None:
        assert right(found)
    else:
        # It names the field, and repeats nothing of the value.
        assert str(error).startswith("x ")
        assert len(str(error)) < 60
    with pytest.raises(Malformed):
        take(Reader({}))


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("text", "äöü🚪", "äöü🚪"),
        ("choice", "b", "b"),
        ("hex_id", ID, ID),
        ("device", DEVICE, DEVICE),
        ("integer", 9, 9),
        ("flag", False, False),
        ("binary", "AAECAw==", bytes(range(4))),
        ("short", "", b""),
        ("binaries", ["AA==", "/w=="], [b"\x00", b"\xff"]),
        ("hex_ids", [ID], [ID]),
        ("devices", [DEVICE, DEVICE], [DEVICE, DEVICE]),
    ],
)
def test_what_is_right_is_taken(kind: str, value: object, found: object) -> None:
    assert READS[kind][0](Reader({"x": value})) == found


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", "a\nb"),
        ("text", "\x1b[2J"),
        ("text", "\x00"),
        ("text", "a\u2028b"),
        ("text", "\ud800"),
        ("text", 1),
        ("integer", True),
        ("integer", 5.0),
        ("integer", float("nan")),
        ("flag", 1),
        ("binary", "AAECAw"),  # without padding
        ("binary", "AAECAx=="),  # its last bits are not zero
        ("binary", "AAEC Aw=="),
        ("binary", "AAECA_=="),  # the alphabet of addresses
        ("hex_id", ID.upper()),
        ("hex_id", ID + "\n"),
        ("device", DEVICE.lower()),
        ("choice", ["a"]),
    ],
)
def test_what_looks_right_is_not(kind: str, value: object) -> None:
    with pytest.raises(Malformed):
        READS[kind][0](Reader({"x": value}))


def test_a_default_stands_for_what_is_missing_only() -> None:
    assert Reader({}).text("x", 5, default="d") == "d"
    assert Reader({}).integer("x", default=0) == 0
    assert Reader({}).flag("x", default=False) is False
    with pytest.raises(Malformed):
        Reader({"x": None}).text("x", 5, default="d")
    with pytest.raises(Malformed, match=r"a\.b is missing"):
        Reader({"a": {}}).child("a").text("b", 5)
    assert "x" not in Reader({"x": None})
    assert "x" in Reader({"x": 0})


@given(text=st.text() | JSON.map(json.dumps))
def test_any_text_is_a_message_or_malformed(text: str) -> None:
    message, error = tried(Message.of, text)
    if error is None:
        assert isinstance(message.body, dict)
    else:
        # Nothing that came stands in the error, nor in what it came from.
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None


@given(
    kind=st.from_regex(r"[a-z][a-z_]{0,9}(\.[a-z_]{1,9}){0,3}", fullmatch=True).filter(
        lambda kind: len(kind) <= 40
    ),
    lock=st.sampled_from(["", DEVICE]),
    body=st.dictionaries(st.text(string.ascii_letters), st.integers() | st.text(), max_size=4),
)
def test_a_message_is_read_as_it_was_written(kind: str, lock: str, body: dict[str, Any]) -> None:
    message = Message(wire.ulid(1_790_000_000_000), kind, lock=lock, body=body)
    assert Message.of(message.as_text()) == message
    assert str(body) == "{}" or str(body) not in repr(message)


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "x", "type": "a", "body": {"a": 1, "a": 2}}',
        '{"id": "x", "type": "a", "body": {"a": NaN}}',
        '{"id": "x", "type": "a", "body": {"a": -Infinity}}',
        '{"id": "x", "type": "a"} ' + " " * wire.MESSAGE_MAX,
        '{"id": "x", "type": "a", "seq": true}',
        '{"id": "x", "type": "a", "seq": 9223372036854775808}',
        '{"id": "", "type": "a"}',
        '{"id": "x", "type": "a..b"}',
        '{"id": "x", "type": "a", "lock": "c4112233445f"}',
        '{"id": "x", "type": "a", "body": null}',
        '{"id": "x", "type": "a", "body": ' + "[" * 13 + "]" * 13 + "}",
    ],
)
def test_case_38_such_messages_are_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        Message.of(text)


@given(number=JSON)
def test_a_status_is_one_of_table_1_and_never_done(number: object) -> None:
    found = Status.of(number)
    assert found is not Status.DONE
    if type(number) is int and number in set(Status) - {0}:
        assert found == number
    else:
        assert found is Status.FAILED


def test_ulids_are_those_of_the_interface() -> None:
    made = wire.ulid(1_790_000_000_000)
    assert len(made) == 26
    assert made[0] in "01234567"
    assert wire.ulid(2**48 - 1)[:10] == "7ZZZZZZZZZ"
    assert wire.ulid(0) != wire.ulid(0)


# --- codes and fingerprints ---


@given(code=st.binary(min_size=10, max_size=10))
def test_a_code_is_read_as_people_write_it(code: bytes) -> None:
    text = identity.write_code(code)
    assert len(text) == 19
    sloppy = text.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert identity.read_code(text) == identity.read_code(f" {sloppy}\n") == code


@given(text=st.text())
def test_what_is_no_code_is_refused(text: str) -> None:
    try:
        code = identity.read_code(text)
    except identity.WrongCode:
        return
    assert identity.read_code(identity.write_code(code)) == code


def test_the_fingerprint_is_the_servers() -> None:
    # The example of the server's own interface.
    key = base64.b64decode("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    assert identity.fingerprint(key) == "21fe 31df a154 a261 626b"


def test_a_signature_is_of_one_key_and_one_text() -> None:
    private, other = identity.new_private_key(), identity.new_private_key()
    public = identity.public_key(private)
    signature = identity.sign(private, b"text")
    assert identity.verified(public, b"text", signature)
    assert not identity.verified(public, b"texts", signature)
    assert not identity.verified(identity.public_key(other), b"text", signature)
    assert not identity.verified(public[:-1], b"text", signature)
    assert not identity.verified(public, b"text", b"")
    made = identity.GatewayIdentity("ab" * 16, "cd" * 16, public, private)
    assert repr(private) not in repr(made)


# --- pace ---


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 10, allow_nan=False), st.floats(0.5, 30)), min_size=1, max_size=80
    )
)
def test_a_bucket_never_gives_more_than_it_may(steps: list[tuple[float, float]]) -> None:
    rate, burst = 5.0, 20.0
    bucket = pace.Bucket(rate, burst)
    now = taken = largest = 0.0
    for pause, units in steps:
        now += pause
        wait = bucket.take(now, units)
        if wait:
            # Who waits so long gets it.
            now += wait + 1e-9
            assert bucket.take(now, units) == 0
        taken += units
        largest = max(largest, units)
        assert taken <= burst + now * rate + max(0.0, largest - burst) * len(steps) + 1e-6
