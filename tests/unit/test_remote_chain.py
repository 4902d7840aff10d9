"""The server's record, followed: one that only grows is believed, any other is not."""

import hashlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from remote_pure import pure

chain = pure("chain")
identity = pure("identity")
wire = pure("wire")

SITE = bytes(range(16))
PRIVATE = identity.new_private_key()
KEY = identity.public_key(PRIVATE)
GENERATION = 7


def made(
    first: int, entries: list[bytes], before: bytes, *, generation: int = GENERATION, **changed: Any
) -> Any:
    """Return a checkpoint that the server signed."""
    fields: dict[str, Any] = {
        "first": first, "last": first + len(entries) - 1, "before": before, "head": b"", "time": 1,
        "generation": generation, "entries": tuple(entries), "signature": b"",
    }  # fmt: skip
    fields["head"] = chain.Checkpoint(**fields).leads_on(SITE)
    fields |= changed
    signature = identity.sign(PRIVATE, chain.Checkpoint(**fields).signed_bytes(SITE))
    return chain.Checkpoint(**fields | {"signature": signature})


def follow(own: Any, checkpoint: Any, earliest: int = 0) -> Any:
    """Judge it as a home does whose link has GENERATION."""
    return chain.follow(SITE, KEY, own, (earliest, GENERATION), checkpoint)


class Server(RuleBasedStateMachine):
    """An honest server that writes and signs, and a home that hears of it late, twice, or not at all."""

    @initialize(cut=st.integers(0, 3))
    def begin(self, cut: int) -> None:
        self.entries: list[bytes] = []
        self.heads = [chain.genesis(SITE)]
        self.signed: list[Any] = []
        self.own: Any = None
        for _ in range(cut):
            self.write(2)
            self.sign()

    @rule(number=st.integers(1, 5))
    def write(self, number: int) -> None:
        for _ in range(number):
            entry = hashlib.sha256(f"entry {len(self.entries)}".encode()).digest()
            self.entries.append(entry)
            index = len(self.entries).to_bytes(8)
            head = hashlib.sha256(b"IGRS audit 1" + SITE + index + self.heads[-1] + entry).digest()
            self.heads.append(head)

    @rule()
    def sign(self) -> None:
        last = self.signed[-1].last if self.signed else 0
        if last < len(self.entries):
            self.signed.append(made(last + 1, self.entries[last:], self.heads[last]))

    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        """Any checkpoint that was ever signed comes, in any order."""
        if not self.signed:
            return
        checkpoint = data.draw(st.sampled_from(self.signed))
        verdict = follow(self.own, checkpoint)
        assert verdict.problem is None
        index = 0 if self.own is None else self.own[0]
        assert verdict.gap == (self.own is not None and checkpoint.first > index + 1)
        if verdict.head is not None:
            assert verdict.head[0] > index
            self.own = verdict.head

    @rule(data=st.data())
    def deny(self, data: st.DataObject) -> None:
        """A dishonest one signs another record in the place of any part: it is never taken."""
        if self.own is None:
            return
        index = self.own[0]
        first = data.draw(st.integers(1, index + 1))
        count = data.draw(st.integers(max(1, index - first + 1), index - first + 4))
        entries = [hashlib.sha256(f"other {number}".encode()).digest() for number in range(count)]
        before = data.draw(st.sampled_from([self.heads[first - 1], bytes(32)]))
        verdict = follow(self.own, made(first, entries, before))
        if first == index + 1 and before == self.own[1]:
            assert verdict.head is not None  # the future is the server's
        else:
            assert verdict.problem is chain.Problem.FORKED
            assert verdict.head is None

    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        """Any bit of a signed checkpoint that is another one."""
        if not self.signed:
            return
        checkpoint = data.draw(st.sampled_from(self.signed))
        body = checkpoint.as_proof() | {"entries": [wire.b64(one) for one in checkpoint.entries]}
        name = data.draw(st.sampled_from(sorted(body)))
        value = body[name]
        if isinstance(value, int):
            body[name] = value + data.draw(st.sampled_from([-1, 1]))
        elif isinstance(value, str):
            body[name] = flipped(value, data)
        else:
            at = data.draw(st.integers(0, len(value) - 1))
            body[name] = [*value[:at], flipped(value[at], data), *value[at + 1 :]]
        try:
            read = chain.Checkpoint.of(body)
        except wire.Malformed:
            return
        verdict = follow(self.own, read)
        assert verdict.problem is not None
        assert verdict.head is None

    @invariant()
    def on_the_record(self) -> None:
        """What the home holds is what the server wrote, or has signed as its future."""
        if getattr(self, "own", None) is not None and self.own[0] < len(self.heads):
            assert self.own[1] == self.heads[self.own[0]]


def flipped(text: str, data: st.DataObject) -> str:
    """Flip a bit of a binary value."""
    raw = bytearray(wire.unb64(text))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    return str(wire.b64(bytes(raw)))


TestServer = Server.TestCase
TestServer.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_the_very_first_entry_begins_at_the_beginning() -> None:
    assert follow(None, made(1, [bytes(32)], chain.genesis(SITE))).head is not None
    assert follow(None, made(1, [bytes(32)], bytes(32))).problem is chain.Problem.FORKED
    # One that was cut by age begins later, and is believed.
    assert follow(None, made(5, [bytes(32)], bytes(32))).head is not None


def test_a_generation_only_rises_and_is_the_links_at_most() -> None:
    own = (3, bytes(32))
    for earliest, generation, right in ((7, 7, True), (6, 7, True), (7, 6, False), (0, 8, False)):
        verdict = follow(own, made(4, [bytes(32)], bytes(32), generation=generation), earliest)
        assert (verdict.head is not None) is right


@given(st.integers(0, 3), st.integers(-3, 3))
def test_a_checkpoint_has_the_entries_that_it_says(count: int, more: int) -> None:
    body = made(4, [bytes(32)] * 3, bytes(32)).as_proof()
    body |= {"entries": [wire.b64(bytes(32))] * count, "last": body["last"] + more}
    right = 4 + count - 1 == body["last"] and count > 0
    try:
        chain.Checkpoint.of(body)
    except wire.Malformed:
        assert not right
    else:
        assert right
