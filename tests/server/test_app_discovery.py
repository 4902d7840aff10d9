"""The server as an app of Home Assistant: found without typing, by one home, once."""

import contextlib
from typing import TYPE_CHECKING

import pytest
from conftest import eventually, make_settings
from home import Home
from igrs_ras import discovery, wire
from igrs_ras.api.route import Listener
from igrs_ras.restore import restored_server
from igrs_ras.supervisor import TOKEN_VARIABLE
from peer import Closed, Denied, Http
from supervisor_double import TOKEN, Double

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from conftest import Database, MovedClock
    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings

    type Start = Callable[[Settings], Awaitable[Ras]]


@pytest.fixture
async def supervisor(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Double]:
    """Run a Supervisor that the servers of the test belong to."""
    double = Double()
    async with double.server:
        monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
        monkeypatch.setattr(discovery, "ADDRESS", double.address)
        yield double


async def test_home_assistant_gets_an_address_a_key_and_a_code(
    supervisor: Double, settings: Settings, start_ras: Start
) -> None:
    ras = await start_ras(settings)
    message = await supervisor.heard()
    assert message.pop("code")
    assert message == {
        "host": "1a2b3c4d-igrs-ras",
        "port": ras.ports[Listener.LOCAL],
        "server_key": wire.b64(ras.identity.public),
    }


async def test_a_dialog_left_open_over_a_restart_keeps_a_code_that_works(
    supervisor: Double, settings: Settings, start_ras: Start
) -> None:
    ras = await start_ras(settings)
    code = (await supervisor.heard())["code"]
    await ras.close()
    ras = await start_ras(settings)
    assert (await supervisor.heard())["code"] == code
    home = Home(f"http://127.0.0.1:{ras.ports[Listener.LOCAL]}")
    try:
        await home.enrol(code)
    finally:
        await home.close()


async def test_a_code_that_a_home_used_is_taken_back_and_none_is_given_again(
    supervisor: Double, settings: Settings, start_ras: Start
) -> None:
    ras = await start_ras(settings)
    code = (await supervisor.heard())["code"]
    home = Home(f"http://127.0.0.1:{ras.ports[Listener.LOCAL]}")
    try:
        await home.enrol(code)
        await eventually(lambda: "code" not in (supervisor.message or {}))
        await ras.close()
        await start_ras(settings)
        await supervisor.heard()
        assert [("code" in message) for message in supervisor.told][:2] == [True, False]
        assert not any("code" in message for message in supervisor.told[1:])
    finally:
        await home.close()


async def test_a_home_that_gives_its_place_back_is_offered_one_at_the_same_site(
    supervisor: Double, settings: Settings, start_ras: Start
) -> None:
    ras = await start_ras(settings)
    first = (await supervisor.heard())["code"]
    home = Home(f"http://127.0.0.1:{ras.ports[Listener.LOCAL]}")
    again = Home(home.url)
    try:
        await home.enrol(first)
        await home.connect()
        await eventually(lambda: "code" not in (supervisor.message or {}))
        with pytest.raises(Denied):
            await home.request("gateway.leave", {"gateway": "0" * 32})
        with contextlib.suppress(Closed):
            await home.request("gateway.leave", {"gateway": home.gateway})
        await eventually(lambda: "code" in (supervisor.message or {}))
        with pytest.raises(Closed):
            await home.connect()
        with pytest.raises(Denied):
            await again.enrol(first)
        await again.enrol((supervisor.message or {})["code"])
        assert again.site == home.site
        await again.connect()
    finally:
        await home.close()
        await again.close()


async def test_a_place_that_a_home_has_is_offered_again_for_an_hour_if_the_settings_say_so(
    supervisor: Double, database: Database, clock: MovedClock, start_ras: Start
) -> None:
    ras = await start_ras(make_settings(database))
    home = Home(f"http://127.0.0.1:{ras.ports[Listener.LOCAL]}")
    await home.enrol((await supervisor.heard())["code"])
    await home.close()
    await eventually(lambda: "code" not in (supervisor.message or {}))
    await ras.close()

    ras = await start_ras(make_settings(database, offer_place=True))
    await eventually(lambda: "code" in (supervisor.message or {}))
    code = (supervisor.message or {})["code"]
    # Nobody took it within the hour.
    clock.advance(discovery.AGAIN_MS / 1000 + 1)
    await eventually(lambda: "code" not in (supervisor.message or {}))
    late = Home(f"http://127.0.0.1:{ras.ports[Listener.LOCAL]}")
    with pytest.raises(Denied):
        await late.enrol(code)
    await late.close()
    await ras.close()

    # Somebody takes it after another start: at the same site, and once. The home of before is out.
    ras = await start_ras(make_settings(database, offer_place=True))
    await eventually(lambda: "code" in (supervisor.message or {}))
    url = f"http://127.0.0.1:{ras.ports[Listener.LOCAL]}"
    home.url, home.http = url, Http(url)
    again = Home(url)
    try:
        await home.connect()
        await again.enrol((supervisor.message or {})["code"])
        assert again.site == home.site
        await again.connect()
        assert await home.peer.closed == 4403
        await eventually(lambda: "code" not in (supervisor.message or {}))
    finally:
        await home.close()
        await again.close()


async def test_case_8_the_apps_code_is_refused_where_the_public_comes_in(
    supervisor: Double, settings: Settings, start_ras: Start
) -> None:
    ras = await start_ras(settings)
    code = (await supervisor.heard())["code"]
    home = Home(f"http://127.0.0.1:{ras.ports[Listener.PUBLIC]}")
    try:
        with pytest.raises(Denied):
            await home.enrol(code)
    finally:
        await home.close()


async def test_a_code_is_the_sites_and_ends_with_a_restore(
    supervisor: Double, database: Database, start_ras: Start
) -> None:
    ras = await start_ras(make_settings(database))
    site = "00" * 16
    mine = discovery.code_of(ras.identity, site, 1)
    assert mine == discovery.code_of(ras.identity, site, 1)
    assert (
        len(
            {
                mine,
                discovery.code_of(ras.identity, site, 2),
                discovery.code_of(ras.identity, "01" * 16, 1),
            }
        )
        == 3
    )


async def test_a_restore_while_the_app_runs_gives_another_code(
    supervisor: Double, settings: Settings, start_ras: Start
) -> None:
    ras = await start_ras(settings)
    code = (await supervisor.heard())["code"]
    await ras.store.write(restored_server)
    await eventually(lambda: (supervisor.message or {}).get("code") not in (None, code))
    home = Home(f"http://127.0.0.1:{ras.ports[Listener.LOCAL]}")
    try:
        with pytest.raises(Denied):
            await home.enrol(code)
        await home.enrol((supervisor.message or {})["code"])
    finally:
        await home.close()


async def test_outside_home_assistant_nothing_is_announced(
    settings: Settings, start_ras: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    double = Double()
    async with double.server:
        monkeypatch.setattr(discovery, "ADDRESS", double.address)
        ras = await start_ras(settings)
        await ras.tick()
        assert double.message is None
