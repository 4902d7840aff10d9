"""An older copy of the data is put back: nobody whom the home has let go comes back to life with it (cases 15 and 16)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Database, MovedClock, make_settings
from home import Home
from igrs_ras.storage.tables import audit, members, sites
from peer import Closed, Denied
from phone import Phone
from process import free_port
from sqlalchemy import select
from town import PASSWORD, Residence, new_site, rows_of, settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings
    from postgres import PostgresCluster

    type Start = Callable[[Settings], Awaitable[Ras]]

SIGN_IN, WRONG_CODE, NOT_FOUND = 11, 14, 21
REVOKED = 4403


class Copies:
    """Copies of a stopped server's data, as a backup program or a thief with access to the disk makes them."""

    def __init__(self, database: Database, cluster: PostgresCluster | None) -> None:
        self.database = database
        self.boot = b""
        self._cluster = cluster
        self._made = database.folder.parent / "copy.sqlite3"

    def make(self) -> None:
        self.boot = (self.database.folder / "boot").read_bytes()
        if self._cluster is not None:
            self._name = self._cluster.create_database(self.database.name)
        else:
            shutil.copy(self.database.folder / "ras.sqlite3", self._made)

    def put_back(self, *, whole: bool) -> Database:
        """Put the database back; `whole`: and with it what else stood in the folder, as no backup of ours has it."""
        if whole:
            (self.database.folder / "boot").write_bytes(self.boot)
        if self._cluster is not None:
            name = self._cluster.create_database(self._name)
            return replace(self.database, url=self._cluster.url(name), name=name)
        for left in self.database.folder.glob("ras.sqlite3*"):
            left.unlink()
        shutil.copy(self._made, self.database.folder / "ras.sqlite3")
        return self.database


@pytest.fixture
def copies(request: pytest.FixtureRequest, database: Database) -> Copies:
    postgres = database.kind == "postgresql"
    return Copies(database, request.getfixturevalue("cluster") if postgres else None)


@pytest.fixture
def port() -> int:
    """The server's, the same at each start."""
    return free_port()


async def status(phone: Phone, method: str, path: str, body: Any = None) -> int:
    try:
        await phone.call(method, path, body)
    except Denied as denied:
        return denied.status
    return 0


async def sites_of(phone: Phone) -> dict[str, str]:
    found = await phone.call("GET", "/api/v1/sites")
    return {item["site"]: item["state"] for item in found["sites"]}


@pytest.mark.parametrize("whole", [False, True], ids=["database", "folder"])
async def test_case_16_a_copy_revives_no_member_session_code_or_invitation(
    database: Database, copies: Copies, clock: MovedClock, start_ras: Start, port: int, whole: bool
) -> None:
    address = f"127.0.0.1:{port}"
    ras = await start_ras(make_settings(database, listen=address))
    with rows_of(database) as rows:
        code = new_site(rows, "Mill Lane 2", clock.now_ms())
    place = await settle(f"http://{address}", code, now=clock.now_ms)
    home, owner, stays = place.home, place.owner, place.member
    removed, ended = Phone(home.url, name="Rolf"), Phone(home.url, name="Other browser")
    withdrawn_by, claimant = Phone(home.url, name="Wera"), Phone(home.url, name="Claus")
    place.others += [removed, ended, withdrawn_by, claimant]
    await removed.join(await home.invite())
    await ended.sign_in(place.email, PASSWORD)
    owner_code = await home.owner_code()
    open_then = await home.invite()
    await ras.close()
    await gone(place)
    copies.make()

    # What the copy does not know: a member removed, a session ended, a code used, an invitation withdrawn.
    ras = await start_ras(make_settings(database, listen=address))
    await home.connect()
    await home.end_member(removed.user)
    assert await status(ended, "DELETE", "/api/v1/sessions") == 0
    owner.token = ""
    await owner.sign_in(place.email, PASSWORD)
    await claimant.claim(owner_code, "claus@example.org", PASSWORD)
    await home.until(lambda: claimant.user in home.members)
    await home.withdraw(open_then.id)
    await ras.close()
    await gone(place)
    assert home.audit is not None
    assert home.audit_problems == []

    ras = await start_ras(make_settings(copies.put_back(whole=whole), listen=address))
    database = (
        copies.database
        if database.kind == "sqlite"
        else replace(database, url=ras.settings.database_url)
    )
    home.auto_sync = False
    if whole:
        # Nothing on the server tells; its home does as soon as it comes.
        assert not ras.boot.restored_at_start
    else:
        assert ras.boot.restored_at_start
    generation = home.generation
    await home.connect()
    assert home.restored
    assert home.generation > generation

    async def nobody_is_in() -> None:
        for phone in (owner, stays, removed, ended, claimant):
            assert await status(phone, "GET", "/api/v1/sites") == SIGN_IN
        assert await status(withdrawn_by, "POST", "/api/v1/joins", withdrawn_by.join_body(open_then)) == NOT_FOUND  # fmt: skip
        again = {
            "email": "x@example.org",
            "password": PASSWORD,
            "name": "X",
            "owner_code": owner_code,
        }
        assert await status(withdrawn_by, "POST", "/api/v1/users", again) == WRONG_CODE

    await nobody_is_in()
    fresh = Phone(home.url, name="Olga again")
    place.others.append(fresh)
    await fresh.sign_in(place.email, PASSWORD)
    assert await sites_of(fresh) == {home.site: "suspended"}
    assert await status(fresh, "GET", f"/api/v1/sites/{home.site}") == NOT_FOUND
    await fresh.connect()
    with pytest.raises(Denied) as denied:
        await fresh.relay(home.site, place.devices[0], b"unlock")
    assert denied.value.status == NOT_FOUND

    # The home says who is in. Whom it has let go is not; whom the copy does not know it cannot bring back.
    await home.sync()
    assert home.sync_answer["users"] == [claimant.user]
    await nobody_is_in()
    assert await sites_of(fresh) == {home.site: "active"}
    assert await fresh.relay(home.site, place.devices[0], b"unlock") == ("answered", [b"unlock"])
    with rows_of(database) as rows:
        kept = rows.execute(select(members.c.user).where(members.c.site == home.site)).scalars()
        assert set(kept) == {owner.user, stays.user}
        entries = (
            rows.execute(select(audit.c.entry).where(audit.c.site == home.site)).scalars().all()
        )
    assert sum('"site.restored"' in entry for entry in entries) == 1
    whats = [entry.partition('"what":"')[2].partition('"')[0] for entry in entries]
    assert "site.synced" in whats[whats.index("site.restored") :]

    # The same copy once more, and the same again: no generation comes twice, so no event number means two things.
    seen = {home.generation}
    await ras.close()
    await gone(place)
    for _ in range(2):
        clock.advance(0.001)
        ras = await start_ras(make_settings(copies.put_back(whole=False), listen=address))
        await home.connect()
        seen.add(home.generation)
        await ras.close()
        await home.peer.close()
    assert len(seen) == 3
    await place.close()


async def gone(place: Residence) -> None:
    """Wait until the home and its people noticed that the server is gone."""
    for end in (place.home, place.owner, place.member, *place.others):
        if isinstance(end, Home) or end._peer is not None:
            await end.peer.close()


async def test_case_16_a_copy_revives_no_gateway_that_was_revoked(
    database: Database, copies: Copies, clock: MovedClock, start_ras: Start, port: int
) -> None:
    """A stolen gateway's key was replaced by a new one; with the old key nobody becomes the home again."""
    address = f"127.0.0.1:{port}"
    ras = await start_ras(make_settings(database, listen=address))
    with rows_of(database) as rows:
        code = new_site(rows, "Mill Lane 2", clock.now_ms())
    place = await settle(f"http://{address}", code, now=clock.now_ms)
    stolen = place.home
    await ras.close()
    await gone(place)
    copies.make()
    ras = await start_ras(make_settings(database, listen=address))
    with rows_of(database) as rows:
        code = new_site(rows, "", clock.now_ms(), site=stolen.site)
    new = Home(stolen.url, now=clock.now_ms)
    place.others.append(new)
    await new.enrol(code)
    await new.connect()
    with pytest.raises(Closed) as closed:
        await stolen.connect()
    assert closed.value.code == REVOKED
    await ras.close()
    await gone(place)

    ras = await start_ras(make_settings(copies.put_back(whole=False), listen=address))
    with pytest.raises(Closed) as closed:
        await stolen.connect()
    assert closed.value.code == REVOKED
    with rows_of(replace(database, url=ras.settings.database_url)) as rows:
        assert rows.execute(select(sites.c.suspended).where(sites.c.id == stolen.site)).scalar()
        entries = (
            rows.execute(select(audit.c.entry).where(audit.c.site == stolen.site)).scalars().all()
        )
    assert '"gateway.revoked"' in entries[-1]
    # The home gets a new place by a new code, as after any loss of its key.
    with rows_of(replace(database, url=ras.settings.database_url)) as rows:
        code = new_site(rows, "", clock.now_ms(), site=stolen.site)
    again = Home(stolen.url, now=clock.now_ms)
    place.others.append(again)
    await again.enrol(code)
    again.locks = dict.fromkeys(place.devices, 45)
    await again.connect()
    await ras.close()
    await place.close()


async def test_case_15_no_number_counts_twice_after_a_restart(
    database: Database, clock: MovedClock, start_ras: Start, port: int
) -> None:
    """Connection numbers of gateways, numbers of sealed keys, of events and of audit entries go on where they were."""
    address = f"127.0.0.1:{port}"
    ras = await start_ras(make_settings(database, listen=address))
    with rows_of(database) as rows:
        code = new_site(rows, "Mill Lane 2", clock.now_ms())
    place = await settle(f"http://{address}", code, now=clock.now_ms)
    home, phone = place.home, place.member
    await home.update_keys(phone.user, "keys")
    await phone.event("keys")
    await home.peer.close()
    await home.connect()
    used, seq, generation = home.n, phone.seq, phone.generation
    await ras.close()
    await gone(place)
    with rows_of(database) as rows:
        index = len(rows.execute(select(audit.c.i).where(audit.c.site == home.site)).all())
    ras = await start_ras(make_settings(database, listen=address))
    for number in (used, used - 1, 1):
        peer = await home.open()
        with pytest.raises(Closed) as closed:
            await home.handshake(peer, n=number)
        assert closed.value.code == 4409
    await home.connect()
    await phone.connect()
    assert phone.generation == generation
    with pytest.raises(Denied) as denied:
        await home.request("keys.update", {"user": phone.user, "number": 1, "sealed": "A" * 40})
    assert denied.value.status == 22
    await home.update_keys(phone.user, "more keys")
    await phone.until(lambda: len([item for item in phone.events if item["type"] == "keys"]) == 2)
    assert [item["seq"] for item in phone.events][-1] == seq + 1
    await ras.close()
    with rows_of(database) as rows:
        entries = rows.execute(
            select(audit.c.i).where(audit.c.site == home.site).order_by(audit.c.i)
        )
        numbers = list(entries.scalars())
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > index
    await place.close()
