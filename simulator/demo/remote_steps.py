"""The check's steps about remote use: a server, people who join from afar, and what becomes of both."""

import asyncio
import shutil
import time
from base64 import b64encode
from typing import Any, override

from . import owner
from .errors import DemoError
from .people_steps import PeopleSteps
from .rac import Door, errors, igrs_rac, sign_in
from .steps import eventually, expect, values

_STAYS, _GOES = "Clara", "Ben"
_MAIL, _PASSWORD = "clara@example.org", "only Clara knows this sentence"


class RemoteSteps(PeopleSteps):
    """What an owner, two people far away and a server's operator do."""

    _server = ""
    """The server's entry."""
    _link_entity = ""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._people: dict[str, str] = {}
        self._links: dict[str, str] = {}
        self._phones: dict[str, Any] = {}

    @override
    async def _close(self) -> None:
        for phone in self._phones.values():
            await phone.close()
        self._phones = {}
        await super()._close()

    # --- the server -------------------------------------------------------------------------------

    async def _link(self) -> str:
        place = await self._demo.ras.make_place()
        self._secrets.add(place.code)
        began = time.monotonic()
        self._server = await owner.connect(self._client, self._demo.ras.url, place)

        def is_there() -> bool:
            return bool(self._connectivity())

        await self._client.wait_until(is_there, "the connectivity of the server", 10)
        self._link_entity = self._connectivity()
        await self._linked(10)
        took = time.monotonic() - began
        await owner.make_reachable(self._client, self._server, [self._label.id])
        return f"linked {took:.2f} s after the address was given"

    def _connectivity(self) -> str:
        return next((one for one in self._client.states if one.endswith("_connectivity")), "")

    async def _linked(self, seconds: float) -> None:
        await self._client.wait_for_state(self._link_entity, "on", seconds)

    async def _members(self) -> set[str]:
        """Users that the server has as members of this home."""
        (site,) = (await self._demo.ras.command("site", "list"))["sites"]
        shown = await self._demo.ras.command("site", "show", site["id"])
        return {member["user"] for member in shown["members"]}

    # --- people far away --------------------------------------------------------------------------

    async def _join(self) -> str:
        for name in (_STAYS, _GOES):
            person = await owner.add_person(self._client, name, "resident", [self._label.id])
            self._people[name] = person
            self._links[name] = link = await owner.invite(self._client, person)
            self._secrets.add(link.rpartition(",")[2])
            self._phones[name] = self._phone(name, link)

        async def written() -> bool:
            users = (await self._answer("get_users"))["users"]
            states = {user["name"]: user["state"] for user in users}
            return all(states.get(name) == "active" for name in self._people)

        await eventually(written, 20, "both are in the lock")
        # What comes later comes by a message of its own; here the keys are in what a join brings.
        took = await asyncio.gather(*(self._join_with(one) for one in self._phones.values()))
        expect(len(await self._members()) == 2, "the server does not have both as members")
        await self._keep_password()
        self._secrets |= await self._keys() | {_PASSWORD}
        return f"with keys after {' and '.join(f'{seconds:.2f}' for seconds in took)} s"

    async def _join_with(self, phone: Any) -> float:
        began = time.monotonic()
        phone.start()
        await phone.joined(15)
        await phone.connected(10)
        took = time.monotonic() - began
        keys = phone.lock(self._label.id).keys
        self._secrets |= _written(keys.key) | _written(phone.memory.update_key)
        self._secrets.add(phone.memory.token)
        return took

    def _phone(self, name: str, link: str, file: str = "") -> Any:
        """A phone with its own file of keys."""
        folder = self.setup.folder / "phones"
        folder.mkdir(exist_ok=True)
        memory = igrs_rac.Memory.begin(
            folder / f"{file or name}.json", igrs_rac.read_link(link), f"{name}'s phone"
        )
        if not file:
            # What somebody has who copied the link and the file before it was used.
            copy = folder / f"{name}-before.json"
            shutil.copy(memory.path, copy)
        return igrs_rac.RemoteClient(memory, pause=_at_once)

    async def _keep_password(self) -> None:
        """Who has a password comes back also after the server forgot all sessions."""
        phone = self._phones[_STAYS]
        body = {"email": _MAIL, "password": _PASSWORD, "name": _STAYS}
        await phone.http.call("POST", "/api/v1/users", body, phone.memory.token)

    async def _unlock_remotely(self, name: str = _STAYS) -> str:
        """Unlock, and see that it was done when the client says so, and who did it."""

        def told() -> bool:
            return self._client.states[self._entity].attributes.get("changed_by") == name

        await self._client.call("lock", "lock", self._entity)
        await self._settled("locked")
        await self._client.wait_until(lambda: not told(), "changed by the home", 15)
        phone = self._phones[name]
        device = self._label.id
        await phone.prewarm(device)
        since = len(self._client.published)
        began = time.monotonic()
        done = await phone.unlock(device)
        took = time.monotonic() - began
        truth = (await self._truth())["bolt"]
        expect(truth == "unlocked" and not done.already, f"told was done, but the bolt is {truth}")
        await self._settled("unlocked")
        shown = values(self._client.published[since:], self._entity)
        expect("unlocked" in shown, f"shown was {' → '.join(shown)}")
        await self._client.wait_until(told, f"changed by {name}", 15)
        return f"confirmed by the lock after {took:.2f} s, by {name}"

    async def _follow(self) -> str:
        """Turn the bolt by hand, and see it from afar."""
        phone, device = self._phones[_GOES], self._label.id
        times = []
        for bolt in ("locked", "unlocked"):
            began = time.monotonic()
            await self._act("turn", bolt=bolt)

            async def seen(bolt: str = bolt) -> bool:
                view = phone.lock(device).view
                return bool(view.current and view.bolt and view.bolt.name.lower() == bolt)

            await eventually(seen, 15, f"{bolt} seen from afar", 0.02)
            times.append(time.monotonic() - began)
        return f"after {' and '.join(f'{seconds:.2f}' for seconds in times)} s"

    # --- the server's bad days --------------------------------------------------------------------

    async def _kill_server(self) -> str:
        """Pull the server's power, keep a copy of its disk for later, and use the lock at home."""
        ras = self._demo.ras
        await ras.kill()
        began = time.monotonic()
        await self._client.wait_for_state(self._link_entity, "off", 35)
        off = time.monotonic() - began
        # As a snapshot of the disk would be: with its open write-ahead log.
        shutil.copytree(ras.data, self._old_copy, ignore=shutil.ignore_patterns("control"))
        await self._operate("lock", ["locking", "locked"], "locked")
        note = await self._operate("unlock", ["unlocking", "unlocked"], "unlocked")
        return f"shown {off:.2f} s after; at home {note}"

    @property
    def _old_copy(self) -> Any:
        return self._demo.ras.data.with_name("old-copy")

    async def _start_server(self) -> str:
        began = time.monotonic()
        await self._demo.ras.start()
        await self._demo.ras.wait_until_ready()
        ready = time.monotonic()
        await self._linked(60)
        back = time.monotonic() - ready
        for phone in self._phones.values():
            await phone.connected(15)
        note = await self._unlock_remotely()
        return (
            f"server ready after {ready - began:.2f} s, linked {back:.2f} s later; unlocked again,"
            f" {note}"
        )

    async def _remove_remote(self) -> str:
        """Remove somebody. The server ends the membership, the home refuses the keys, and so does the lock itself."""
        phone, device = self._phones[_GOES], self._label.id
        keys = phone.lock(device).keys
        await self._client.call("lock", "lock", self._entity)
        await self._settled("locked")
        began = time.monotonic()
        await owner.remove_person(self._client, self._people[_GOES])

        async def closed() -> bool:
            return phone.down is not None

        await eventually(closed, 15, "the connection from afar closed", 0.01)
        took = time.monotonic() - began

        async def ended() -> bool:
            return phone.memory.user not in await self._members()

        await eventually(ended, 15, "the membership ended at the server")
        await self._refused(phone.unlock(device), errors.NotSentError)
        await self._gone_from_lock(_GOES)
        # With the keys in a phone that the server and the home still let in.
        other = self._phones[_STAYS]
        kept, other.lock(device).keys = other.lock(device).keys, keys
        try:
            await self._refused(other.unlock(device), errors.RefusedByHomeError)
        finally:
            other.lock(device).keys = kept
        async with Door(self._demo.simulator.hci_ports[0], self._label.address) as door:
            answer = await door.unlock(keys)
            expect(
                isinstance(answer, errors.AuthenticationSaidError),
                f"the lock says {answer!r} to old keys",
            )
            await self._still("locked")
            answer = await door.unlock(kept)
            expect(isinstance(answer, igrs_rac.Done), f"the lock says {answer!r} to good keys")
        return f"connection closed after {took:.2f} s; refused by server, home and lock"

    async def _refused(self, attempt: Any, error: Any) -> None:
        """Await what must not work, and that it fails for the right reason."""
        try:
            done = await attempt
        except error:
            await self._still("locked")
        else:
            raise DemoError(f"it was not refused: {done}")

    async def _still(self, bolt: str) -> None:
        truth = (await self._truth())["bolt"]
        expect(truth == bolt, f"the bolt is {truth}, not {bolt}")

    async def _gone_from_lock(self, name: str) -> None:
        async def gone() -> bool:
            users = (await self._answer("get_users"))["users"]
            return all(user["name"] != name for user in users)

        await eventually(gone, 20, f"{name} is removed from the lock")

    async def _old_server(self) -> str:
        """Put the copy of the disk back from when the removed person was a member."""
        ras = self._demo.ras
        await self._client.call("lock", "lock", self._entity)
        await self._settled("locked")
        await ras.stop()
        await self._client.wait_for_state(self._link_entity, "off", 10)
        ras.data.rename(ras.data.with_name("replaced"))
        self._old_copy.rename(ras.data)
        await ras.start()
        await ras.wait_until_ready()
        began = time.monotonic()
        # In the copy his session is good, until the home comes.
        gone = self._phones.pop(_GOES)
        early = self._phones["early"] = igrs_rac.RemoteClient(gone.memory, pause=_at_once)
        early.start()
        trying = asyncio.create_task(self._keep_trying(early))
        await self._linked(60)
        took = time.monotonic() - began
        issue = f"server_restored_{self._server}"

        async def raised() -> bool:
            issues = (await self._client.command("repairs/list_issues"))["issues"]
            return any(one["issue_id"] == issue for one in issues)

        await eventually(raised, 10, "the repair about the old copy")
        stays = self._phones[_STAYS]

        async def only_one() -> bool:
            return await self._members() == {stays.memory.user}

        await eventually(only_one, 10, f"{_STAYS} as the server's only member")
        expect(not trying.done(), f"{_GOES} unlocked")
        trying.cancel()
        await self._still("locked")
        # Neither the session of before, nor the link from the very beginning.
        await self._refused(self._sites_of(gone), errors.SignInError)
        await gone.close()
        again = self._phones["again"] = self._phone(_GOES, self._links[_GOES], f"{_GOES}-before")
        await self._refused(self._join_again(again), errors.JoinRefusedError)
        number = stays.memory.number
        await sign_in(stays.memory, stays.http, _MAIL, _PASSWORD)
        await stays.close()
        stays = self._phones[_STAYS] = igrs_rac.RemoteClient(stays.memory, pause=_at_once)
        stays.start()
        await stays.connected(15)

        async def keys_again() -> bool:
            return bool(stays.memory.number > number)

        await eventually(keys_again, 15, f"the keys of {_STAYS} sent again")
        note = await self._unlock_remotely()
        return f"linked {took:.2f} s after the start; {_GOES} stays out, {_STAYS}: {note}"

    async def _keep_trying(self, phone: Any) -> None:
        """Try to unlock for as long as it does not work."""
        while True:
            try:
                await phone.unlock(self._label.id)
            except igrs_rac.RacError:
                await asyncio.sleep(0.05)
            else:
                return

    async def _sites_of(self, phone: Any) -> Any:
        return await phone.http.call("GET", "/api/v1/sites", token=phone.memory.token)

    async def _join_again(self, phone: Any) -> Any:
        phone.start()
        await phone.joined(20)
        await phone.connected(20)
        return await phone.unlock(self._label.id)


def _at_once(_attempt: int) -> float:
    """Seconds until a phone connects again: what is measured is the home."""
    return 0.2


def _written(secret: bytes) -> set[str]:
    """How a secret would look in a log."""
    return {secret.hex(), b64encode(secret).decode()}
