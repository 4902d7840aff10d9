"""An invitation's life, in any order and with every cut: one client, one box, and nobody without the proof."""

import asyncio
import copy
import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from ilp import JoinKeyPair, client_join_keys, done_proof, join_proof, open_box

# The integration's packages without their __init__, and what in them needs Home Assistant's parts.
_FOLDER = Path(__file__).resolve().parents[2] / "custom_components" / "igrs_lock"
for _package, _path in (
    ("igrs_lock_joins", _FOLDER),
    ("igrs_lock_joins.remote", _FOLDER / "remote"),
):
    sys.modules[_package] = ModuleType(_package)
    sys.modules[_package].__path__ = [str(_path)]
sys.modules["igrs_lock_joins.ilp"] = sys.modules["ilp"]
for _name in list(sys.modules):
    if _name.startswith("ilp."):
        sys.modules[f"igrs_lock_joins.{_name}"] = sys.modules[_name]
for _stub, _contents in (
    ("activity", {"plain_name": str.strip}),
    ("remote.keys", {"content": lambda *_: b'{"locks":[]}'}),
):
    _module = ModuleType(f"igrs_lock_joins.{_stub}")
    vars(_module).update(_contents)
    sys.modules[f"igrs_lock_joins.{_stub}"] = _module
joins: Any = importlib.import_module("igrs_lock_joins.remote.joins")
records: Any = importlib.import_module("igrs_lock_joins.remote.records")
wire: Any = importlib.import_module("igrs_lock_joins.remote.wire")

PAIRS = [JoinKeyPair(bytes([number] * 32)) for number in (1, 2)]
DAY = 24 * 3600 * 1000
CUTS = st.sampled_from(["", "", "", "save", "link", "gone"])


class Store:
    """A store whose disk may be full."""

    def __init__(self) -> None:
        self.invitations: dict[str, Any] = {}
        self.phones: dict[str, Any] = {}
        self.owners: set[str] = set()
        self.full = False
        self.disk: Any = ({}, {}, set())

    async def async_save(self, undo: Any = None) -> None:
        await asyncio.sleep(0)
        if self.full:
            if undo is not None:
                undo()
            raise wire.RemoteNotSaved
        self.disk = copy.deepcopy((self.invitations, self.phones, self.owners))

    def crash(self) -> None:
        self.invitations, self.phones, self.owners = copy.deepcopy(self.disk)


class JoinLife(RuleBasedStateMachine):
    """A home, two clients with the link or without, a server and a disk that fail as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_790_000_000_000
        self.store = Store()
        self.cut = ""
        self.boxes: dict[str, set[tuple[int, bytes]]] = {}
        self.proved: set[str] = set()
        self.secrets: dict[str, bytes] = {}
        self.outcome = ""
        people = SimpleNamespace(
            invitations=SimpleNamespace(now_ms=lambda: self.now),
            phones=SimpleNamespace(members=self._members, end=self._end),
            tell=lambda *_: None,
            note_told=lambda *_: None,
            async_changed=lambda: None,
            async_check_later=lambda: None,
            async_say=self._request,
        )
        gateway = SimpleNamespace(
            store=self.store,
            link=SimpleNamespace(async_request=self._request),
            home=SimpleNamespace(persons=lambda: {"anna": object()}),
        )
        self.joins = joins.Joins(gateway, people)

    def _members(self) -> dict[str, Any]:
        return {
            phone.user: SimpleNamespace(role="member", locks=frozenset())
            for phone in self.store.phones.values()
            if not phone.ended
        }

    def _end(self, phones: Any, now: int) -> bool:
        for phone in phones:
            phone.ended = now
        return True

    async def _request(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        if kind == "join.answer":
            self.outcome = body["outcome"]
            if self.outcome == "answered":
                # Whatever is told is on the disk: nobody else gets in after a crash.
                (item,) = [one for one in self.store.disk[0].values() if one.join == body["join"]]
                assert item.client
                number = [pair.public for pair in PAIRS].index(item.client)
                assert wire.b64(item.box) == body["box"]
                keys = client_join_keys(
                    PAIRS[number], wire.unb64(body["home_public"]), item.secret, bytes.fromhex(item.id)
                )  # fmt: skip
                assert open_box(keys, bytes.fromhex(item.id), item.box) == b'{"locks":[]}'
                self.boxes.setdefault(item.id, set()).add((number, item.box))
        if self.cut == "link":
            raise wire.LinkDown
        if self.cut == "gone":
            raise wire.Refused(wire.Status.NOT_FOUND)
        return {}

    def _run(self, work: Any, cut: str) -> None:
        self.cut, self.store.full, self.outcome = cut, cut == "save", ""
        try:
            asyncio.run(work)
        except wire.LinkDown, wire.RemoteNotSaved:
            pass
        finally:
            self.cut, self.store.full = "", False

    # --- what happens ---

    @rule()
    @precondition(lambda self: len(self.secrets) < 2)
    def invite(self) -> None:
        id_ = f"{len(self.secrets):032x}"
        secret = bytes([len(self.secrets) + 7] * 16)
        self.secrets[id_] = secret
        self.store.invitations[id_] = records.Invitation(
            id=id_, secret=secret, kind=records.InvitationKind.GUEST, person_id="anna", name="Anna",
            expires=self.now + 7 * DAY, created=self.now, person=bytes(16),
        )  # fmt: skip
        asyncio.run(self.store.async_save())

    @rule(which=st.integers(0, 1), client=st.integers(0, 1), has_link=st.booleans(), cut=CUTS)
    def ask(self, which: int, client: int, cut: str, *, has_link: bool) -> None:
        id_, public = f"{which:032x}", PAIRS[client].public
        secret = self.secrets.get(id_, bytes(16)) if has_link else bytes(16)
        body = {
            "join": f"{which:016x}{client:016x}",
            "invitation": id_,
            "client_public": wire.b64(public),
            "proof": wire.b64(join_proof(secret, bytes.fromhex(id_), public)),
            "name": "phone",
        }
        item = copy.deepcopy(self.store.invitations.get(id_))
        self._run(self.joins.async_request(wire.Reader(body)), cut)
        if item is None:
            assert self.outcome == "refused"
        elif not has_link:
            assert self.outcome in ("wrong", "")  # "": the count of wrong ones could not be stored
            assert self.store.invitations[id_].client == item.client
        elif self.outcome == "answered":
            assert item.client in (b"", public)
            assert item.client or item.expires > self.now

    @rule(which=st.integers(0, 1), client=st.integers(0, 1), right=st.booleans(), cut=CUTS)
    def say_done(self, which: int, client: int, cut: str, *, right: bool) -> None:
        id_ = f"{which:032x}"
        if (item := self.store.invitations.get(id_)) is None:
            return
        proof = bytes(32)
        if right and item.client == PAIRS[client].public and item.home_public:
            keys = client_join_keys(
                PAIRS[client], item.home_public, item.secret, bytes.fromhex(id_)
            )
            proof = done_proof(keys.done)
            self.proved.add(item.join)
        join = f"{which:016x}{client:016x}"
        body = {"invitation": id_, "join": join, "user": join[::-1], "done": wire.b64(proof)}
        self._run(self.joins.async_done(wire.Reader(body)), cut)

    @rule()
    def crash(self) -> None:
        self.store.crash()

    @rule(days=st.integers(1, 8))
    def wait(self, days: int) -> None:
        self.now += days * DAY

    @rule(which=st.integers(0, 1))
    def withdraw(self, which: int) -> None:
        self.store.invitations.pop(f"{which:032x}", None)
        asyncio.run(self.store.async_save())

    # --- what is always so ---

    @invariant()
    def one_client_and_one_box(self) -> None:
        for answers in self.boxes.values():
            assert len(answers) == 1

    @invariant()
    def who_was_taken_is_known(self) -> None:
        for item in self.store.invitations.values():
            if item.state is not records.InvitationState.OPEN:
                assert item.client
                assert item.join

    @invariant()
    def no_phone_without_its_proof(self) -> None:
        assert self.store.phones.keys() <= self.proved

    @invariant()
    def what_is_used_up_keeps_no_keys(self) -> None:
        for item in self.store.invitations.values():
            if item.state is records.InvitationState.DONE:
                assert (item.box, item.done_key, item.update_key) == (b"", b"", b"")
            if item.state is records.InvitationState.OPEN:
                assert (item.client, item.box, item.join, item.user) == (b"", b"", "", "")


TestJoinLife = JoinLife.TestCase
TestJoinLife.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
