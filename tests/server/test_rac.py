"""The remote client, the real server, and a home with a real lock core: from the invitation to the bolt."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pyotp
import pytest
import rac
from certificate import make_certificate
from conftest import base_of, make_settings
from igrs_rac import Memory, RemoteClient, read_link
from igrs_rac.errors import (
    CertificateError,
    ClosedError,
    GatewayOfflineError,
    JoinGoneError,
    JoinPendingError,
    JoinRefusedError,
    NoRightRefusedError,
    NotSentError,
    RacError,
    SignInClosedError,
    UnconfirmedError,
)
from igrs_rac.http import Http
from igrs_rac.joining import go_on_joining
from igrs_ras.admin import run
from igrs_ras.api.route import Listener
from ilp import Bolt, Event, Right
from phone import Phone
from process import Server
from soft_home import RIGHTS, SoftHome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from conftest import Database, MovedClock
    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings

EMAIL, PASSWORD = "olga@example.org", "correct horse battery staple"
UNLOCK = 2

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@contextlib.asynccontextmanager
async def at_home(ras: Ras, **given: Any) -> AsyncGenerator[SoftHome]:
    """A home with a lock, linked to a server."""
    made = await run(ras, "gateway code", {"new_site": "Home"})
    home = SoftHome(base_of(ras), now=ras.clock.now_ms, travel=0.01, **given)
    async with home.running(made["code"]):
        yield home


async def memory_of(home: SoftHome, file: Path) -> Memory:
    return Memory.begin(file, read_link(await home.link()), "Ben")


def client_of(memory: Memory, **given: Any) -> RemoteClient:
    return RemoteClient(memory, pause=lambda _attempt: 0.01, **given)


async def until(client: RemoteClient, ready: Callable[[], Any]) -> None:
    """Wait until something is so, looking after each change."""
    changed = asyncio.Event()
    client.listen(lambda _device: changed.set())
    async with asyncio.timeout(10):
        while not ready():
            changed.clear()
            await changed.wait()


async def test_from_an_invitation_to_the_bolt(
    ras: Ras, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with at_home(ras) as home:
        device = home.lock.device
        memory = await memory_of(home, tmp_path / "rac.json")
        async with client_of(memory) as client:
            await client.joined(10)
            await client.connected(10)
            lock = client.lock(device)
            await until(client, lambda: lock.view.bolt is Bolt.LOCKED)
            carried = home.carried
            assert await client.prewarm(device)
            assert not await client.prewarm(device), "once at a time"
            done = await client.unlock(device)
            assert (done.bolt, done.already, home.lock.core.bolt) == (Bolt.UNLOCKED, False, 2)
            assert client.exchanges == 3, "one message there, the answer and the event back"
            assert home.carried - carried == 3
            assert await client.online() == {device: True}
            # Turned by hand: seen without asking.
            home.lock.turn(1)
            await until(client, lambda: lock.view.bolt is Bolt.LOCKED and not lock.view.sealed)
            assert (await client.open(device)).bolt is Bolt.OPEN
            assert (await client.status(device)).bolt is Bolt.OPEN
            events = [record.event for record in await client.log(device)]
            assert events[-3:] == [Event.UNLOCKED, Event.LOCKED, Event.OPENED]
            capsys.readouterr()
            watching = asyncio.create_task(rac.watch(client, 3))
            assert await rac.operate(client, "front door", "lock", warm=False) == rac.DONE
            assert await watching == rac.DONE
            out = capsys.readouterr().out.splitlines()
            assert out[0].startswith("Front door: open, door closed, battery 87 % (")
            assert "Front door: locked" in out
            home.lock.jams = True
            with pytest.raises(RacError, match="jammed"):
                await client.unlock(device)


async def test_a_home_that_is_offline_answers_later_and_a_used_link_is_refused(
    ras: Ras, tmp_path: Path
) -> None:
    async with at_home(ras) as home:
        home.auto_join = False
        link = read_link(await home.link())
        memory = Memory.begin(tmp_path / "rac.json", link, "Ben")
        http = Http(memory.url)
        with pytest.raises(JoinPendingError):
            await go_on_joining(memory, http)
        request = await home.event("join.request")
        home.auto_join = True
        await home.answer_join(request)
        again = Memory.load(tmp_path / "rac.json")
        await go_on_joining(again, http)
        assert again.joined
        await home.until(lambda: home.members)
        other = Memory.begin(tmp_path / "thief.json", link, "Thief")
        async with client_of(other) as thief:
            with pytest.raises(JoinRefusedError):
                await thief.joined(10)
            assert thief.over
        gone = Memory.begin(
            tmp_path / "gone.json", read_link(home.link_of(await home.invite())), "Ben"
        )
        await home.withdraw(gone.invitation)
        with pytest.raises(JoinGoneError):
            await go_on_joining(gone, http)
        await http.close()


async def test_case_60_who_was_removed_is_out_and_the_others_get_new_keys(
    ras: Ras, tmp_path: Path
) -> None:
    async with at_home(ras) as home:
        device = home.lock.device
        async with (
            client_of(await memory_of(home, tmp_path / "ben.json")) as ben,
            client_of(await memory_of(home, tmp_path / "eva.json")) as eva,
        ):
            for client in (ben, eva):
                await client.joined(10)
                await client.connected(10)
            await home.until(lambda: len(home.members) == 2)
            await until(eva, lambda: eva.lock(device).view.bolt)
            before = eva.memory.locks[device]
            await home.remove_person(ben.memory.person.hex())
            await until(eva, lambda: eva.memory.number == 1 and eva.lock(device).view.bolt)
            assert eva.memory.locks[device].epoch == before.epoch + 1
            assert eva.memory.locks[device].advertisement_key != before.advertisement_key
            await until(ben, lambda: ben.over)
            with pytest.raises(ClosedError):
                await ben.unlock(device)
            assert home.lock.operations == []
            assert (await eva.unlock(device)).bolt is Bolt.UNLOCKED
            assert ben.lock(device).view.bolt in (None, Bolt.LOCKED), "nothing newer reaches him"


async def test_case_23_what_the_account_may_not_do_the_lock_refuses(
    ras: Ras, tmp_path: Path
) -> None:
    async with at_home(ras) as home:
        home.rights = RIGHTS & ~Right.UNLOCK
        async with client_of(await memory_of(home, tmp_path / "rac.json")) as client:
            await client.connected(10)
            with pytest.raises(NoRightRefusedError):
                await client.unlock(home.lock.device)
            assert home.lock.operations == []


async def test_the_server_is_killed_and_started_and_so_is_the_client(
    database: Database, tmp_path: Path
) -> None:
    async with Server(database) as server:
        _, made, _ = await server.verb("gateway", "code", "--new-site", "Home")
        home = SoftHome(server.url, travel=0.01)
        async with home.running(made["code"]):
            device = home.lock.device
            async with client_of(await memory_of(home, tmp_path / "rac.json")) as client:
                await client.connected(10)
                await until(client, lambda: client.lock(device).view.bolt)
                server.kill()
                await until(client, lambda: client.down is not None)
                with pytest.raises(NotSentError):
                    await client.unlock(device)
                await server.start()
                await client.connected(10)
                with pytest.raises(GatewayOfflineError):
                    await client.unlock(device)
                assert client.lock(device).view.bolt is Bolt.LOCKED
                await home.connect()
                assert (await client.unlock(device)).bolt is Bolt.UNLOCKED
                floor = client.lock(device).state.floor
            memory = Memory.load(tmp_path / "rac.json")
            assert memory.floors[device] == floor
            async with client_of(memory) as client:
                await client.connected(10)
                assert (await client.lock_it(device)).bolt is Bolt.LOCKED


async def test_the_home_is_gone_in_the_middle(ras: Ras, tmp_path: Path) -> None:
    async with at_home(ras) as home:
        home.lock.travel = 30
        device = home.lock.device
        async with client_of(await memory_of(home, tmp_path / "rac.json")) as client:
            await client.connected(10)
            moving = asyncio.create_task(client.unlock(device))
            await until(client, lambda: client.lock(device).view.bolt is Bolt.UNLOCKING)
            await home.cut()
            with pytest.raises(UnconfirmedError):
                await moving
            assert home.lock.operations == [UNLOCK]


async def test_signing_in_with_a_second_step_after_the_session_ended(
    ras: Ras, clock: MovedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner who joins as the user that she is, loses the session, and signs in again."""
    clock.hold()
    async with at_home(ras) as home:
        owner = Phone(home.url, name="Olga", now=ras.clock.now_ms)
        await owner.claim(await home.owner_code(), EMAIL, PASSWORD)
        secret = (await owner.call("POST", "/api/v1/me/totp"))["secret"]
        code = pyotp.TOTP(secret).at(clock.now_ms() // 1000)
        added = await owner.call("POST", "/api/v1/me/totp/confirm", {"code": code})
        owner.token = added.get("token") or owner.token
        memory = await memory_of(home, tmp_path / "rac.json")
        http = Http(memory.url)
        async with asyncio.timeout(10):
            while not memory.joined:
                with contextlib.suppress(JoinPendingError):
                    await go_on_joining(memory, http, owner.token)
                await asyncio.sleep(0.01)
        assert memory.user == owner.user
        async with client_of(memory) as client:
            await client.connected(10)
            await owner.call("DELETE", "/api/v1/sessions")
            await until(client, lambda: client.over)
            assert isinstance(client.down, SignInClosedError)
        clock.wall(30)
        answers = [PASSWORD, pyotp.TOTP(secret).at(clock.now_ms() // 1000)]
        monkeypatch.setattr("getpass.getpass", lambda: answers.pop(0))
        monkeypatch.setattr("builtins.input", lambda _prompt: answers.pop(0))
        assert await rac.enter(tmp_path / "rac.json", EMAIL, None) == rac.DONE
        async with client_of(Memory.load(tmp_path / "rac.json")) as client:
            await client.connected(10)
            assert (await client.unlock(home.lock.device)).bolt is Bolt.UNLOCKED
        await http.close()
        await owner.close()


async def test_case_3_a_certificate_is_checked_and_an_own_authority_is_possible(
    database: Database,
    start_ras: Callable[[Settings], Awaitable[Ras]],
    tmp_path: Path,
) -> None:
    chain, key = make_certificate(tmp_path)
    ras = await start_ras(make_settings(database, certfile=str(chain), keyfile=str(key)))
    link = read_link(f"rac:#https://127.0.0.1:{ras.ports[Listener.PUBLIC]},{'0' * 32},{'0' * 32}")
    memory = Memory.begin(tmp_path / "rac.json", link, "Ben")
    async with client_of(memory) as client:
        with pytest.raises(CertificateError):
            await client.joined(0.5)
    async with client_of(memory, ca=chain) as client:
        with pytest.raises(JoinGoneError):
            await client.joined(10)
    with pytest.raises(CertificateError):
        Http(memory.url, key.with_name("none.pem"))
    named = Http(memory.url.replace("127.0.0.1", "localhost"), chain)
    with pytest.raises(CertificateError):
        await named.call("GET", "/api/v1/server")
    await named.close()
