"""People in the People entry, what a lock really holds, and other hands that change it."""

import copy
import time
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, override

from board import Connection
from bsld import const as c
from homeassistant.components.repairs import DOMAIN as REPAIRS
from homeassistant.config_entries import ConfigSubentry
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.storage import Store
from world import DOMAIN, OtherController

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.errors import OperationError
from custom_components.igrs_lock.log_store import log_store
from custom_components.igrs_lock.person import DEFAULT_RIGHTS, Kind, Person

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bsld.accounts import Account
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant
    from world import TestLock, World

    from custom_components.igrs_lock.accounts import Access, AccountKeeper
    from custom_components.igrs_lock.coordinator import IgrsLockCoordinator

MANAGER = ilp.Right.ENABLED | ilp.Right.MANAGE | ilp.Right.LOCK | ilp.Right.UNLOCK


@dataclass(frozen=True)
class Key:
    """What somebody's phone keeps of an account, also after it is gone."""

    slot: int
    account_id: bytes


class Tenants:
    """The owner's list of people, and a look behind the lock's cover."""

    def __init__(self, world: World, lock: TestLock, entry: ConfigEntry[Any]) -> None:
        self.world = world
        self.hass: HomeAssistant = world.hass
        self.lock = lock
        self.entry = entry

    # --- the owner ---

    @property
    def coordinator(self) -> IgrsLockCoordinator:
        found: IgrsLockCoordinator = self.entry.runtime_data
        return found

    @property
    def keeper(self) -> AccountKeeper:
        return self.coordinator.accounts

    @property
    def people(self) -> ConfigEntry[Any]:
        entries = self.hass.config_entries
        entry = entries.async_entry_for_domain_unique_id(DOMAIN, "people")
        assert entry is not None
        return entry

    def add(self, name: str, pin: str = "", **fields: Any) -> str:
        """Add somebody; returns the person's ID. The lock learns of it when time passes."""
        kind = fields.pop("kind", Kind.RESIDENT)
        given: dict[str, Any] = {
            "rights": DEFAULT_RIGHTS[kind],
            "locks": frozenset((self.lock.unique_id,)),
        } | fields
        person = Person(id="", name=name, kind=kind, **given)
        subentry = ConfigSubentry(
            data=person.as_data(),  # type: ignore[arg-type]  # it is a mapping
            subentry_type="person",
            title=name,
            unique_id=None,
        )
        self.hass.config_entries.async_add_subentry(self.people, subentry)
        if pin:
            self.hass.async_create_task(self._set_pin(subentry.subentry_id, pin))
        return subentry.subentry_id

    def change(self, person_id: str, **fields: Any) -> None:
        subentry = self.people.subentries[person_id]
        data = Person.of(subentry).changed(**fields).as_data()
        self.hass.config_entries.async_update_subentry(self.people, subentry, data=data)

    def remove(self, person_id: str) -> None:
        self.hass.config_entries.async_remove_subentry(self.people, person_id)

    async def set_pin(self, person_id: str, pin: str) -> None:
        home = self.coordinator.home
        await home.async_set_pin(home.persons()[person_id], pin)

    async def _set_pin(self, person_id: str, pin: str) -> None:
        with suppress(OperationError):
            await self.set_pin(person_id, pin)

    def access(self, name: str) -> Access:
        (found,) = [one for one in self.keeper.access() if one.name == name]
        return found

    def state(self, name: str) -> str:
        return self.access(name).state.value

    def access_states(self, name: str) -> list[str]:
        """The states of all that a name has on the lock, also of what is about to go."""
        return [one.state.value for one in self.keeper.access() if one.name == name]

    # --- repairs ---

    def issues(self) -> dict[str, str]:
        """Issues about people's access: translation key by issue."""
        return {
            issue_id: str(issue.translation_key)
            for (domain, issue_id), issue in ir.async_get(self.hass).issues.items()
            if domain == DOMAIN and issue.active and not issue_id.startswith("log_gap")
        }

    def drifts(self) -> list[str]:
        """What is asked, sorted."""
        return sorted(key for key in self.issues().values() if key.startswith("drift"))

    async def ask(self, kind: str) -> dict[str, Any]:
        """Open the repair with a translation key."""
        (issue_id,) = [key for key, value in self.issues().items() if value == kind]
        flows = self.hass.data[REPAIRS]["flow_manager"]
        return dict(await flows.async_init(DOMAIN, data={"issue_id": issue_id}))

    async def answer(self, kind: str, choice: str) -> dict[str, Any]:
        """Answer the repair with a translation key, and let time pass until that is done."""
        return await self.choose(await self.ask(kind), choice)

    async def choose(self, result: dict[str, Any], choice: str) -> dict[str, Any]:
        assert result["type"] == "menu", result
        assert choice in result["menu_options"]
        flows = self.hass.data[REPAIRS]["flow_manager"]
        done = await self.world.during(
            flows.async_configure(result["flow_id"], {"next_step_id": choice}), 120
        )
        await self.world.advance(8)
        return dict(done)

    # --- behind the cover ---

    def accounts(self) -> list[Account]:
        """What the lock holds beside this home's own account."""
        own = ilp.parse_account_id(self.entry.data["account_id"])
        return [one for one in self.lock.core.accounts.used() if one.account_id != own]

    def key(self, name: str) -> Key:
        """What the phone of somebody with access gets."""
        access = self.access(name)
        assert access.account is not None
        return Key(access.account.slot, access.account.account_id)

    def account(self, name: str) -> Account:
        """The lock's account of somebody with access."""
        found = self.lock.core.accounts.find(self.key(name).account_id)
        assert found is not None
        return found

    def opens(self, pin: str) -> bool:
        """Whether the keypad takes a PIN."""
        taken = self.lock.core.pin_entered(pin) in (c.DONE, c.ACCEPTED)
        return bool(taken)

    # --- other hands ---

    def controller(self) -> OtherController:
        """Somebody who has the key of this home: itself, after a restored backup."""
        other = Hand(self.world, self.lock)
        other.key = ilp.controller_key(self.lock_key)
        return other

    @property
    def lock_key(self) -> bytes:
        return bytes.fromhex(self.entry.data["lock_key"])

    def phone(self, key: Key) -> Phone:
        return Phone(self.world, self.lock, self.lock_key, key)

    async def manager(self, name: str = "Maria") -> Phone:
        """Let somebody in this home manage the lock with a phone."""
        other = self.controller()
        key = self.key(name)
        await other.request(ilp.requests.set_rights(key.slot, MANAGER))
        return self.phone(key)


class Hand(OtherController):
    """Somebody else's controller, which connects for each message anew."""

    @override
    async def request(self, *wanted: ilp.Request) -> bytes:
        self.connect()
        return await super().request(*wanted)

    def connect(self) -> None:
        """Connect, whatever became of the last connection."""
        self.connection.end(tell=False)
        self.connection = Connection(self.lock, lambda _connection: None)


class Phone(Hand):
    """A person's phone."""

    def __init__(self, world: World, lock: TestLock, lock_key: bytes, key: Key) -> None:
        super().__init__(world, lock)
        self.account = key
        self.key = ilp.account_key(lock_key, key.account_id)

    async def ask(self, *wanted: ilp.Request) -> list[int]:
        """Send requests in a new session; returns the results, those of 02 first.

        An ERROR is one negative number.
        """
        self.connect()
        nonce = ilp.parse_challenge(await self.say(ilp.challenge_request()))
        session = ilp.ClientSession(
            self.key, self.lock.device_id, self.account.slot, ilp.NonceSource.CHALLENGE, nonce
        )
        frames = [
            one.at(int(time.time()))
            for one in (ilp.requests.authenticate(self.account.account_id), *wanted)
        ]
        answer = await self.say(session.open(frames))
        if answer[0] == ilp.Kind.ERROR:
            return [-answer[1]]
        return [
            frame.value[0]
            for frame in session.receive(answer)
            if frame.type == ilp.FrameType.RESPONSE
        ]


class PowerCut(BaseException):
    """The battery is taken out in the middle of something."""


class Cutter:
    """Cuts a lock's power at one of its writes to flash, and looks at it after each."""

    def __init__(self, lock: TestLock, look: Callable[[], None]) -> None:
        self.lock = lock
        self.look = look
        self.left: int | None = None
        self.done = 0
        flash = lock.flash
        append = flash.append

        def appended(name: str, data: bytes) -> None:
            if self.left is not None:
                self.done += 1
                if self.left == 0:
                    self.left = None
                    raise PowerCut
                self.left -= 1
            append(name, data)
            self.look()

        flash.append = appended  # type: ignore[method-assign]
        self._wrap()

    def arm(self, after: int) -> None:
        """Cut instead of the write after this many."""
        self.left = after
        self.done = 0

    def _wrap(self) -> None:
        core = self.lock.core
        written = core.written

        def guarded(conn: Any, data: bytes) -> None:
            try:
                written(conn, data)
            except PowerCut:
                self.lock.power_cut()
                self._wrap()

        core.written = guarded  # type: ignore[method-assign]


class Backup:
    """What a backup of Home Assistant holds about people: list, ledger, and the read log."""

    def __init__(self, tenants: Tenants) -> None:
        self.tenants = tenants
        self.ledger = copy.deepcopy(tenants.coordinator.home.ledger._data())
        self.people = {
            key: (subentry.title, dict(subentry.data))
            for key, subentry in tenants.people.subentries.items()
        }
        self.log = copy.deepcopy(tenants.coordinator.log._book.as_dict())

    async def restore(self) -> None:
        """Stop Home Assistant, put it all back, and start again."""
        await restart(self.tenants, self._put_back)

    async def _put_back(self) -> None:
        tenants, entries = self.tenants, self.tenants.hass.config_entries
        people = tenants.people
        for key, subentry in [*people.subentries.items()]:
            if key not in self.people:
                entries.async_remove_subentry(people, key)
            else:
                title, data = self.people[key]
                entries.async_update_subentry(people, subentry, title=title, data=data)
        for key, (title, data) in self.people.items():
            if key not in people.subentries:
                subentry = ConfigSubentry(
                    data=MappingProxyType(data),
                    subentry_id=key,
                    subentry_type="person",
                    title=title,
                    unique_id=None,
                )
                entries.async_add_subentry(people, subentry)
        await Store[Any](tenants.hass, 1, f"{DOMAIN}.people").async_save(self.ledger)
        await log_store(tenants.hass, tenants.lock.unique_id).async_save(self.log)


async def restart(tenants: Tenants, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
    """Let Home Assistant die and start again from what is on its disk."""
    hass = tenants.hass
    entries = [*hass.config_entries.async_entries(DOMAIN)]
    for entry in entries:
        await hass.config_entries.async_unload(entry.entry_id)
    await tenants.world.settle()
    await tenants.world.forget_memory()
    if meanwhile is not None:
        await meanwhile()
    for entry in entries:
        await hass.config_entries.async_setup(entry.entry_id)
    await tenants.world.settle()
