"""The whole client before a server that is hostile, and a real lock behind it: nothing false is shown, and every end is told."""

import asyncio
import contextlib
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from igrs_rac import relay
from igrs_rac.client import RemoteClient
from igrs_rac.errors import (
    AcceptedOnlyError,
    ClosedError,
    ConnectionLostError,
    ExpiredError,
    LockInUseError,
    LockRefusedError,
    NotSentError,
    RacError,
    RelayBrokenError,
    RelayExpiredError,
    RelayOverError,
    RelayUnknownError,
    ServerSaysError,
    SignInClosedError,
    SilentError,
    TooLongError,
    UnconfirmedError,
)
from igrs_rac.memory import Memory
from igrs_rac.state import Why
from igrs_rac.wire import CloseCode, Status
from ilp import Bolt, Event, Kind
from rac_server import UPDATE_KEY, FakeServer, make_keys, make_memory, of_epoch
from rac_support import SITE
from soft_lock import SoftLock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

UNLOCKED = 2


@contextlib.asynccontextmanager
async def connected(
    path: Path, *, travel: float = 0.0
) -> AsyncGenerator[tuple[RemoteClient, FakeServer, SoftLock]]:
    """A client, its server, and its lock."""
    lock = SoftLock(travel=travel)
    lock.pair()
    server = FakeServer(lock)
    memory = make_memory(path / "rac.json", make_keys(lock))
    memory.save()
    async with RemoteClient(memory, dial=server.dial, pause=lambda _attempt: 0) as client:
        await client.connected(10)
        yield client, server, lock
    lock.close()


async def settle(client: RemoteClient, ready: Any) -> None:
    """Wait until something is so, looking after each change."""
    changed = asyncio.Event()
    client.listen(lambda _device: changed.set())
    async with asyncio.timeout(10):
        while not ready():
            changed.clear()
            await changed.wait()


async def test_an_unlock_is_one_message_and_two_answers(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, server, lock):
        server.state(lock)
        await settle(client, lambda: client.lock(lock.device).view.bolt is Bolt.LOCKED)
        done = await client.unlock(lock.device)
        assert (done.bolt, done.already) == (Bolt.UNLOCKED, False)
        assert client.exchanges == 3
        assert len(server.of_type("relay.open")) == 1
        assert len(server.of_type("relay.end")) == 1
        assert server.of_type("relay.data") == []
        view = client.lock(lock.device).view
        assert (view.bolt, view.sealed, view.current) == (Bolt.UNLOCKED, True, True)
        assert Event.UNLOCKED in [record.event for record in await client.log(lock.device)]
        assert (await client.status(lock.device)).bolt is Bolt.UNLOCKED
        assert (await client.open(lock.device)).bolt is Bolt.OPEN
        assert (await client.lock_it(lock.device)).bolt is Bolt.LOCKED


@pytest.mark.parametrize("status", [status for status in Status if status])
async def test_each_refusal_of_the_server_has_its_error_and_is_no_certain_no(
    status: Status, tmp_path: Path
) -> None:
    async with connected(tmp_path) as (client, server, lock):
        server.refuses["relay.open"] = status
        with pytest.raises(ServerSaysError) as caught:
            await client.unlock(lock.device)
        assert type(caught.value) is ServerSaysError.of[status]
        assert not isinstance(caught.value, (LockRefusedError, NotSentError))
        assert client.lock(lock.device).view.why is Why.NOTHING_YET


@pytest.mark.parametrize(
    ("state", "code", "error"),
    [
        ("answered", 0, RelayOverError),
        ("expired", 30, RelayExpiredError),
        ("unknown", 34, RelayUnknownError),
        *(("failed", int(status), ServerSaysError.of[status]) for status in (1, 31, 32, 33, 35, 36, 41)),
    ],
)  # fmt: skip
async def test_each_end_of_a_relay_has_its_error(
    state: str, code: int, error: type[RacError], tmp_path: Path
) -> None:
    async with connected(tmp_path) as (client, server, lock):
        server.opened = lambda body: server.tell_state(body, state, code)
        with pytest.raises(RacError) as caught:
            await client.unlock(lock.device)
        assert type(caught.value) is error
        assert isinstance(caught.value, (UnconfirmedError, ServerSaysError))
        assert server.of_type("relay.end") == [], "it is over already"


async def test_case_57_a_server_that_says_it_is_done_is_not_believed(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, server, lock):
        server.state(lock)
        await settle(client, lambda: client.lock(lock.device).view.bolt)

        def pretend(body: dict[str, Any]) -> None:
            for name in ("accepted", "sent_to_gateway", "sent_to_lock"):
                server.tell_state(body, name)
            server.answer(body, bytes((Kind.SEALED,)) + bytes(48))
            server.answer(body, bytes((Kind.SEALED,)) + bytes(24))
            server.answer(body, bytes((Kind.PAIR_DONE, 0)))
            server.tell_state(body, "answered")

        server.opened = pretend
        with pytest.raises(RelayOverError):
            await client.unlock(lock.device)
        assert client.lock(lock.device).view.bolt is Bolt.LOCKED
        assert lock.operations == []


async def test_case_57_a_server_that_says_it_came_too_late_and_delivered_it_is_no_certain_no(
    tmp_path: Path,
) -> None:
    async with connected(tmp_path) as (client, server, lock):
        server.state(lock)
        await settle(client, lambda: client.lock(lock.device).view.bolt)

        def lie(body: dict[str, Any]) -> None:
            server.refuse(body["id"], Status.EXPIRED)
            server.relay(body)

        server.opened = lie
        with pytest.raises(ExpiredError) as caught:
            await client.unlock(lock.device)
        assert lock.operations == [UNLOCKED]
        assert "The server says" in str(caught.value)


async def test_accepted_is_not_done(tmp_path: Path) -> None:
    async with connected(tmp_path, travel=60) as (client, server, lock):

        def cut(message: bytes) -> list[bytes]:
            asyncio.get_running_loop().call_later(0.02, server.end, 1012)
            return [message]

        server.before_answer = cut
        with pytest.raises(AcceptedOnlyError):
            await client.unlock(lock.device)
        assert client.lock(lock.device).view.bolt is Bolt.UNLOCKING
        await client.connected(10)
        assert server.connections == 2


@pytest.mark.parametrize("longest", [False, True])
async def test_silence_and_length_have_their_limits(
    longest: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (relay.SILENCE, relay.LONGEST) == (15, 60)
    monkeypatch.setattr(f"igrs_rac.client.{'LONGEST' if longest else 'SILENCE'}", 0.02)
    async with connected(tmp_path) as (client, server, lock):
        server.opened = lambda _body: None
        with pytest.raises(TooLongError if longest else SilentError):
            await client.unlock(lock.device)
        assert len(server.of_type("relay.end")) == 1, "the home's radio is free again"


async def test_a_gap_breaks_a_relay(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, server, lock):
        server.opened = lambda body: server.answer(body, b"\x11" + bytes(8), n=1)
        with pytest.raises(RelayBrokenError):
            await client.unlock(lock.device)


async def test_answers_to_another_relay_or_lock_are_nobodys(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, server, lock):
        server.state(lock)
        await settle(client, lambda: client.lock(lock.device).view.bolt)

        def elsewhere(body: dict[str, Any]) -> None:
            for wrong in ({"site": "00" * 16}, {"lock": "0" * 12}, {"key": "0" * 26}):
                server.tell_state(body | wrong, "failed", 35)
                server.answer(body | wrong, b"\x1f\x03" + bytes(8), n=0)
            server.relay(body)

        server.opened = elsewhere
        assert (await client.unlock(lock.device)).bolt is Bolt.UNLOCKED


async def test_one_conversation_with_a_lock_at_a_time(tmp_path: Path) -> None:
    async with connected(tmp_path, travel=0.05) as (client, _server, lock):
        first = asyncio.create_task(client.unlock(lock.device))
        await asyncio.sleep(0)
        with pytest.raises(LockInUseError):
            await client.lock_it(lock.device)
        assert (await first).bolt is Bolt.UNLOCKED


async def test_case_57_a_connection_that_ends_ends_what_was_under_way_and_nothing_is_sent_again(
    tmp_path: Path,
) -> None:
    async with connected(tmp_path) as (client, server, lock):
        server.opened = lambda _body: server.end(1012)
        with pytest.raises(ConnectionLostError):
            await client.unlock(lock.device)
        await client.connected(10)
        assert len(server.of_type("relay.open")) == 1


@pytest.mark.parametrize("code", list(CloseCode))
async def test_each_close_code_has_its_error(code: CloseCode, tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, server, lock):
        seen: list[RacError] = []
        client.listen(lambda _device: seen.append(client.down) if client.down else None)
        server.end(code)
        await settle(client, lambda: seen)
        assert type(seen[0]) is ClosedError.of[code]
        if code in (CloseCode.SIGN_IN, CloseCode.REVOKED):
            await settle(client, lambda: client.over)
            with pytest.raises(ClosedError.of[code]):
                await client.unlock(lock.device)
            assert server.connections == 1, "trying again would change nothing"
        else:
            await client.connected(10)
            assert server.connections == 2


NASTY = [
    "", "{", "null", "[]", "1e999", "NaN", '"text"', "[" * 100_000, "9" * 5000,
    json.dumps({"type": "lock.state", "body": {}}),
    json.dumps({"id": "0" * 26, "type": "ok", "body": {"re": "0" * 26}}),
    json.dumps({"id": "0" * 26, "type": "hello", "body": {}}),
    json.dumps({"id": "0" * 26, "type": "../etc", "body": {}}),
    json.dumps({"id": "0" * 26, "type": "relay.data", "body": {"n": -1}}),
    json.dumps({"id": "0" * 26, "type": "lock.state", "lock": "C4112233445F\u0000", "body": {}}),
    json.dumps({"id": "0" * 26, "type": "keys", "seq": True, "body": {}}),
    json.dumps({"id": "0" * 26, "type": "keys", "seq": -4, "body": {}}),
    json.dumps({"id": "0" * 26, "type": "push.reset", "body": {"generation": "x", "seq": 1}}),
    json.dumps({"id": "0" * 26, "type": "account", "seq": 2**80, "body": {}}),
    json.dumps({"id": "0" * 26, "type": "refused", "body": {"re": "0" * 26, "status": 0, "message": ""}}),
]  # fmt: skip


async def test_case_38_what_cannot_be_read_is_dropped_and_nothing_else(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, server, lock):
        for text in NASTY:
            server.raw(text)
        server.state(lock)
        await settle(client, lambda: client.lock(lock.device).view.bolt is Bolt.LOCKED)
        assert server.connections == 1
        assert client.memory.seq == 3


async def test_case_57_another_locks_state_is_not_this_ones(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, server, lock):
        other = SoftLock()
        other.pair()
        server.state(other, device=lock.device)
        await settle(client, lambda: client.lock(lock.device).view.why is Why.UNREADABLE)
        server.state(lock)
        await settle(client, lambda: client.lock(lock.device).view.bolt is Bolt.LOCKED)
        other.close()


async def test_case_57_keys_are_the_homes_or_none(tmp_path: Path) -> None:
    """Repeated, reordered, another person's, another key's, and then the right ones, stored with their number."""
    async with connected(tmp_path) as (client, server, lock):
        keys = client.memory.locks[lock.device]
        server.keys(9, replace(keys, name="Ninth"), seq=4)
        server.keys(8, replace(keys, name="Eighth"), seq=5)
        server.keys(9, replace(keys, name="Again"), seq=6)
        server.keys(11, replace(keys, name="Stranger"), seq=7, person=bytes(16))
        server.keys(12, replace(keys, name="Forged"), seq=8, key=bytes(32))
        server.say("keys", {"site": SITE, "number": 13, "sealed": "AAAA"}, seq=9)
        server.keys(14, keys, keys, seq=10)  # a lock twice
        server.keys(15, replace(keys, name="Somebody"), seq=11, says=bytes(16))
        await settle(client, lambda: client.memory.seq == 11)
        assert client.refused_keys == 7
        assert client.memory.number == 9
        assert client.lock(lock.device).keys.name == "Ninth"
        again = Memory.load(client.memory.path)
        assert (again.number, again.seq, again.locks[lock.device].name) == (9, 11, "Ninth")


async def test_a_new_epoch_shows_nothing_until_its_keys_come(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, server, lock):
        server.state(lock)
        await settle(client, lambda: client.lock(lock.device).view.bolt)
        removed, *_ = lock.new_account()
        lock.remove_account(removed)
        server.state(lock)
        await settle(client, lambda: client.lock(lock.device).view.why is Why.UNREADABLE)
        server.keys(1, of_epoch(client.memory.locks[lock.device], lock), seq=4)
        await settle(client, lambda: client.lock(lock.device).view.bolt is Bolt.LOCKED)
        assert (await client.unlock(lock.device)).bolt is Bolt.UNLOCKED


async def test_a_lock_that_is_no_longer_in_the_keys_is_gone(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, server, lock):
        server.keys(1, seq=4)
        await settle(client, lambda: client.memory.number)
        assert client.locks == {}
        with pytest.raises(NotSentError):
            await client.unlock(lock.device)


async def test_case_57_a_membership_that_the_server_says_ended_keeps_its_keys(
    tmp_path: Path,
) -> None:
    async with connected(tmp_path) as (client, server, lock):
        server.say("account", {"what": "member_ended", "site": SITE}, seq=4)
        await settle(client, lambda: client.said_ended)
        assert lock.device in Memory.load(client.memory.path).locks


async def test_events_come_once_and_go_on_after_a_restart_of_both(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, server, lock):
        keys = client.memory.locks[lock.device]
        server.keys(4, replace(keys, name="New"), seq=4)
        await settle(client, lambda: client.memory.seq == 4)
        server.end(1012)
        await settle(client, lambda: server.connections == 2 and client.down is None)
        assert server.of_type("resume")[-1] == {"generation": 7, "seq": 4}
        server.keys(4, replace(keys, name="New"), seq=4)
        server.say("push.reset", {"generation": 8, "seq": 90})
        await settle(client, lambda: client.resets)
        assert client.refused_keys == 0, "an event with a number that was there is not looked at"
        memory = Memory.load(client.memory.path)
        assert (memory.generation, memory.seq) == (8, 90)
    async with RemoteClient(memory, dial=server.dial) as again:
        await again.connected(10)
        assert server.of_type("resume")[-1] == {"generation": 8, "seq": 90}


async def test_who_is_let_in_after_the_connection_was_made_follows_from_then_on(
    tmp_path: Path,
) -> None:
    async with connected(tmp_path) as (client, server, lock):
        server.active = False
        server.end(1012)
        await settle(client, lambda: server.connections == 2 and client.down is None)
        assert client.followed == frozenset()
        server.active = True
        server.say("invitation", {"site": SITE, "invitation": "ad" * 16, "state": "done"}, seq=4)
        await settle(client, lambda: client.followed == {lock.device})


async def test_case_36_a_flood_of_events_is_one_question_more(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, server, _lock):
        before = len(server.of_type("follow"))
        for seq in range(4, 104):
            server.say("account", {"what": "member_changed", "site": SITE}, seq=seq)
        await settle(client, lambda: client.memory.seq == 103)
        await settle(client, lambda: client._following and client._following.done())
        assert len(server.of_type("follow")) - before <= 2


async def test_a_session_that_ended_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    lock = SoftLock()
    lock.pair()
    server = FakeServer(lock)
    memory = make_memory(tmp_path / "rac.json", make_keys(lock))

    async def dial() -> FakeServer:
        made = await server.dial()
        made.end(4401)
        return made

    async with RemoteClient(memory, dial=dial) as client:
        with pytest.raises(SignInClosedError):
            await client.connected(10)
        assert client.over
    lock.close()


async def test_case_46_no_key_or_token_in_logs_and_texts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with connected(tmp_path) as (client, server, lock):
        for text in NASTY:
            server.raw(text)
        server.keys(12, seq=4, key=bytes(32))
        server.refuses["relay.open"] = Status.REFUSED_BY_HOME
        with pytest.raises(ServerSaysError) as caught:
            await client.unlock(lock.device)
        keys = client.memory.locks[lock.device]
        texts = [
            caplog.text,
            repr(client.memory),
            repr(keys),
            repr(caught.value),
            str(caught.value),
        ]
        for secret in (keys.key, keys.advertisement_key, UPDATE_KEY, b"u_token"):
            for text in texts:
                assert secret.hex() not in text
                assert repr(secret)[2:-1] not in text


async def test_a_lock_that_answers_with_control_characters_reaches_no_terminal(
    tmp_path: Path,
) -> None:
    async with connected(tmp_path) as (client, server, lock):
        server.opened = lambda body: server.refuse(body["id"], 35, "\x1b[2J" * 500)
        with pytest.raises(ServerSaysError) as caught:
            await client.unlock(lock.device)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300
