"""The home: joins the entries of locks, people and servers, in whatever order they are set up.

One for all entries of this integration. A lock's coordinator comes and goes with its entry; people
are read from the entry itself, whether it is loaded or not.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers.singleton import singleton
from homeassistant.util.hass_dict import HassKey

from .access import AccessState, PinState
from .const import (
    CONF_CAPABILITIES,
    CONF_TYPE,
    DOMAIN,
    SUBENTRY_PERSON,
    TYPE_PEOPLE,
    TYPE_SERVER,
)
from .errors import OperationError
from .ilp import USES_KEEP, Capability, IlpError
from .ledger import Ledger
from .ledger_lock import QuestionKind
from .person import Person
from .standing import async_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import Context

    from .access import Access
    from .coordinator import IgrsLockConfigEntry, IgrsLockCoordinator
    from .remote.gateway import Gateway
    from .session import Identity

_LOGGER = logging.getLogger(__name__)

_SETTLE_TIMEOUT: Final = 15.0
"""Seconds that an action waits for a lock to be written to."""

_PENDING: Final = (AccessState.PENDING, AccessState.REMOVAL_PENDING)
_PROBLEMS: Final = (AccessState.QUESTION, AccessState.FULL, AccessState.FAILED)


def is_people(entry: ConfigEntry[Any]) -> bool:
    """Whether an entry of this integration is the People entry."""
    return entry.data.get(CONF_TYPE) == TYPE_PEOPLE


def is_server(entry: ConfigEntry[Any]) -> bool:
    """Whether an entry of this integration is a remote access server's."""
    return entry.data.get(CONF_TYPE) == TYPE_SERVER


def is_lock(entry: ConfigEntry[Any]) -> bool:
    """Whether an entry of this integration is a lock's."""
    return CONF_TYPE not in entry.data


@callback
def lock_entries(hass: HomeAssistant) -> list[IgrsLockConfigEntry]:
    """Return the loaded entries that are locks."""
    return [entry for entry in hass.config_entries.async_loaded_entries(DOMAIN) if is_lock(entry)]


@callback
def lock_names(hass: HomeAssistant) -> dict[str, str]:
    """Return names by device identifier of all locks that have an entry, loaded or not."""
    entries = hass.config_entries.async_entries(DOMAIN, include_ignore=False)
    return {entry.unique_id: entry.title for entry in entries if is_lock(entry) and entry.unique_id}


@callback
def find_people_entry(hass: HomeAssistant) -> ConfigEntry[Any] | None:
    """Return the People entry, also a disabled one."""
    return hass.config_entries.async_entry_for_domain_unique_id(DOMAIN, TYPE_PEOPLE)


@callback
def keypad_locks(hass: HomeAssistant) -> set[str]:
    """Return the device identifiers of all locks with a keypad, loaded or not."""
    return {
        entry.unique_id
        for entry in hass.config_entries.async_entries(DOMAIN, include_ignore=False)
        if is_lock(entry)
        and entry.unique_id
        and Capability.KEYPAD in Capability(entry.data[CONF_CAPABILITIES])
    }


class Home:
    """People and locks."""

    def __init__(self, hass: HomeAssistant, ledger: Ledger) -> None:
        self.hass = hass
        self.ledger = ledger
        self.coordinators: dict[str, IgrsLockCoordinator] = {}
        """Coordinators of the loaded lock entries by device identifier."""
        self.gateways: dict[str, Gateway] = {}
        """The loaded remote access servers by entry ID."""
        self.taken: dict[str, set[str]] = {}
        """People whose list was seen without a lock, by device identifier."""
        self._new_pins: dict[str, str] = {}
        self._listeners: list[Callable[[], None]] = []

    # --- locks ----------------------------------------------------------------------------------

    @callback
    def async_add(self, coordinator: IgrsLockCoordinator) -> None:
        """Take a lock in whose entry is set up."""
        self.coordinators[coordinator.device_id] = coordinator
        self.async_access_changed()

    @callback
    def async_remove(self, coordinator: IgrsLockCoordinator) -> None:
        """Let go of a lock whose entry is unloaded."""
        if self.coordinators.get(coordinator.device_id) is coordinator:
            del self.coordinators[coordinator.device_id]
        self.async_access_changed()

    # --- people ---------------------------------------------------------------------------------

    @property
    def people_entry(self) -> ConfigEntry[Any] | None:
        """The People entry; None when there is none or it is disabled."""
        entry = find_people_entry(self.hass)
        return None if entry is None or entry.disabled_by is not None else entry

    def persons(self) -> dict[str, Person]:
        """Return everybody by ID.

        Also {} without a People entry: look at `people_entry` before taking that for a removal.
        """
        if (entry := self.people_entry) is None:
            return {}
        return {
            subentry.subentry_id: Person.of(subentry)
            for subentry in entry.get_subentries_of_type(SUBENTRY_PERSON)
        }

    def person_of_user(self, user_id: str) -> Person | None:
        """Return the person that a Home Assistant user is tied to.

        Also while the People entry is gone or disabled, which changes nothing: otherwise a guest
        would act as this home then.
        """
        for person in self.known_persons().values():
            if person.user_id == user_id:
                return person
        return None

    def known_persons(self) -> dict[str, Person]:
        """Return everybody by ID, while the People entry is gone or disabled as they were last."""
        if self.people_entry is not None:
            return self.persons()
        return {
            key: Person.from_data(key, person["title"], person["data"])
            for key, person in self.ledger.people.items()
        }

    @callback
    def async_people_changed(self) -> None:
        """Let every lock be written what changed: somebody was added, changed or removed."""
        for coordinator in self.coordinators.values():
            coordinator.accounts.async_people_changed()
        self.async_access_changed()

    @callback
    def async_note_people(self) -> bool:
        """Take people as they are now into the ledger; whether that is to be stored.

        From there they come back if the People entry is removed and made again.
        """
        if (entry := self.people_entry) is None:
            return False
        people: dict[str, dict[str, Any]] = {
            subentry.subentry_id: {"title": subentry.title, "data": dict(subentry.data)}
            for subentry in entry.get_subentries_of_type(SUBENTRY_PERSON)
        }
        users = {one["data"]["user_id"] for one in people.values()} - {None}
        ledger = self.ledger
        changed = people != ledger.people or ledger.kept or not users <= ledger.users
        ledger.people, ledger.kept = people, False
        ledger.users |= users
        return changed

    async def async_store_people(self) -> None:
        """Keep people as they are now in the ledger, on disk."""
        if self.async_note_people():
            try:
                await self.ledger.async_save()
            except OperationError as err:
                _LOGGER.debug("People are not stored: %s", err)  # the ledger has logged it

    async def async_renew_lock(self, device_id: str) -> None:
        """Begin anew for a lock that was just paired; LedgerNotSavedError."""
        listed = {
            person.id: person.name
            for person in self.known_persons().values()
            if device_id in person.locks
        }
        await self.ledger.async_renew_lock(device_id, listed)

    @callback
    def async_confirm(self, device_id: str, person_ids: Iterable[str]) -> None:
        """Note that the owner lets these people in after a lock was paired anew."""
        questions = self.ledger.lock(device_id).questions
        for person_id in person_ids:
            question = questions.get(person_id)
            if question is not None and question.kind is QuestionKind.PAIRED:
                del questions[person_id]

    @callback
    def async_set_users(self, device_id: str, person_ids: Iterable[str]) -> None:
        """Let these people use a lock, and nobody else."""
        wanted = {*person_ids}
        if self.people_entry is None:
            # They may come back with what was noted of them.
            for person_id, person in self.known_persons().items():
                locks = person.locks - {device_id}
                if person_id in wanted:
                    locks |= {device_id}
                self.ledger.people[person_id]["data"] = person.changed(locks=locks).as_data()
            self.ledger.async_save_soon()
        if (entry := find_people_entry(self.hass)) is None:
            return
        for subentry in entry.get_subentries_of_type(SUBENTRY_PERSON):
            person = Person.of(subentry)
            locks = person.locks - {device_id}
            if person.id in wanted:
                locks |= {device_id}
            self.hass.config_entries.async_update_subentry(
                entry, subentry, data=person.changed(locks=locks).as_data()
            )

    @callback
    def async_take_lock(self, person_id: str, device_id: str) -> None:
        """Take a lock from a person's list."""
        entry = self.people_entry
        subentry = None if entry is None else entry.subentries.get(person_id)
        if entry is None or subentry is None:
            return
        person = Person.of(subentry)
        self.hass.config_entries.async_update_subentry(
            entry, subentry, data=person.changed(locks=person.locks - {device_id}).as_data()
        )

    @callback
    def async_keep_new_pin(self, token: str, digits: str) -> None:
        """Keep the PIN of somebody who is being added, until the subentry with this unique ID.

        Home Assistant gives the subentry its ID only after the flow.
        """
        self._new_pins[token] = digits

    async def async_take_new_pins(self, entry: ConfigEntry[Any]) -> None:
        """Note the PINs of people who were just added in the ledger."""
        for subentry in entry.get_subentries_of_type(SUBENTRY_PERSON):
            digits = self._new_pins.pop(subentry.unique_id or "", "")
            if digits:
                try:
                    await self.async_set_pin(Person.of(subentry), digits)
                except OperationError:
                    # The person is there, without a PIN, and nobody waits for an answer.
                    _LOGGER.exception("A new PIN could not be stored")

    async def async_set_pin(
        self, person: Person, digits: str, device_ids: Iterable[str] | None = None
    ) -> None:
        """Keep a PIN ("" takes it away) until each of the person's keypads has it.

        Of those only `device_ids`, if given. Kin of OperationError when it could not be stored.
        """
        locks = person.locks & keypad_locks(self.hass)
        if device_ids is not None:
            locks &= {*device_ids}
        await self.ledger.async_set_pin(person.id, sorted(locks), digits)
        self.async_people_changed()

    async def async_count_anew(self, person: Person) -> None:
        """Let a person have all their uses again on every lock. Kin of OperationError."""
        before = []
        for lock in self.ledger.locks.values():
            grant = lock.grants.get(person.id)
            if grant is not None and grant.settled is not None:
                before.append((grant, grant.settled))
                # A number that is never wanted: what is wanted differs then, and is written.
                grant.settled = replace(grant.settled, uses=USES_KEEP)
        try:
            await self.ledger.async_save()
        except OperationError:
            for grant, settled in before:
                grant.settled = settled
            raise
        self.async_people_changed()

    async def async_settle(self, device_ids: Iterable[str]) -> None:
        """Write what is pending to those of the locks that are in reach, and wait a little."""
        tasks = [
            coordinator.config_entry.async_create_background_task(
                self.hass, _settle(coordinator), f"{coordinator.config_entry.title} people"
            )
            for device_id in device_ids
            if (coordinator := self.coordinators.get(device_id)) is not None
            and coordinator.available
            and self.pending(device_id)
        ]
        if tasks:
            # Not cancelled then: it goes on behind.
            await asyncio.wait(tasks, timeout=_SETTLE_TIMEOUT)

    def pending(self, device_id: str) -> bool:
        """Whether anything about people waits to be written to a lock."""
        coordinator = self.coordinators.get(device_id)
        return coordinator is None or coordinator.accounts.pending

    def pending_pins(self, but_of: str = "") -> set[str]:
        """Return the PINs that wait to be written, of everybody but one person."""
        waiting = {
            digits
            for lock in self.ledger.locks.values()
            for person_id, digits in lock.pins.items()
            if person_id != but_of and digits
        }
        return waiting | {*self._new_pins.values()}

    # --- access ---------------------------------------------------------------------------------

    @callback
    def async_listen(self, listener: Callable[[], None]) -> CALLBACK_TYPE:
        """Call `listener` when the access of anybody to any lock changed; returns what ends it."""
        self._listeners.append(listener)

        @callback
        def stop() -> None:
            self._listeners.remove(listener)

        return stop

    @callback
    def async_access_changed(self) -> None:
        """Tell that what somebody may do, or what waits to be written, changed on some lock.

        What a listener does wrong is its own: whoever changed something here goes on.
        """
        for listener in tuple(self._listeners):
            try:
                listener()
            except Exception:
                _LOGGER.exception("A change of access could not be followed")

    def access_of(self, person_id: str) -> list[tuple[IgrsLockCoordinator, Access]]:
        """Return a person's access to the loaded locks; also what is about to be removed."""
        return [
            (coordinator, access)
            for coordinator in self.coordinators.values()
            for access in coordinator.accounts.access()
            if access.person_id == person_id
        ]

    def unwritten(self, person_id: str) -> tuple[set[str], set[str]]:
        """Return names of the locks where something waits to be written, and where it cannot be."""
        person = self.persons().get(person_id)
        # A lock whose entry is not loaded cannot be written to.
        pending = {
            name
            for device_id, name in lock_names(self.hass).items()
            if person is not None
            and device_id in person.locks
            and device_id not in self.coordinators
        }
        problem: set[str] = set()
        for coordinator, access in self.access_of(person_id):
            if access.state in _PROBLEMS or access.pin is PinState.TAKEN:
                problem.add(coordinator.config_entry.title)
            elif access.state in _PENDING or access.pin is PinState.PENDING:
                pending.add(coordinator.config_entry.title)
        return pending, problem

    async def async_identity(
        self, coordinator: IgrsLockCoordinator, context: Context | None
    ) -> Identity | None:
        """Return as whom a lock is to be operated, as `standing.async_identity`."""
        return await async_identity(self, coordinator, context)


async def _settle(coordinator: IgrsLockCoordinator) -> None:
    try:
        await coordinator.accounts.async_settle()
    except (OperationError, IlpError) as err:
        # The job tries again by itself.
        _LOGGER.debug("%s: not settled: %s", coordinator.config_entry.title, err)


_HOME: Final[HassKey[Home]] = HassKey(f"{DOMAIN}_home")


@singleton(_HOME, async_=True)
async def async_get_home(hass: HomeAssistant) -> Home:
    """Return the one home, with its ledger loaded."""
    ledger = Ledger(hass)
    await ledger.async_load()
    return Home(hass, ledger)
