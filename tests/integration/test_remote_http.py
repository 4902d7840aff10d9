"""The server's HTTP interface as a home calls it, and which addresses it calls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from custom_components.igrs_lock.remote import identity
from custom_components.igrs_lock.remote.errors import (
    CertificateWrong,
    NotAServer,
    NotReady,
    Refused,
    RemoteError,
    Unreachable,
)
from custom_components.igrs_lock.remote.http import (
    BadAddress,
    RasHttp,
    read_address,
    read_public_url,
)
from custom_components.igrs_lock.remote.wire import Status, b64

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from homeassistant.core import HomeAssistant
    from ras_house import RasHouse


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("locks.example", "https://locks.example"),
        (" https://Locks.Example/ ", "https://locks.example"),
        ("https://locks.example:8443", "https://locks.example:8443"),
        ("http://127.0.0.1:8443", "http://127.0.0.1:8443"),
        ("http://localhost:8443/", "http://localhost:8443"),
        ("http://[::1]:8443", "http://[::1]:8443"),
    ],
)
def test_an_address_is_read(typed: str, address: str) -> None:
    assert read_address(typed) == address


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("", "invalid"),
        ("https://", "invalid"),
        ("ftp://locks.example", "invalid"),
        ("javascript://locks.example", "invalid"),
        ("https://anna:secret@locks.example", "invalid"),
        ("https://locks.example/path", "invalid"),
        ("https://locks.example/?a=b", "invalid"),
        ("https://locks.example/#a", "invalid"),
        ("https://locks.example:99999", "invalid"),
        ("https://locks example", "invalid"),
        ("https://" + "a" * 400, "invalid"),
        ("http://locks.example", "https"),
        ("http://192.168.1.2:8443", "https"),
        ("http://localhost.example", "https"),
        ("http://127.0.0.1.example", "https"),
    ],
)
def test_case_3_an_address_is_refused(typed: str, reason: str) -> None:
    with pytest.raises(BadAddress) as refused:
        read_address(typed)
    assert refused.value.reason == reason


def test_an_app_may_be_spoken_to_without_tls() -> None:
    assert read_address("http://abc-igrs-ras:8443", local=True) == "http://abc-igrs-ras:8443"


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("https://locks.example", "https://locks.example"),
        ("https://locks.example/ras/", "https://locks.example/ras"),
        ("http://127.0.0.1:8443", "http://127.0.0.1:8443"),
        ("http://locks.example", ""),
        ("https://locks.example/#,", ""),
        ("https://anna@locks.example", ""),
        ("https://locks.example/\n", ""),
        ("https://locks.example/`**Call+me**`", ""),
        ("https://locks.example/<b>", ""),
        ("javascript:alert(1)", ""),
        ("", ""),
    ],
)
def test_only_an_address_of_people_can_stand_in_a_link(said: str, taken: str) -> None:
    assert read_public_url(said) == taken


class Answers:
    """An HTTP server that answers as it is told."""

    def __init__(self) -> None:
        self.status = 200
        self.body: Any = {"status": 0, "message": "done", "data": None}
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.asked.append((request.method, str(request.rel_url), dict(request.headers), body))
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return web.Response(status=self.status, text=text, headers=self.headers)


@pytest.fixture
async def answers(ras_house: RasHouse) -> AsyncGenerator[Answers]:
    """A server that answers, on loopback."""
    made = Answers()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await ras_house.wait(runner.cleanup())


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, "rubbish", NotAServer),
        (404, "<html>", NotAServer),
        (502, "<html>", NotReady),
        (200, [], NotAServer),
        (200, {"status": "0"}, NotAServer),
        (200, {"status": 0, "data": None}, NotAServer),
        (200, {"status": 0, "data": {"key": "AAAA"}}, NotAServer),
        (200, {"status": 0, "message": "x" * 70_000}, NotAServer),
        (403, {"status": 14, "message": "code wrong or expired"}, Refused),
        (200, {"status": 999, "message": ""}, Refused),
        (307, "", NotAServer),
    ],
)
async def test_an_answer_of_a_wrong_form_is_somebody_elses(
    hass: HomeAssistant,
    ras_house: RasHouse,
    answers: Answers,
    status: int,
    body: Any,
    error: type[RemoteError],
) -> None:
    answers.status, answers.body = status, body
    answers.headers = {"Location": f"{answers.url}/elsewhere", "Set-Cookie": "a=b"}
    http = RasHttp(hass, answers.url)
    for _ in range(2):
        with pytest.raises(error):
            await ras_house.wait(http.server_info())
    # No redirect was followed, no cookie kept.
    assert [path for _, path, _, _ in answers.asked] == ["/api/v1/server"] * 2
    assert not [headers for _, _, headers, _ in answers.asked if "Cookie" in headers]


async def test_case_4_a_token_stands_in_no_address(
    hass: HomeAssistant, ras_house: RasHouse, answers: Answers
) -> None:
    http = RasHttp(hass, answers.url)
    await ras_house.wait(http.register_lock("g_token", "C4112233445F", 45, bytes(10)))
    await ras_house.wait(http.remove_lock("g_token", "C4112233445F"))
    assert [(method, path) for method, path, _, _ in answers.asked] == [
        ("POST", "/api/v1/locks"),
        ("DELETE", "/api/v1/locks/C4112233445F"),
    ]
    for _, _, headers, body in answers.asked:
        assert headers["Authorization"] == "Bearer g_token"
        assert b"g_token" not in body


async def test_enrolment_at_another_key_is_none(
    hass: HomeAssistant, ras_house: RasHouse, answers: Answers
) -> None:
    server, other = identity.new_private_key(), identity.new_private_key()
    answers.body = {
        "status": 0,
        "data": {
            "gateway": "a" * 32,
            "site": "b" * 32,
            "server_key": b64(identity.public_key(other)),
            "generation": 1,
        },
    }
    http = RasHttp(hass, answers.url)
    private = identity.new_private_key()
    code = "8KNZ-44YW-D3XS-6GJ4"
    with pytest.raises(NotAServer):
        await ras_house.wait(http.enrol(code, identity.public_key(server), private))
    with pytest.raises(identity.WrongCode):
        await http.enrol("8KNZ", identity.public_key(server), private)
    assert len(answers.asked) == 1
    enrolled = await ras_house.wait(http.enrol(code, identity.public_key(other), private))
    assert enrolled.gateway == "a" * 32


async def test_case_8_a_wrong_code_is_refused_by_the_real_server(
    hass: HomeAssistant, ras: RasHouse
) -> None:
    http = RasHttp(hass, ras.url)
    info = await ras.wait(http.server_info())
    assert info.key == ras.server.identity.public
    assert identity.fingerprint(info.key) == ras.server.identity.fingerprint
    code = await ras.code()
    enrolling = http.enrol("8KNZ-44YW-D3XS-6GJ4", info.key, identity.new_private_key())
    with pytest.raises(Refused) as refused:
        await ras.wait(enrolling)
    assert refused.value.status is Status.WRONG_CODE
    # A code for another server's key is none either: who only passes it on cannot use it.
    other = identity.public_key(identity.new_private_key())
    with pytest.raises(Refused):
        await ras.wait(http.enrol(code, other, identity.new_private_key()))
    await ras.wait(http.enrol(code.lower(), info.key, identity.new_private_key()))


async def test_where_nothing_answers_that_is_said(hass: HomeAssistant, ras_house: RasHouse) -> None:
    with pytest.raises(Unreachable):
        await ras_house.wait(RasHttp(hass, ras_house.url).server_info())
    # An address that an entry should not have is not called at all.
    with pytest.raises(CertificateWrong):
        await RasHttp(hass, "http://192.0.2.1").server_info()
    with pytest.raises(CertificateWrong):
        await ras_house.wait(RasHttp(hass, "https://127.0.0.1:1", "rubbish").server_info())
