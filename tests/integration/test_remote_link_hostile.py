"""The link at a server that is not to be trusted, and at what is no server at all."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import json
import ssl
import time
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from false_ras import Envelope, FalseRas
from ras_house import RasHouse, breathe
from remote_line import Line, make_line

from custom_components.igrs_lock.remote.link import Down
from custom_components.igrs_lock.remote.store import RemoteStore
from custom_components.igrs_lock.remote.wire import (
    LinkDown,
    Malformed,
    Refused,
    RemoteNotSaved,
    Status,
    b64,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant

    from custom_components.igrs_lock.remote.wire import Message

__all__ = ["make_line"]


@pytest.fixture
async def false(ras_house: RasHouse) -> AsyncGenerator[FalseRas]:
    """A false server that listens; the real one does not run."""
    server = FalseRas()
    await server.start()
    yield server
    await ras_house.wait(server.stop())


@pytest.fixture
def line(
    hass: HomeAssistant, false: FalseRas, make_line: Callable[[ConfigEntry[Any]], Line]
) -> Line:
    """A link to the false server, not begun."""
    return make_line(false.entry(hass))


# --- who is who ---


async def test_case_1_nothing_signed_goes_to_another_key(
    ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    false.hello = {"server_key": b64(Ed25519PrivateKey.generate().public_key().public_bytes_raw())}
    await line.start()
    await line.is_down(Down.KEY_CHANGED)
    assert false.tape == []
    assert line.store.n == 0
    # It looks again by itself: an address may be a wrong one for a while.
    false.hello = {}
    await line.again()


async def test_case_1_a_welcome_that_another_key_signed_is_none(
    ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    false.welcome = {"signature": b64(bytes(64))}
    await line.start()
    await line.is_down(Down.KEY_CHANGED)
    assert line.heard.welcomes == []
    # Nor is one that was signed for another connection.
    false.welcome = {}
    await line.again()
    (first, second) = (message["body"] for message in false.tape if message["type"] == "auth")
    assert first["nonce"] != second["nonce"]
    assert first["n"] < second["n"]


@pytest.mark.parametrize(
    "changed",
    [
        {"site": "0" * 32},
        {"generation": "1"},
        {"generation": 2**80},
        {"token": ""},
        {"token": "g_\nx"},
        {"restored": 1},
        {"token_expires": float("1e300")},
    ],
)
async def test_a_welcome_of_a_wrong_form_is_none(
    ras_house: RasHouse, false: FalseRas, line: Line, changed: dict[str, Any]
) -> None:
    false.welcome = changed
    await line.start()
    await line.is_down(Down.NOT_A_SERVER)
    assert line.heard.welcomes == []


async def test_case_58_the_number_is_stored_before_it_is_sent(
    ras_house: RasHouse,
    false: FalseRas,
    line: Line,
    make_line: Callable[[ConfigEntry[Any]], Line],
    hass_storage: dict[str, Any],
) -> None:
    file = f"igrs_lock.remote.{line.entry.entry_id}"
    seen: list[tuple[int, int]] = []

    def heard(message: Envelope) -> None:
        if message["type"] == "auth":
            seen.append((message["body"]["n"], hass_storage[file]["data"]["n"]))

    false.heard = heard
    await line.up()
    # Home Assistant dies right now, and begins with what is on the disk.
    after = make_line(line.entry)
    await after.up()
    assert seen == [(1, 1), (2, 2)]


async def test_case_42_without_a_disk_there_is_no_connection(
    ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    await line.store.async_load()
    with patch.object(RemoteStore, "async_save", side_effect=RemoteNotSaved):
        line.link.async_start()
        await line.is_down(Down.NOT_SAVED)
        assert false.tape == []
    await line.again()
    assert false.said("auth")[0]["n"] == line.store.n


# --- what it says ---


GARBAGE = [
    "",
    "{",
    "[]",
    "null",
    "[" * 60_000,
    '{"a":' * 9000 + "1" + "}" * 9000,
    '{"id": "x", "type": "relay.open", "body": {"ttl": NaN}}',
    '{"id": "x", "type": "relay.open", "body": {}, "body": {}}',
    '{"id": "x", "type": "relay.open", "body": []}',
    '{"id": "x", "type": "relay.open", "seq": -1}',
    '{"id": "x", "type": "relay.open", "seq": ' + "9" * 4000 + "}",
    '{"id": "x", "type": "relay.open", "seq": ' + "9" * 6000 + "}",
    '{"id": "x", "type": "relay.open", "expires": 1e999}',
    '{"id": "x", "type": "relay.open", "lock": "../../etc"}',
    '{"id": "x", "type": "Relay Open", "body": {}}',
    '{"id": 1, "type": "relay.open"}',
    '{"id": "x\\n", "type": "relay.open"}',
    '{"id": "x", "type": "\\ud800"}',
    '{"id": "x", "type": "ok", "body": {}}',
    '{"id": "x", "type": "ok", "body": {"re": ["a"]}}',
    '{"id": "x", "type": "ok", "body": {"re": "nobody asked"}}',
    '{"id": "x", "type": "refused", "body": {"re": "nobody asked", "status": 14}}',
    '{"id": "x", "type": "pong", "body": {"re": "nobody asked", "time": 0}}',
    '{"id": "x", "type": "pong", "body": {"time": true}}',
    '{"id": "x", "type": "audit.checkpoint", "body": {"first": 1}}',
    '{"id": "x", "type": "audit.checkpoint", "body": {"entries": ' + '["A",' * 20 + "1" + "]" * 21 + "}}",
    '{"id": "x", "type": "join.request", "seq": 9223372036854775807, "body": {}}',
]  # fmt: skip


async def test_case_38_what_is_malformed_is_dropped(
    ras_house: RasHouse, false: FalseRas, line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    await line.up()
    clock = line.link.clock.now_ms()
    caplog.clear()
    for text in GARBAGE:
        await false.write(text)
    await false.say("a.type.of.tomorrow", {"any": "thing"})
    await ras_house.until(lambda: line.heard.live)
    assert [message.type for message in line.heard.live] == ["a.type.of.tomorrow"]
    assert line.link.connected
    assert line.link.clock.now_ms() == clock
    assert line.heard.durable == []
    assert line.store.audit_problem is None
    # Neither is a fault of this home, nor does anything of it stand in the log.
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert "9999" not in caplog.text


async def test_case_38_what_a_part_makes_of_a_message_ends_nothing(
    ras_house: RasHouse, false: FalseRas, line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    await line.up()
    faults = iter([Malformed("name is missing"), RuntimeError("a fault of its own")])

    def received(message: Message) -> None:
        if (fault := next(faults, None)) is not None:
            raise fault
        line.heard.live.append(message)

    line.heard.on_received = received
    for _ in range(3):
        await false.say("relay.open", {})
    await ras_house.until(lambda: line.heard.live)
    assert line.link.connected
    assert caplog.text.count("a fault of its own") == 1


async def test_a_message_that_is_too_large_ends_the_link(
    ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    await line.up()
    await false.write(json.dumps({"id": "x", "type": "a", "body": {"a": "x" * 70_000}}))
    await line.is_down(Down.LOST)
    assert line.heard.live == []
    await line.again()


async def test_case_39_a_flood_leaves_home_assistant_alone(
    ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    await line.up()
    turns = [0]
    at: list[int] = []

    def received(message: Message) -> None:
        at.append(turns[0])
        line.heard.live.append(message)

    line.heard.on_received = received

    async def others() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    running = asyncio.ensure_future(others())
    sent = 3000

    async def flood() -> None:
        for number in range(sent):
            await false.say("relay.data", {"n": number})

    flooding = asyncio.ensure_future(flood())
    # As long as no time passes there is an end to it.
    await ras_house.until(lambda: len(line.heard.live) >= 900)
    for _ in range(20):
        await breathe(ras_house.hass)
    assert len(line.heard.live) <= 1000
    # In each turn of the loop everybody else had theirs.
    most = max(at.count(turn) for turn in set(at))
    assert most <= 17
    # With time it all comes, in its order, and the link holds.
    await ras_house.within(30, lambda: len(line.heard.live) == sent)
    await ras_house.wait(flooding)
    assert [message.body["n"] for message in line.heard.live] == list(range(sent))
    assert line.link.connected
    running.cancel()


async def test_case_39_a_flood_of_pings_is_one_too(
    ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    await line.up()
    socket = false._socket
    assert socket is not None
    for _ in range(1500):
        await socket.ping(b"?")
    await false.say("anything", {})
    for _ in range(20):
        await breathe(ras_house.hass)
    assert not line.heard.live
    await ras_house.within(10, lambda: line.heard.live)
    await ras_house.until(lambda: false.pongs == 1500)
    assert line.link.connected


async def test_case_36_a_server_that_does_not_read_is_left(
    ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    await line.up()
    # Its end of the connection takes nothing any more.
    assert false._socket is not None
    assert false._socket._req is not None
    transport = false._socket._req.transport
    assert transport is not None
    transport.pause_reading()
    with patch("custom_components.igrs_lock.remote.channel._OUT", (1e9, 1e9)):
        line.link._channel._out._burst = line.link._channel._out._level = 1e9  # type: ignore[union-attr]
        large = {"data": "x" * 60_000}
        sent = 0
        while line.link.send("relay.data", large):
            sent += 1
            await asyncio.sleep(0)
            assert sent < 2000, "it is never too much"
    await line.is_down(Down.LOST)


async def test_what_goes_out_keeps_to_what_the_server_takes(
    ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    await line.up()
    before = len(false.tape)
    sent = [line.link.send("lock.event", {"counter": number}) for number in range(400)]
    # The first ones at once, some wait, the rest was refused here already.
    assert sent.count(False) > 100
    await ras_house.until(lambda: len(false.said("lock.event")) >= 70)
    assert len(false.tape) - before <= 100
    await ras_house.within(10, lambda: len(false.said("lock.event")) == sent.count(True))
    counters = [body["counter"] for body in false.said("lock.event")]
    assert counters == sorted(counters)
    # A request waits for its turn, and has its answer.
    asking = asyncio.ensure_future(line.link.async_request("anything"))
    await breathe(ras_house.hass)
    assert not false.said("anything")
    await ras_house.within(5, asking.done)
    assert asking.result() == {"re": false.tape[-1]["id"]}


async def test_case_14_an_answer_that_does_not_come_ends_the_link(
    ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    await line.up()
    false.swallow = {"member.end"}
    asking = asyncio.ensure_future(line.link.async_request("member.end", {"user": "0" * 32}))
    await ras_house.until(lambda: false.said("member.end"))
    # Answers to something else, and in other words, are none.
    await false.say("ok", {"re": "0" * 26})
    await false.say("pong", {"re": false.tape[-1]["id"], "time": 1})
    await breathe(ras_house.hass)
    assert not asking.done()
    await ras_house.within(16, asking.done)
    with pytest.raises(LinkDown):
        asking.result()
    # Nobody knows whether it was done: with the next link everything is compared.
    await line.again()


async def test_a_silent_server_is_left_after_30_seconds(
    ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    await line.up()
    false.swallow = {"ping"}
    began = ras_house.clock.monotonic()
    await ras_house.within(40, lambda: line.heard.downs)
    assert line.heard.downs == [Down.LOST]
    assert 25 <= ras_house.clock.monotonic() - began <= 46
    assert line.link.clock.now_ms() is None


async def test_after_sleep_a_dead_link_is_found_out_soon(
    ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    await line.up()
    await ras_house.within(6, lambda: false.said("ping"))
    channel = line.link._channel
    assert channel is not None
    await ras_house.until(lambda: not channel._pings)  # its pong came, too
    false.swallow = {"ping"}
    pings = len(false.said("ping"))
    # Eight hours passed, and the monotonic clock knows nothing of them.
    with patch("custom_components.igrs_lock.remote.clock.time", _Slept()):
        assert line.link.clock.now_ms() is None, "what was sampled before is void at once"
        await ras_house.within(20, lambda: line.heard.downs)
        assert len(false.said("ping")) == pings + 1
        false.swallow = set()
        await line.again(seconds=5)


class _Slept:
    """Python's clocks after eight hours of sleep."""

    @staticmethod
    def time() -> float:
        return time.time() + 8 * 3600

    @staticmethod
    def monotonic() -> float:
        return time.monotonic()


async def test_a_token_is_renewed_before_its_end(
    ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    false.welcome = {"token_expires": round(time.time() * 1000) + 120_000}
    await line.up()
    assert line.link.token == "g_false"
    false.answer = lambda message: {"token": "g_next"} if message["type"] == "token" else None
    await ras_house.within(110, lambda: false.said("token"))
    assert 5 <= len(false.said("ping")) <= 8  # 15 seconds apart, all the while
    await ras_house.until(lambda: line.link.token == "g_next")
    assert len(line.heard.welcomes) == 1


# --- events ---


async def test_case_43_an_event_is_acknowledged_when_its_effect_is_stored(
    ras_house: RasHouse,
    false: FalseRas,
    line: Line,
    make_line: Callable[[ConfigEntry[Any]], Line],
    hass_storage: dict[str, Any],
) -> None:
    file = f"igrs_lock.remote.{line.entry.entry_id}"
    held = asyncio.Event()

    async def deal(message: Message) -> None:
        await held.wait()

    line.heard.on_durable = deal
    await line.up()
    await ras_house.until(lambda: false.said("resume"))
    await false.say("join.request", {"join": "a"}, seq=1)
    await false.say("join.done", {"join": "a"}, seq=2)
    for _ in range(5):
        await breathe(ras_house.hass)
    assert not false.said("ack")
    held.set()
    await ras_house.until(lambda: false.said("ack"))
    assert false.said("ack") == [{"seq": 2}]
    assert [message.seq for message in line.heard.durable] == [1, 2]
    assert hass_storage[file]["data"]["seq"] == 2
    # The same again is nothing new; one that was dropped on the way is asked for.
    await false.say("join.done", {"join": "a"}, seq=2)
    await false.say("member.left", {"user": "b"}, seq=4)
    await ras_house.until(lambda: len(false.said("resume")) == 2)
    assert false.said("resume")[-1] == {"generation": false.generation, "seq": 2}
    await false.say("join.request", {"join": "b"}, seq=3)
    await false.say("member.left", {"user": "b"}, seq=4)
    await ras_house.until(lambda: len(line.heard.durable) == 4)
    assert [message.seq for message in line.heard.durable] == [1, 2, 3, 4]
    # A restart goes on from there.
    await ras_house.until(lambda: hass_storage[file]["data"]["seq"] == 4)
    after = make_line(line.entry)
    await after.up()
    await ras_house.until(lambda: len(false.said("resume")) == 3)
    assert false.said("resume")[-1]["seq"] == 4


async def test_case_14_events_out_of_order_are_asked_for_once(
    ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    await line.up()
    await ras_house.until(lambda: false.said("resume"))
    for _ in range(5):
        await false.say("member.left", {"user": "b"}, seq=2**62)
        await breathe(ras_house.hass)
    await false.say("anything", {})
    await ras_house.until(lambda: line.heard.live)
    assert len(false.said("resume")) == 2
    assert line.heard.durable == []
    assert line.store.seq == 0


async def test_an_event_waits_for_the_disk_and_one_that_fails_does_not_stop_the_others(
    ras_house: RasHouse, false: FalseRas, line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[str] = []
    disk = [RemoteNotSaved(), RemoteNotSaved()]
    busy = [Refused(Status.SLOW_DOWN), Refused(Status.NOT_READY)]

    async def deal(message: Message) -> None:
        tries.append(message.type)
        match message.type:
            case "join.request" if disk:
                raise disk.pop()
            case "join.done":
                raise RuntimeError("always")
            case "member.left":
                raise Malformed("user is missing")
            case "keys.wanted" if busy:
                raise busy.pop()

    line.heard.on_durable = deal
    await line.up()
    await ras_house.until(lambda: false.said("resume"))
    for seq, kind in enumerate(("join.request", "join.done", "member.left", "keys.wanted"), 1):
        await false.say(kind, {}, seq=seq)
    await ras_house.within(150, lambda: false.said("ack"), step=2)
    once = ["member.left", "keys.wanted"]
    assert tries == ["join.request"] * 3 + ["join.done"] * 3 + once + ["keys.wanted"] * 2
    assert [message.type for message in line.heard.durable] == ["join.request", "keys.wanted"]
    assert line.link.connected


async def test_more_events_than_fit_are_asked_for_again(
    ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    held = asyncio.Event()

    async def deal(message: Message) -> None:
        await held.wait()

    line.heard.on_durable = deal
    await line.up()
    await ras_house.until(lambda: false.said("resume"))
    for seq in range(1, 301):
        await false.say("keys.wanted", {}, seq=seq)
    await false.say("anything", {})
    await ras_house.until(lambda: line.heard.live)
    held.set()
    await ras_house.until(lambda: len(false.said("resume")) == 2)
    seq = false.said("resume")[-1]["seq"]
    assert seq == len(line.heard.durable) == 200
    for number in range(seq + 1, 301):
        await false.say("keys.wanted", {}, seq=number)
    await ras_house.until(lambda: len(line.heard.durable) == 300)


# --- other addresses ---


async def test_another_address_is_gone_to_at_once(
    hass: HomeAssistant, ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    await line.up()
    moved = FalseRas(false.key)
    moved.site, moved.gateway = false.site, false.gateway
    await moved.start()
    data = {**line.entry.data, "url": moved.url}
    hass.config_entries.async_update_entry(line.entry, data=data)
    line.link.async_move()
    # No time passes.
    await ras_house.until(lambda: moved.connected and len(line.heard.welcomes) == 2)
    assert line.heard.downs == [Down.LOST]
    await ras_house.wait(moved.stop())


async def test_a_redirect_is_not_followed(
    hass: HomeAssistant, ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPTemporaryRedirect(f"{false.url}/api/v1/gateway")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    data = {**line.entry.data, "url": f"http://127.0.0.1:{runner.addresses[0][1]}"}
    hass.config_entries.async_update_entry(line.entry, data=data)
    line.link.async_move()
    await line.start()
    await line.is_down(Down.NOT_A_SERVER)
    assert asked == ["/api/v1/gateway"]
    assert false.connections == 0
    await ras_house.wait(runner.cleanup())


async def test_case_3_without_tls_only_this_machine_is_spoken_to(
    hass: HomeAssistant, ras_house: RasHouse, false: FalseRas, line: Line
) -> None:
    with patch("aiohttp.ClientSession.ws_connect") as connect:
        data = {**line.entry.data, "url": "http://192.0.2.1:8443"}
        hass.config_entries.async_update_entry(line.entry, data=data)
        line.link.async_move()
        await line.start()
        await line.is_down(Down.TLS)
        assert not connect.called
        # The app that the Supervisor named is on this machine.
        hass.config_entries.async_update_entry(line.entry, data={**data, "local": True})
        line.link.async_move()
        await ras_house.until(lambda: connect.called)


class Authority:
    """A certificate authority of somebody's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "An authority")])
        made = self._builder(self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        signed = made.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        self.pem = signed.public_bytes(serialization.Encoding.PEM).decode()

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        mine = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=300))
            .not_valid_after(now + dt.timedelta(days=300))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(mine), critical=False
            )
        )

    def context(self, host: str) -> ssl.SSLContext:
        """Return what a server of this address presents."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "A server")])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        made = self._builder(name, key.public_key()).add_extension(names, critical=False)
        chain, secret = self._folder / "chain.pem", self._folder / "key.pem"
        signed = made.sign(self._key, hashes.SHA256())
        chain.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        secret.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, secret)
        return context


async def test_case_3_the_certificate_is_checked_as_well(
    hass: HomeAssistant,
    ras_house: RasHouse,
    tmp_path: Path,
    make_line: Callable[[ConfigEntry[Any]], Line],
) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path)
    false = FalseRas()
    await false.start(authority.context("127.0.0.1"))
    line = make_line(false.entry(hass))

    async def with_authority(pem: str | None) -> None:
        line.heard.downs.clear()
        data = {**line.entry.data, "url": false.url, "ca": pem}
        hass.config_entries.async_update_entry(line.entry, data=data)
        line.link.async_move()

    # Nobody whom this machine trusts vouches for it, nor does another authority.
    await line.start()
    await line.is_down(Down.TLS)
    await with_authority(stranger.pem)
    await line.is_down(Down.TLS)
    # What is no certificate proves nothing.
    await with_authority("rubbish")
    await line.is_down(Down.TLS)
    assert false.connections == 0
    await with_authority(authority.pem)
    await ras_house.until(lambda: line.link.connected)
    await ras_house.wait(false.stop())
    # A certificate of the same authority for another address is another server's.
    await false.start(authority.context("192.0.2.1"))
    await with_authority(authority.pem)
    await line.is_down(Down.TLS)
    assert false.connections == 1
    await ras_house.wait(false.stop())
