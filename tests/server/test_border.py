"""What every request meets before a route's own code: origin, size, form, address, half-open connections."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ipaddress
import json
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from certificate import make_certificate
from conftest import Api, Database, MovedClock, base_of, eventually, make_settings
from hypothesis import given
from hypothesis import strategies as st
from igrs_ras import wire
from igrs_ras.api import address, app
from igrs_ras.api.listen import HANDSHAKE_SECONDS, SHARE
from igrs_ras.api.route import Listener
from igrs_ras.settings import Settings, SettingsError, check, load
from igrs_ras.status import Refused, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import aiohttp
    from igrs_ras.ras import Ras

FOREIGN = {"Origin": "https://evil.example"}


async def test_an_answer_is_an_envelope_with_headers_that_keep_browsers_strict(api: Api) -> None:
    reply = await api("GET", "/api/v1/server")
    assert (reply.http, reply.status) == (200, 0)
    assert len(wire.unb64(reply.data["key"])) == 32
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["Strict-Transport-Security"]
    assert reply.headers["Server"] == "igrs-ras"


async def test_what_is_not_there_and_what_is_malformed_are_said_in_the_envelope(api: Api) -> None:
    assert (await api("GET", "/nothing")).status == Status.NOT_FOUND
    assert (await api("GET", "/api/v1/sites/1")).status in (Status.SIGN_IN, Status.NOT_FOUND)
    wrong = await api("PUT", "/api/v1/server")
    assert (wrong.http, wrong.status) == (405, Status.NOT_PERMITTED)
    assert wrong.headers["Allow"]


@pytest.mark.parametrize("name", ["token", "access_token", "Authorization"])
async def test_case_04_a_token_in_the_address_is_refused(api: Api, name: str) -> None:
    reply = await api("GET", f"/api/v1/server?{name}=u_secret")
    assert reply.status == Status.MALFORMED
    assert "u_secret" not in json.dumps(reply.data)


async def test_case_05_a_websocket_with_a_foreign_origin_is_refused(api: Api) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    for path in ("/api/v1/push", "/api/v1/gateway"):
        reply = await api("GET", path, headers=upgrade | FOREIGN)
        assert reply.status == Status.NOT_PERMITTED, path


async def test_unsafe_methods_need_the_own_origin_and_json(api: Api) -> None:
    body = {"email": "a@example.org", "password": "correct horse battery"}
    assert (await api("POST", "/api/v1/sessions", body, headers=FOREIGN)).status == 20
    form = await api(
        "POST",
        "/api/v1/sessions",
        "email=a",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert form.status == Status.MALFORMED


async def test_a_listed_origin_is_answered_without_credentials(
    database: Database,
    start_ras: Callable[[Settings], Awaitable[Ras]],
    http: aiohttp.ClientSession,
) -> None:
    listed = "https://pages.example"
    ras = await start_ras(make_settings(database, allowed_origins=[listed]))
    api = Api(http, base_of(ras))
    before = await api("OPTIONS", "/api/v1/sessions", headers={"Origin": listed})
    assert before.http == 204
    assert before.headers["Access-Control-Allow-Origin"] == listed
    assert "Access-Control-Allow-Credentials" not in before.headers
    assert (await api("OPTIONS", "/api/v1/sessions", headers=FOREIGN)).status == 20
    assert (
        "Access-Control-Allow-Origin"
        not in (await api("GET", "/api/v1/server", headers=FOREIGN)).headers
    )


BAD_JSON: list[bytes] = [
    b"",
    b"{",
    b"nul",
    b'{"email": NaN}',
    b'{"email": Infinity}',
    b'{"email": "a", "email": "b"}',
    b'{"email": "\xff"}',
    b'{"email": "\\ud800"}',
    b'{"email": "a\\u0000"}',
    b"[" * 30_000 + b"]" * 30_000,
    b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    b'{"email": 1e999}',
    b"1" * 5_000,
    b"[]",
    b'{"email": "a@example.org", "password": "12345678", "role": "owner"}',
]


async def test_case_38_broken_json_is_malformed_and_nothing_else(api: Api) -> None:
    for body in BAD_JSON:
        reply = await api("POST", "/api/v1/sessions", body)
        assert reply.status == Status.MALFORMED, body[:40]
    large = await api("POST", "/api/v1/sessions", b'{"email": "' + b"a" * 1024 * 1024 + b'"}')
    assert (large.http, large.status) == (413, Status.TOO_LARGE)


async def test_case_38_a_decompression_bomb_is_not_even_unpacked(api: Api) -> None:
    bomb = gzip.compress(b"[" * 50_000_000)
    reply = await api("POST", "/api/v1/sessions", bomb, headers={"Content-Encoding": "gzip"})
    assert reply.status == Status.MALFORMED


async def test_case_37_half_open_connections_are_ended_and_others_served(
    ras: Ras, api: Api, clock: MovedClock
) -> None:
    port = ras.ports[Listener.PUBLIC]
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(300)]
    for _, writer in silent[:150]:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert (await api("GET", "/healthz")).status == 0
    clock.advance(HANDSHAKE_SECONDS + 1)
    for reader, _ in silent:
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_connections_beyond_the_limit_are_closed_and_free_places_used_again(
    database: Database,
    start_ras: Callable[[Settings], Awaitable[Ras]],
    http: aiohttp.ClientSession,
) -> None:
    ras = await start_ras(make_settings(database, sockets=3))
    port = ras.ports[Listener.PUBLIC]
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    reader, _ = await asyncio.open_connection("127.0.0.1", port)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    for _, writer in held:
        writer.close()
    api = Api(http, base_of(ras))

    async def served() -> bool:
        try:
            return (await api("GET", "/healthz")).status == 0
        except OSError:
            return False

    await eventually(served)


async def test_one_caller_has_a_part_of_the_connections_only(
    database: Database, start_ras: Callable[[Settings], Awaitable[Ras]]
) -> None:
    # With a proxy configured, whoever comes past it counts by address.
    ras = await start_ras(make_settings(database, sockets=24, trusted_proxies=["192.0.2.1"]))
    port = ras.ports[Listener.PUBLIC]
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(24 // SHARE)]
    reader, _ = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    held.pop()[1].close()

    async def admitted() -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            return b"200 OK" in await asyncio.wait_for(reader.read(), 5)
        return False

    await eventually(admitted)


PROXY = ipaddress.ip_network("192.0.2.0/24")


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "expected"),
    [
        ("203.0.113.9", [], [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], [PROXY], "203.0.113.9"),
        ("192.0.2.1", ["198.51.100.1"], [PROXY], "198.51.100.1"),
        ("192.0.2.1", ["6.6.6.6, 198.51.100.1"], [PROXY], "198.51.100.1"),
        ("192.0.2.1", ["6.6.6.6", "198.51.100.1, 192.0.2.7"], [PROXY], "198.51.100.1"),
        ("192.0.2.1", ["6.6.6.6, nonsense"], [PROXY], ""),
        ("192.0.2.1", [], [PROXY], ""),
        ("192.0.2.1", ["192.0.2.7"], [PROXY], ""),
        ("2001:db8:1:2:3::9", [], [], "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", [], [], "203.0.113.9"),
        ("10.0.0.5", [], [], ""),
        ("10.0.0.5", ["6.6.6.6"], [], ""),
    ],
)
def test_case_06_who_writes_forwarded_headers_gains_nothing(
    peer: str, forwarded: list[str], proxies: list[Any], expected: str
) -> None:
    assert address.caller(peer, forwarded, proxies) == expected


@given(st.lists(st.text(max_size=30), max_size=4), st.ip_addresses())
def test_case_06_no_forwarded_text_breaks_or_frees_anybody(hops: list[str], peer: Any) -> None:
    found = address.caller(str(peer), hops, [])
    assert found == address.caller(str(peer), [], [])


async def test_without_a_certificate_only_the_proxy_that_has_one_is_answered(
    database: Database,
    start_ras: Callable[[Settings], Awaitable[Ras]],
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ras = await start_ras(make_settings(database, trusted_proxies=[str(PROXY)]))
    api = Api(http, base_of(ras))
    answers = {}
    for peer in ("192.0.2.1", "127.0.0.1", "192.168.1.20", "203.0.113.9", ""):
        # Only loopback can be had here, so the address that the socket would tell is told in its place.
        monkeypatch.setattr(app, "_peer", lambda _request, peer=peer: peer)
        reply = await api("GET", "/healthz", headers={"X-Forwarded-For": "127.0.0.1"})
        answers[peer] = reply.http
    assert answers == {
        "192.0.2.1": 200,
        "127.0.0.1": 200,
        "192.168.1.20": 403,
        "203.0.113.9": 403,
        "": 403,
    }
    told = [line for line in caplog.messages if "trusted_proxies" in line]
    assert len(told) == 1  # once, so that strangers cannot fill the log
    assert told[0].endswith("the address it comes from: 192.168.1.20")


async def test_the_address_of_a_stranger_who_is_refused_is_not_logged(
    database: Database,
    start_ras: Callable[[Settings], Awaitable[Ras]],
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ras = await start_ras(make_settings(database, trusted_proxies=[str(PROXY)]))
    monkeypatch.setattr(app, "_peer", lambda _request: "203.0.113.9")
    assert (await Api(http, base_of(ras))("GET", "/healthz")).http == 403
    assert "none of trusted_proxies" in caplog.text
    assert "203.0.113.9" not in "".join(caplog.messages)


REFUSED = object()


def read_or_malformed(text: str | bytes) -> Any:
    """What was read, or REFUSED; any other error than "malformed" fails the test."""
    try:
        return wire.loads(text)
    except Refused as refused:
        if refused.status is not Status.MALFORMED:
            raise
        return REFUSED


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=12,
    )
)
def test_what_json_allows_is_read_or_refused_but_never_an_error(value: Any) -> None:
    assert read_or_malformed(json.dumps(value)) in (value, REFUSED)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    read_or_malformed(data)


@given(st.binary(max_size=80))
def test_base64_has_one_text_for_each_value(data: bytes) -> None:
    assert wire.unb64(wire.b64(data)) == data
    for other in (wire.b64(data) + "=", wire.b64(data) + "\n", " " + wire.b64(data)):
        with pytest.raises(Refused):
            wire.unb64(other)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    return make_certificate(tmp_path)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_case_03_tls_is_1_2_or_newer_and_names_are_checked(
    database: Database,
    certificate: tuple[Path, Path],
    start_ras: Callable[[Settings], Awaitable[Ras]],
    http: aiohttp.ClientSession,
) -> None:
    chain, key = certificate
    ras = await start_ras(make_settings(database, certfile=str(chain), keyfile=str(key)))
    address = f"https://127.0.0.1:{ras.ports[Listener.PUBLIC]}/healthz"
    trusting = ssl.create_default_context(cafile=str(chain))
    async with http.get(address, ssl=trusting) as response:
        assert response.status == 200
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection(
            "127.0.0.1", ras.ports[Listener.PUBLIC], ssl=ssl.create_default_context()
        )
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection(
            "127.0.0.1",
            ras.ports[Listener.PUBLIC],
            ssl=trusting,
            server_hostname="other.example",
        )
    old = ssl.create_default_context(cafile=str(chain))
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await asyncio.open_connection("127.0.0.1", ras.ports[Listener.PUBLIC], ssl=old)


async def test_a_renewed_certificate_is_taken_up_while_the_server_runs(
    database: Database,
    tmp_path: Path,
    start_ras: Callable[[Settings], Awaitable[Ras]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    chain, key = make_certificate(tmp_path)
    ras = await start_ras(make_settings(database, certfile=str(chain), keyfile=str(key)))

    async def shown() -> bytes:
        unchecked = ssl.create_default_context()
        unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection(
            "127.0.0.1", ras.ports[Listener.PUBLIC], ssl=unchecked
        )
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return found

    first = await shown()
    (tmp_path / "new").mkdir()
    new_chain, new_key = make_certificate(tmp_path / "new")
    new_chain.replace(chain)  # the key is late
    await eventually(lambda: "the old ones stay in use" in caplog.text)
    assert await shown() == first
    new_key.replace(key)

    async def renewed() -> bool:
        return await shown() != first

    await eventually(renewed)
    assert await shown() == ssl.PEM_cert_to_DER_cert(chain.read_text())


@pytest.mark.parametrize(
    "wrong",
    [
        {"listen": "0.0.0.0:8443"},
        {"listen": "8443"},
        {"listen": "host:99999"},
        {"certfile": "/nothing", "keyfile": "/nothing"},
        {"certfile": "/nothing"},
        {"public_url": "http://locks.example"},
        {"public_url": "https://Locks.example"},
        {"public_url": "https://locks.example:443"},
        {"public_url": "https://me:secret@locks.example"},
        {"allowed_origins": ["https://a.example/path"]},
        {"trusted_proxies": ["0.0.0.0/0"]},
        {"trusted_proxies": ["somewhere"]},
        {"metrics_listen": "0.0.0.0:9190"},
        {"smtp_host": "mail.example"},
        {"database_url": "mysql://x"},
        {"sockets": 0},
    ],
)
def test_settings_that_are_unsafe_or_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as refused:
        check(Settings(**wrong))
    assert "secret" not in str(refused.value)


def test_unknown_settings_are_errors_wherever_they_stand(tmp_path: Path) -> None:
    for name, text in (("a.toml", "colour = 1"), ("a.json", '{"colour": 1}')):
        file = tmp_path / name
        file.write_text(text)
        with pytest.raises(SettingsError):
            load(file, {})
    with pytest.raises(SettingsError):
        load(None, {"IGRS_RAS_COLOUR": "1"})
    with pytest.raises(SettingsError):
        load(None, {"IGRS_RAS_SMTP_PORT": "many"})
    found = load(None, {"IGRS_RAS_ALLOWED_ORIGINS": "https://a.example, https://b.example"})
    assert found.allowed_origins == ["https://a.example", "https://b.example"]
    assert "b.example" not in repr(found)
