"""Locks: who may ask about one, register and remove one (clauses 7.3 to 7.5)."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from gates import Gates, shared_ras
from igrs_ras import locks as locks_module
from igrs_ras.storage.tables import grants, locks
from peer import Denied, b64
from sqlalchemy import select

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conftest import MovedClock
    from home import Home
    from igrs_ras.ras import Ras
    from phone import Phone

pytestmark = pytest.mark.asyncio(loop_scope="module")

A, B = "C4112233445F", "C4112233446A"
SEEN = b64(bytes(range(10)))


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


async def ask(home: Home, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Call as the home's gateway; return status and data."""
    return await result(home, method, path, body, home.token)


async def result(
    one: Home | Phone, method: str, path: str, body: Any, token: str
) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return 0, await one.http.call(method, path, body, **headers)
    except Denied as denied:
        return denied.status, None


async def test_case_28_a_device_is_not_registered_by_its_identifier_alone(gates: Gates) -> None:
    home = await gates.enrolled("Home", A)
    owner = await gates.owner(home)
    new = {"device": B, "capabilities": 45, "advertisement": SEEN}
    assert (await result(owner, "POST", "/api/v1/locks", new, ""))[0] == 11
    assert (await result(owner, "POST", "/api/v1/locks", new, owner.token))[0] == 20, (
        "not even an owner"
    )
    assert (await ask(home, "POST", "/api/v1/locks", {"device": B, "capabilities": 45}))[0] == 10
    asked: list[tuple[str, bytes]] = []

    def unknown(device: str, advertisement: bytes) -> bool:
        asked.append((device, advertisement))
        return False

    home.authentic = unknown
    assert (await ask(home, "POST", "/api/v1/locks", new))[0] == 36, (
        "the gateway does not know its key"
    )
    assert asked == [(B, bytes(range(10)))]
    assert [
        row.device
        for row in await gates.rows(select(locks.c.device).where(locks.c.site == home.site))
    ] == [A]
    home.authentic = lambda device, advertisement: True
    assert (await ask(home, "POST", "/api/v1/locks", new))[0] == 0
    assert [entry["device"] for entry in await gates.noted(home.site, "lock.registered")] == [A, B]


async def test_a_device_is_registered_once_at_a_site_and_looks_free_to_others(gates: Gates) -> None:
    home, other = await gates.enrolled("Home", A), await gates.enrolled("Other")
    new = {"device": A, "capabilities": 1, "advertisement": SEEN}
    assert (await ask(home, "POST", "/api/v1/locks", new))[0] == 22
    other.authentic = lambda device, advertisement: True
    found = await ask(
        other, "POST", "/api/v1/locks/authenticate", {"device": A, "advertisement": SEEN}
    )
    assert found == (0, {"registered": False, "authentic": True})
    assert (await ask(other, "POST", "/api/v1/locks", new))[0] == 0, "it may have been sold"
    found = await ask(
        home, "POST", "/api/v1/locks/authenticate", {"device": A, "advertisement": SEEN}
    )
    assert found == (0, {"registered": True, "authentic": True})


async def test_gateways_and_owners_authenticate_devices_of_their_own_site(
    gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await gates.enrolled("Home", A)
    owner, guest, stranger = await gates.owner(home), await gates.member(home), gates.phone()
    body = {"device": A, "advertisement": SEEN, "site": home.site}
    path = "/api/v1/locks/authenticate"
    assert await result(owner, "POST", path, body, owner.token) == (
        0,
        {"registered": True, "authentic": True},
    )
    assert (await result(guest, "POST", path, body, guest.token))[0] == 20
    assert (await result(stranger, "POST", path, body, ""))[0] == 11
    assert (
        await result(owner, "POST", path, {**body, "site": secrets.token_hex(16)}, owner.token)
    )[0] == 21
    assert (await result(owner, "POST", path, {"device": A, "advertisement": SEEN}, owner.token))[
        0
    ] == 10
    for wrong in (b64(bytes(9)), b64(bytes(11)), "", "*"):
        assert (await result(owner, "POST", path, {**body, "advertisement": wrong}, owner.token))[
            0
        ] == 10
    for wrong in (A.lower(), A[:-1], "", "C4112233445G"):
        assert (await result(owner, "POST", path, {**body, "device": wrong}, owner.token))[0] == 10
    home.authentic = lambda device, advertisement: None
    assert (await result(owner, "POST", path, body, owner.token))[0] == 31, (
        "the gateway cannot tell now"
    )

    # A gateway that says nothing, or nonsense.
    monkeypatch.setattr(locks_module, "ASK_SECONDS", 0.05)
    answer = home._authenticate

    async def silent(id_: str, body: dict[str, Any]) -> None:
        """Say nothing."""

    home._authenticate = silent  # type: ignore[method-assign]
    assert (await result(owner, "POST", path, body, owner.token))[0] == 31
    monkeypatch.undo()

    async def nonsense(id_: str, body: dict[str, Any]) -> None:
        await home.peer.send("ok", {"re": id_, "authentic": "yes"})

    home._authenticate = nonsense  # type: ignore[method-assign]
    assert (await result(owner, "POST", path, body, owner.token))[0] == 1
    home._authenticate = answer  # type: ignore[method-assign]
    await home.cut()
    assert (await result(owner, "POST", path, body, owner.token))[0] in (30, 31)


async def test_ten_questions_a_minute_for_each_caller_and_for_each_lock(
    gates: Gates, clock: MovedClock
) -> None:
    home = await gates.enrolled("Home", A)
    owner = await gates.owner(home)
    path = "/api/v1/locks/authenticate"

    async def asked(who: Home | Phone, device: str) -> int:
        body = {"device": device, "advertisement": SEEN, "site": home.site}
        return (await result(who, "POST", path, body, who.token))[0]

    clock.advance(61)  # since the registration
    await home.request("ping")
    for number in range(10):
        assert await asked(owner, f"C4{number:010X}") == 0
    assert await asked(owner, A) == 41, "the caller has asked enough"
    for _ in range(10):
        assert await asked(home, A) == 0
    assert await asked(home, B) == 41
    clock.advance(61)
    await home.connect()
    for _ in range(5):
        assert await asked(owner, A) == 0
        assert await asked(home, A) == 0
    assert await asked(home, A) == 41, "the lock was asked about enough, whoever asks"
    assert await asked(home, B) == 0


async def test_a_lock_that_is_removed_takes_its_rights_and_relays_with_it(gates: Gates) -> None:
    home, other = await gates.enrolled("Home", A, B), await gates.enrolled("Other", A)
    phone = await gates.member(home)
    seen = (await phone.call("GET", "/api/v1/locks"))["locks"]
    assert [(lock["device"], lock["capabilities"], lock["online"]) for lock in seen] == [
        (A, 45, True),
        (B, 45, True),
    ]
    assert (await result(phone, "DELETE", f"/api/v1/locks/{A}", None, phone.token))[0] == 20
    assert (await ask(home, "DELETE", f"/api/v1/locks/{A}"))[0] == 0
    assert (await ask(home, "DELETE", f"/api/v1/locks/{A}"))[0] == 21
    assert (await ask(home, "DELETE", "/api/v1/locks/unknown"))[0] == 21
    assert [lock["device"] for lock in (await phone.call("GET", "/api/v1/locks"))["locks"]] == [B]
    assert [
        row.device
        for row in await gates.rows(select(grants.c.device).where(grants.c.site == home.site))
    ] == [B]
    both = locks.c.site.in_((home.site, other.site))
    rows = await gates.rows(select(locks.c.site, locks.c.device).where(both))
    assert {(row.site, row.device) for row in rows} == {(home.site, B), (other.site, A)}
    await phone.connect()
    with pytest.raises(Denied) as denied:
        await phone.relay(home.site, A, b"unlock")
    assert denied.value.status == 21
    assert await phone.relay(home.site, B, b"unlock") == ("answered", [b"unlock"])
    # Registered anew it is a lock that nobody may relay to yet.
    await home.register_lock(A)
    assert [lock["device"] for lock in (await phone.call("GET", "/api/v1/locks"))["locks"]] == [B]


async def test_a_question_ends_with_the_link_over_which_it_went(gates: Gates) -> None:
    home = await gates.enrolled("Home", A)
    owner = await gates.owner(home)
    asked = asyncio.Event()

    async def silent(id_: str, body: dict[str, Any]) -> None:
        asked.set()

    home._authenticate = silent  # type: ignore[method-assign]
    body = {"device": A, "advertisement": SEEN, "site": home.site}
    waiting = asyncio.create_task(
        result(owner, "POST", "/api/v1/locks/authenticate", body, owner.token)
    )
    await asyncio.wait_for(asked.wait(), 10)
    await home.cut()
    assert (await waiting)[0] == 30
