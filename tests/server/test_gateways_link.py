"""A gateway's link: who proves what, what a copy of its key does, what the link carries and what ends with it."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from conftest import MovedClock, eventually
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gates import HOUR_MS, Gates, shared_ras
from home import Home, public_bytes
from igrs_ras.api.route import Listener
from igrs_ras.hub import Feed
from igrs_ras.restore import restored_server
from igrs_ras.status import Refused
from igrs_ras.storage.tables import (
    audit,
    checkpoints,
    events,
    gateways,
    locks,
    members,
    sites,
)
from peer import Closed, Denied, b64, unb64
from sqlalchemy import Connection, delete, event, func, select, update
from sqlalchemy.exc import OperationalError
from stores import Gate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOCK = "C4112233445F"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgresql"])
async def ras(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    prepared: dict[str, Any],
) -> AsyncIterator[Ras]:
    async with shared_ras(request, tmp_path_factory, prepared) as running:
        yield running


@pytest.fixture
def clock(ras: Ras) -> MovedClock:
    return ras.clock  # type: ignore[return-value]  # the one that the fixture gave it


@pytest_asyncio.fixture(loop_scope="module")
async def gates(ras: Ras) -> AsyncIterator[Gates]:
    async with Gates(ras) as found:
        yield found


async def sent_away(home: Home, **changed: Any) -> int | None:
    """The close code with which a handshake ends."""
    peer = await home.open()
    try:
        with pytest.raises(Closed) as closed:
            await home.handshake(peer, **changed)
        return closed.value.code
    finally:
        await peer.socket.close()


async def close_code(home: Home) -> int | None:
    return await asyncio.wait_for(asyncio.shield(home.peer.closed), 10)


async def test_case_01_a_gateway_without_with_a_foreign_or_with_a_revoked_credential_is_sent_away(
    gates: Gates, ras: Ras
) -> None:
    home = await gates.enrolled("Home", LOCK)
    other = await gates.enrolled("Other")
    await home.cut()
    await eventually(lambda: ras.gateways.link_of(home.site) is None)
    thief = gates.copy(home)

    peer = await thief.open()
    await peer.receive()
    await peer.send("site.digest", {"digest": b64(bytes(32))})
    with pytest.raises(Closed) as closed:
        await peer.receive()
    assert closed.value.code == 4400, "nothing is heard before the proof"

    thief.key = Ed25519PrivateKey.generate()
    assert await sent_away(thief) == 4401
    thief.key = other.key
    assert await sent_away(thief) == 4401, "another home's key"
    thief.key = home.key
    assert await sent_away(thief, gateway=secrets.token_hex(16)) == 4401
    thief.server_key = secrets.token_bytes(32)
    assert await sent_away(thief) == 4401, "the gateway pinned another server"
    thief.server_key = home.server_key
    assert await sent_away(thief, signature=b64(bytes(64))) == 4401
    for field, wrong in (
        ("nonce", b64(bytes(31))),
        ("n", 0),
        ("checkpoint", 1),
        ("checkpoint", {}),
        ("signature", "AAAA"),
        ("more", 1),
    ):
        assert await sent_away(thief, **{field: wrong}) == 4400, field

    # A proof that was overheard is for its own connection's nonce only.
    first, second = await thief.open(), await thief.open()
    hello = (await first.receive())["body"]
    await second.receive()
    signed = thief.signed_bytes(unb64(hello["nonce"]), bytes(32), 9)
    proof = {
        "nonce": b64(bytes(32)),
        "n": 9,
        "signature": b64(thief.key.sign(signed)),
        "gateway": thief.gateway,
    }
    await second.send("auth", proof | {"checkpoint": None})
    with pytest.raises(Closed) as closed:
        await second.receive()
    assert closed.value.code == 4401
    await first.socket.close()

    await ras.gateways.revoke(home.gateway)
    assert await sent_away(home) == 4403
    for token in ("", "g_", "g_" + secrets.token_urlsafe(32), home.token, other.token + "A"):
        with pytest.raises(Denied) as denied:
            await other.http.call(
                "DELETE", f"/api/v1/locks/{LOCK}", Authorization=f"Bearer {token}"
            )
        assert denied.value.status == 11


async def test_a_handshake_that_takes_longer_than_ten_seconds_is_ended(
    gates: Gates, clock: MovedClock
) -> None:
    home = gates.home()
    await home.enrol(await gates.code())
    peer = await home.open()
    await peer.receive()
    clock.advance(11)
    with pytest.raises(Closed) as closed:
        await peer.receive()
    assert closed.value.code == 4408


async def test_case_02_of_two_links_of_a_gateway_the_newest_stays_and_the_old_ones_token_is_void(
    gates: Gates, ras: Ras
) -> None:
    home = await gates.enrolled("Home", LOCK)
    again = gates.copy(home)
    await again.connect()
    assert await close_code(home) == 4409
    assert ras.gateways.resolve(home.token) is None
    assert ras.gateways.resolve(again.token) is not None
    assert await again.sync()
    assert await gates.noted(home.site, "gateway.copy") == [], (
        "a gateway that lost its link does the same"
    )


async def test_case_02_a_stolen_copy_of_a_gateway_is_reported_as_soon_as_both_were_used(
    gates: Gates, clock: MovedClock
) -> None:
    home = await gates.enrolled("Home", LOCK)
    owner = await gates.owner(home)
    await owner.connect()
    thief = gates.copy(home)
    await thief.connect()
    assert await close_code(home) == 4409

    # The real one comes back with the number that the copy has used already.
    assert await sent_away(home) == 4409
    found = await owner.until(
        lambda: next(
            (one for one in owner.events if one["body"].get("what") == "gateway_copy"), None
        )
    )
    assert found["body"]["site"] == home.site
    assert await sent_away(home, n=1) == 4409
    assert len(await gates.noted(home.site, "gateway.copy")) == 1, "who hammers fills no audit"
    clock.advance(3601)
    assert await sent_away(home, n=1) == 4409
    assert len(await gates.noted(home.site, "gateway.copy")) == 2


async def test_a_link_that_is_replaced_in_its_handshake_leaves_no_token(
    gates: Gates, ras: Ras, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = gates.home()
    await home.enrol(await gates.code())
    waiting, going = asyncio.Event(), asyncio.Event()
    cursor = Feed.cursor

    async def slowly(feed: Feed) -> tuple[int, int]:
        if not waiting.is_set():
            waiting.set()
            await going.wait()
        return await cursor(feed)

    monkeypatch.setattr(Feed, "cursor", slowly)
    peer = await home.open()
    first = asyncio.create_task(home.handshake(peer))
    await waiting.wait()
    before, sockets = set(ras.gateways._tokens), len(ras.hub.sockets)
    second = gates.copy(home)
    await second.connect()
    going.set()
    with pytest.raises(Closed) as closed:
        await first
    assert closed.value.code == 4409
    await peer.socket.close()
    await eventually(lambda: len(ras.hub.sockets) == sockets)
    assert len(set(ras.gateways._tokens) - before) == 1
    assert ras.gateways.resolve(second.token) is not None


async def test_case_02_of_two_links_with_the_same_number_at_once_one_is_refused(
    gates: Gates,
) -> None:
    home = gates.home()
    await home.enrol(await gates.code())
    copies = [gates.copy(home) for _ in range(4)]
    outcomes = await asyncio.gather(*(one.connect() for one in copies), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(type(None)) == 1
    assert {outcome.code for outcome in outcomes if isinstance(outcome, Closed)} == {4409}


async def test_a_token_for_http_lasts_ten_minutes_is_renewed_by_message_and_ends_with_the_link(
    gates: Gates, clock: MovedClock, ras: Ras
) -> None:
    home = await gates.enrolled("Home", LOCK)
    first = home.token
    second = (await home.request("token"))["token"]
    assert first != second
    assert ras.gateways.resolve(first) is not None, "what is under way with it is not cut off"
    third = (await home.request("token"))["token"]
    assert ras.gateways.resolve(first) is None
    await pass_time(home, clock, 599)
    assert ras.gateways.resolve(third) is not None
    await pass_time(home, clock, 2)
    assert ras.gateways.resolve(third) is None
    home.token = (await home.request("token"))["token"]
    assert ras.gateways.resolve(home.token) is not None
    await home.cut()
    await eventually(lambda: ras.gateways.resolve(home.token) is None)


async def pass_time(home: Home, clock: MovedClock, seconds: int) -> None:
    """Let time pass while the gateway says that it lives."""
    while seconds > 0:
        clock.advance(min(seconds, 15))
        seconds -= 15
        answer = await home.request("ping")
        assert abs(answer["time"] - clock.now_ms()) < HOUR_MS


async def test_a_gateway_that_is_silent_for_thirty_seconds_is_gone(
    gates: Gates, clock: MovedClock, ras: Ras
) -> None:
    home = await gates.enrolled()
    clock.advance(31)
    assert await close_code(home) == 4408
    await eventually(lambda: ras.gateways.link_of(home.site) is None)


async def test_a_gateway_changes_its_key_with_both_keys_and_the_old_one_is_void(
    gates: Gates,
) -> None:
    home = await gates.enrolled()
    old = home.key
    for signed_by in ((old, old), (Ed25519PrivateKey.generate(), None)):
        new = Ed25519PrivateKey.generate()
        signed = (
            b"IGRS key 1\0"
            + home.server_key
            + bytes.fromhex(home.gateway)
            + public_bytes(old)
            + public_bytes(new)
        )
        body = {
            "public_key": b64(public_bytes(new)),
            "old_signature": b64(signed_by[0].sign(signed)),
            "new_signature": b64((signed_by[1] or new).sign(signed)),
        }
        with pytest.raises(Denied) as denied:
            await home.request("gateway.key", body)
        assert denied.value.status == 12
    await home.new_key()
    said_again = {**body, "public_key": b64(public_bytes(home.key))}
    await home.request("gateway.key", said_again)  # its answer was lost: it is done already
    assert len(await gates.noted(home.site, "gateway.key_changed")) == 1
    await home.cut()
    thief = gates.copy(home)
    thief.key = old
    assert await sent_away(thief) == 4401
    await home.connect()


async def test_events_wait_for_a_gateway_that_is_away_come_in_order_and_are_forgotten_when_it_says_so(
    gates: Gates, ras: Ras
) -> None:
    home = await gates.enrolled("Home", LOCK)
    home.auto_join = False
    invitations = [await home.invite() for _ in range(3)]
    await home.cut()
    await eventually(lambda: ras.gateways.link_of(home.site) is None)
    phones = [gates.phone(name) for name in ("Ada", "Bo", "Cy")]
    for phone, invitation in zip(phones, invitations, strict=True):
        assert (await phone.ask(invitation))["state"] == "pending"

    await home.connect()
    await home.until(lambda: len(home.events) == 3)
    assert [event["body"]["name"] for event in home.events] == ["Ada", "Bo", "Cy"]
    assert home.audit_problems == []
    waiting = select(events.c.seq).where(events.c.recipient == f"gateway:{home.site}")

    async def forgotten() -> bool:
        return await gates.rows(waiting) == []

    await eventually(forgotten)
    await home.cut()
    await home.connect()
    assert len(home.events) == 3, "what was taken does not come again"


async def test_a_new_gateway_of_a_home_gets_what_the_old_one_did_not_take(
    gates: Gates, ras: Ras
) -> None:
    home = await gates.enrolled("Home", LOCK)
    invitation = await home.invite()
    await home.cut()
    await gates.phone("Ada").ask(invitation)
    new = gates.home()
    await new.enrol(await gates.code(site=home.site))
    new.auto_join = new.auto_sync = False
    await new.connect()
    assert (await new.event("join.request"))["name"] == "Ada"


async def test_what_a_gateway_says_wrongly_is_refused_and_the_link_stays(gates: Gates) -> None:
    home = await gates.enrolled("Home", LOCK)
    for kind, body in (
        ("site.delete", {}),
        ("site.digest", {}),
        ("site.digest", {"digest": "AAAA"}),
        ("site.digest", {"digest": b64(bytes(32)), "site": secrets.token_hex(16)}),
        ("member.set", {"user": "x", "role": "owner", "locks": []}),
        ("member.set", {"user": secrets.token_hex(16), "role": "admin", "locks": []}),
        ("keys.update", {"user": secrets.token_hex(16), "number": 1, "sealed": "*" * 24}),
        ("ack", {"seq": -1}),
        ("home.admins", {"users": [7]}),
    ):
        with pytest.raises(Denied) as denied:
            await home.request(kind, body)
        assert denied.value.status == 10, kind
    assert await home.sync()


async def test_a_noisy_gateway_is_slowed_down_over_all_its_connections(
    gates: Gates, clock: MovedClock
) -> None:
    home = await gates.enrolled("Home", LOCK)

    async def restate(capabilities: int) -> None:
        clock.advance(1)
        home.locks[LOCK] = capabilities
        await home.send_list()

    for number in range(10):
        await restate(number)
    with pytest.raises(Denied) as denied:
        await restate(10)
    assert denied.value.status == 41
    await home.cut()
    with pytest.raises(Denied) as denied:
        await home.connect()
    assert denied.value.status == 41
    await home.cut()
    clock.advance(601)
    await home.connect()


async def test_only_a_home_of_the_same_machine_names_admins_and_they_are_believed_five_minutes_without_it(
    gates: Gates, clock: MovedClock, ras: Ras
) -> None:
    afar = await gates.enrolled()
    with pytest.raises(Denied) as denied:
        await afar.request("home.admins", {"users": ["a" * 32]})
    assert denied.value.status == 20
    near = gates.home(Listener.LOCAL)
    await near.enrol(await gates.code(local=True))
    near.admins = ["a" * 32]
    await near.connect()
    assert ras.gateways.admins(near.site) == near.admins
    assert ras.gateways.admins(afar.site) == []
    await near.cut()
    await eventually(lambda: ras.gateways.link_of(near.site) is None)
    clock.advance(299)
    assert ras.gateways.admins(near.site) == near.admins
    clock.advance(2)
    assert ras.gateways.admins(near.site) == []
    await near.connect()
    await ras.gateways.revoke(near.gateway)
    assert ras.gateways.admins(near.site) == []


async def signed(home: Home, gates: Gates) -> None:
    """The server signs all that it wrote down of the home, which keeps the checkpoint."""
    await gates.ras.checkpoints.sign(home.site)
    last = (await gates.rows(select(func.max(audit.c.i)).where(audit.c.site == home.site)))[0][0]
    await home.until(lambda: home.audit and home.audit[0] == last)


async def become_older(gates: Gates, home: Home, length: int) -> None:
    """Put the site's records back to an older state, as a copy of the database and all that stands beside it does."""

    def job(tx: Transaction) -> None:
        for table, column in ((audit, audit.c.i), (checkpoints, checkpoints.c.last)):
            tx.execute(delete(table).where(table.c.site == home.site, column > length))
        tx.heads.forget()

    await gates.ras.store.write(job)


async def restored(home: Home) -> bool:
    """Connect; tell whether the server says that it was put back."""
    await home.connect()
    return home.restored


async def suspended(gates: Gates) -> dict[str, bool]:
    rows = await gates.rows(select(sites.c.id, sites.c.suspended))
    return {row.id: row.suspended for row in rows}


async def test_case_16_a_server_behind_a_checkpoint_that_it_signed_revives_nobody_of_any_home(
    gates: Gates, ras: Ras
) -> None:
    home = await gates.enrolled("Home", LOCK)
    other = await gates.enrolled("Other", LOCK)
    kept, removed = await gates.member(home, name="Kim"), await gates.member(home, name="Rex")
    elsewhere = await gates.member(other, name="Sue")
    await kept.connect()
    await elsewhere.connect()
    length = len(await gates.audit(home.site))
    await home.set_member(kept.user, "owner", [LOCK])
    await signed(home, gates)
    before = home.generation
    # Rex was removed after the copy was made, so the copy still has him.
    del home.members[removed.user]
    home.auto_sync = other.auto_sync = False
    await home.cut()
    await become_older(gates, home, length)
    assert await restored(home)
    assert home.generation > before
    assert ras.identity.generation == home.generation
    for phone in (kept, elsewhere):
        assert await asyncio.wait_for(asyncio.shield(phone.peer.closed), 10) == 4401
    assert await close_code(other) == 1012, "its home has to send its list too"
    for phone in (kept, removed, elsewhere):
        with pytest.raises(Denied) as denied:
            await phone.call("GET", "/api/v1/locks")
        assert denied.value.status == 11, "its session is void: it is one database"
    found = await suspended(gates)
    assert found[home.site]
    assert found[other.site]
    for one in (home, other):
        assert len(await gates.noted(one.site, "site.restored")) == 1

    assert not (await home.request("site.digest", {"digest": b64(home.digest())}))["match"], (
        "it must send the list"
    )
    await home.send_list()
    assert await home.sync()
    assert {item["user"] for item in home.listing()["members"]} == {kept.user}
    assert len(await gates.noted(home.site, "member.ended")) == 1
    assert (await suspended(gates))[other.site], "one home's list says nothing of another's"

    # The next link is an ordinary one; the other home hears of it when it comes.
    await home.cut()
    assert not await restored(home)
    assert await restored(other)
    assert other.generation == home.generation


async def test_a_home_that_did_not_send_its_list_yet_hears_of_the_restore_again(
    gates: Gates,
) -> None:
    home = await gates.enrolled("Home", LOCK)
    length = len(await gates.audit(home.site)) - 1
    await signed(home, gates)
    home.auto_sync = False
    await home.cut()
    await become_older(gates, home, length)
    for _ in range(2):
        assert await restored(home)
        await home.cut()
    assert len(await gates.noted(home.site, "site.restored")) == 1, "it is known already"
    home.auto_sync = True
    await home.connect()
    await home.cut()
    assert not await restored(home)


async def test_a_gateways_unproven_words_restore_nothing_and_its_owner_hears_of_them(
    gates: Gates, ras: Ras, clock: MovedClock
) -> None:
    home = await gates.enrolled("Home", LOCK)
    other = await gates.enrolled("Other", LOCK)
    owner = await gates.owner(home)
    await owner.connect()
    await signed(other, gates)
    await signed(home, gates)
    assert home.checkpoint is not None
    await home.cut()
    generations = (home.generation, ras.identity.generation)
    forged = [
        home.checkpoint | {field: home.checkpoint[field] + 1}
        for field in ("first", "last", "time", "generation")
    ]
    forged += [home.checkpoint | {field: b64(bytes(32))} for field in ("before", "head")]
    forged += [home.checkpoint | {"signature": b64(bytes(64))}, dict(other.checkpoint or {})]
    forged += [home.checkpoint | {"generation": 2**63 - 1, "last": 2**63 - 1}]
    for checkpoint in forged:
        assert await sent_away(home, checkpoint=checkpoint) == 4400
    for field, wrong in (("last", 0), ("head", "AAAA"), ("time", -1), ("more", 1)):
        assert await sent_away(home, checkpoint=home.checkpoint | {field: wrong}) == 4400
    assert len(await gates.noted(home.site, "gateway.false_checkpoint")) == 1, "and fills no audit"
    said = await owner.until(
        lambda: [
            event["body"]["site"]
            for event in owner.events
            if event["body"].get("what") == "gateway_false_checkpoint"
        ]
    )
    assert said == [home.site]
    clock.advance(3601)
    assert await sent_away(home, checkpoint=forged[0]) == 4400
    assert len(await gates.noted(home.site, "gateway.false_checkpoint")) == 2
    assert not await restored(home)
    assert (home.generation, ras.identity.generation) == generations
    assert not (await suspended(gates))[other.site]
    assert await gates.noted(home.site, "site.restored") == []


async def test_a_gateway_that_remembers_what_was_signed_is_welcome_and_another_history_is_a_restore(
    gates: Gates,
) -> None:
    home = await gates.enrolled("Home", LOCK)
    await signed(home, gates)
    old = home.checkpoint
    await home.cut()
    assert not await restored(home)
    await signed(home, gates)
    await home.cut()
    peer = await home.open()
    assert not (await home.handshake(peer, checkpoint=old))["restored"], "an earlier one holds too"
    await peer.socket.close()
    # As long as before, with another end.
    await gates.change(
        update(audit)
        .where(audit.c.site == home.site, audit.c.i == (old or {})["last"])
        .values(hash=bytes(32))
    )
    peer = await home.open()
    assert (await home.handshake(peer, checkpoint=old))["restored"]
    await peer.socket.close()
    # Signed under an earlier generation: that restore is known.
    await home.connect()
    await home.cut()
    peer = await home.open()
    assert not (await home.handshake(peer, checkpoint=old))["restored"]
    await peer.socket.close()


async def test_a_checkpoint_of_a_later_generation_is_a_restore(gates: Gates) -> None:
    home = await gates.enrolled("Home", LOCK)
    await signed(home, gates)
    await home.cut()
    later = home.generation
    await gates.change(sites.update().where(sites.c.id == home.site).values(generation=later - 5))
    peer = await home.open()
    welcome = await home.handshake(peer)
    assert welcome["restored"]
    assert welcome["generation"] > later
    await peer.socket.close()


async def test_a_gateway_that_says_twice_where_it_is_gets_all_that_waits(
    gates: Gates, ras: Ras, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await gates.enrolled("Home", LOCK)
    home.auto_join = False
    names = ["Ada", "Bo", "Cy"]
    for name in names:
        await gates.phone(name).ask(await home.invite())
    await home.until(lambda: len(home.events) == 3)
    recipient = f"gateway:{home.site}"

    def push_again(tx: Transaction) -> None:
        for number in range(3):
            tx.push(recipient, "join.done", {"number": number})

    # Nothing is acknowledged from here on, so that all of it can come again.
    monkeypatch.setattr(home, "_durable", nothing)
    await ras.store.write(push_again)
    await home.until(lambda: len(home.events) == 6)
    held, read = asyncio.Event(), ras.store.read
    waiting: list[Any] = []

    async def slowly(job: Any) -> Any:
        found = await read(job)
        if isinstance(job, partial) and job.keywords.get("recipient") == recipient and not waiting:
            waiting.append(found)
            await held.wait()
        return found

    monkeypatch.setattr(ras.store, "read", slowly)
    taken, last = len(home.events), home.seq
    answer = await home.request("resume", {"generation": home.generation, "seq": last})
    assert not answer["reset"]
    await eventually(lambda: waiting)
    assert waiting == [[]], "its reader has found that there is no more, and does not know it yet"
    home.seq = last - 3
    await home.request("resume", {"generation": home.generation, "seq": last - 3})
    held.set()
    await home.until(lambda: len(home.events) == taken + 3)
    assert [event["seq"] for event in home.events[taken:]] == [last - 2, last - 1, last]


async def nothing(*_: Any) -> None:
    """Do nothing with an event."""


async def test_case_47_a_gateway_sees_what_it_missed_of_the_audit_and_asks_for_it(
    gates: Gates, ras: Ras
) -> None:
    home = await gates.enrolled("Home", LOCK)
    await home.cut()
    await eventually(lambda: ras.gateways.link_of(home.site) is None)
    await ras.checkpoints.sign(home.site)
    await home.connect()
    home.audit = (0, (await genesis(home)))
    assert (await home.request("audit.range", {"first": 1, "last": 10**6}))["count"] == 1
    await home.until(lambda: home.audit and home.audit[0] > 0)
    await ras.checkpoints.sign(home.site)
    assert home.audit_problems == []


async def genesis(home: Home) -> bytes:
    import hashlib  # noqa: PLC0415

    return hashlib.sha256(b"IGRS audit 1" + bytes.fromhex(home.site)).digest()


async def test_the_database_holds_no_secret_of_a_gateway(gates: Gates) -> None:
    home = await gates.enrolled()
    row = (await gates.rows(select(gateways).where(gateways.c.id == home.gateway)))[0]
    assert bytes(row.public_key) == public_bytes(home.key)
    assert home.token not in repr(row)


async def test_a_gateway_that_is_revoked_while_it_connects_is_not_connected_afterwards(
    gates: Gates, ras: Ras
) -> None:
    for _ in range(8):
        home = gates.home()
        await home.enrol(await gates.code())
        home.auto_sync = False
        await asyncio.gather(
            home.connect(), ras.gateways.revoke(home.gateway), return_exceptions=True
        )
        await eventually(lambda home=home: not home.connected)
        assert ras.gateways.link_of(home.site) is None
        assert ras.gateways.resolve(home.token) is None


async def test_case_25_the_word_of_a_gateway_that_was_revoked_while_it_waited_does_nothing(
    gates: Gates, ras: Ras
) -> None:
    home = await gates.enrolled("Home", LOCK)
    member = await gates.member(home)
    gate = Gate()
    held = asyncio.create_task(ras.store.write(gate.job))
    await asyncio.to_thread(gate.entered.wait, 10)
    revoked = asyncio.create_task(ras.gateways.revoke(home.gateway))
    await eventually(lambda: ras.store._jobs.qsize() == 1)
    made_owner = {"user": member.user, "role": "owner", "locks": []}
    await home.peer.send("member.set", made_owner)
    other = asyncio.create_task(
        home.http.call("DELETE", f"/api/v1/locks/{LOCK}", Authorization=f"Bearer {home.token}")
    )
    await eventually(lambda: ras.store._jobs.qsize() == 3)
    gate.open()
    await asyncio.gather(held, revoked)
    with pytest.raises(Denied) as denied:
        await other
    assert denied.value.status == 11
    assert await close_code(home) == 4403
    (row,) = await gates.rows(select(members).where(members.c.user == member.user))
    assert (row.role, row.state) == ("member", "active")
    assert len(await gates.rows(select(locks).where(locks.c.site == home.site))) == 1


async def test_what_was_said_before_a_restore_says_nothing_after_it(gates: Gates, ras: Ras) -> None:
    home = await gates.enrolled("Home", LOCK)
    gate = Gate()
    held = asyncio.create_task(ras.store.write(gate.job))
    await asyncio.to_thread(gate.entered.wait, 10)
    restored_now = asyncio.create_task(ras.store.write(restored_server))
    await eventually(lambda: ras.store._jobs.qsize() == 1)
    listed = asyncio.create_task(home.request("site.sync", home.listing()))
    await eventually(lambda: ras.store._jobs.qsize() == 2)
    gate.open()
    await asyncio.gather(held, restored_now)
    with pytest.raises(Denied) as denied:
        await listed
    assert denied.value.status == 20
    assert (await suspended(gates))[home.site]
    home.auto_sync = False
    await home.cut()
    assert await restored(home)


async def test_a_commit_whose_outcome_is_lost_closes_every_socket(gates: Gates, ras: Ras) -> None:
    home = await gates.enrolled("Home", LOCK)
    phone = await gates.member(home)
    await phone.connect()
    lost: list[str] = []

    def lose(connection: Connection) -> None:
        if not lost and connection.get_execution_options().get("igrs_writer"):
            lost.append("once")
            raw = connection.connection.dbapi_connection
            assert raw is not None
            raw.commit()
            error = Exception("the connection was lost")
            raise OperationalError("COMMIT", {}, error, connection_invalidated=True)

    event.listen(ras.store.engine, "commit", lose)
    try:
        with pytest.raises(Refused):
            await ras.gateways.revoke(home.gateway)
    finally:
        event.remove(ras.store.engine, "commit", lose)
    assert lost
    assert await close_code(home) == 1013
    assert await asyncio.wait_for(asyncio.shield(phone.peer.closed), 10) == 1013

    async def sent_away_as_revoked() -> bool:
        return await sent_away(home) == 4403

    await eventually(sent_away_as_revoked)


async def test_a_gateway_that_connects_again_and_again_is_slowed_down(
    gates: Gates, clock: MovedClock
) -> None:
    home = gates.home()
    await home.enrol(await gates.code())
    for _ in range(60):
        peer = await home.open()
        await home.handshake(peer)
        await peer.socket.close()
    assert await sent_away(home) == 4429
    clock.advance(61)
    await home.connect()
