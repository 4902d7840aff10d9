"""Phones that joined: whose they are, what the server is told of their users, and how they end.

A phone ends here first, stored; then its keys are made useless by other accounts on the locks, and
the server is told. What a server says of the end of a membership only takes the phone's place away:
a hostile one must not be able to take anybody's PIN.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from homeassistant.core import callback

from ..rotation import async_rotate
from .keys import may_be_remote, remote_locks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .gateway import Gateway
    from .records import Phone


@dataclass(frozen=True, slots=True)
class Member:
    """A user of the server, as this home lets them in: `owner` or `member`, and for which locks."""

    role: str
    locks: frozenset[str]


class Phones:
    """The phones of one server."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._home = gateway.home
        self._store = gateway.store
        self._rotating = asyncio.Lock()

    # --- who there is ---------------------------------------------------------------------------

    def of_person(self, person_id: str) -> list[Phone]:
        """Return a person's phones, the oldest first."""
        found = [one for one in self._store.phones.values() if one.person_id == person_id]
        return sorted(found, key=lambda one: one.joined)

    def of_user(self, user: str) -> list[Phone]:
        """Return the phones of a user of the server that go on."""
        return [one for one in self._store.phones.values() if one.user == user and not one.ended]

    def may_use(self, person_id: str) -> bool:
        """Whether a person may operate locks over this server now."""
        person = self._home.persons().get(person_id)
        return (
            self._store.enabled
            and person is not None
            and not self._is_owed(person_id)
            and may_be_remote(person)
            and any(not one.ended for one in self.of_person(person_id))
        )

    def _is_owed(self, person_id: str) -> bool:
        """Whether somebody's accounts wait to be replaced: a phone that is out knows their keys."""
        stores = [self._store, *(one.store for one in self._home.gateways.values())]
        return any(person_id in store.rotations for store in stores)

    def members(self) -> dict[str, Member]:
        """Return who is a member. Without a People entry everybody stays one, for no lock.

        Also whom the server was not told to let in yet: the word may have got lost.
        """
        persons, store = self._home.persons(), self._store
        locks: dict[str, frozenset[str]] = dict.fromkeys(store.owners, frozenset())
        for phone in store.phones.values():
            person = persons.get(phone.person_id)
            if phone.ended or (person is None and self._home.people_entry is not None):
                continue
            had = locks.get(phone.user, frozenset())
            locks[phone.user] = had | remote_locks(self._gateway, person)
        return {
            user: Member("owner" if user in store.owners else "member", devices)
            for user, devices in locks.items()
        }

    # --- how they end ---------------------------------------------------------------------------

    @callback
    def drop_gone(self) -> tuple[bool, list[str]]:
        """Drop phones and invitations of people who are not there any more.

        Their accounts are on the way out already, as everybody's who is removed. Return whether
        there was anything, and the invitations.
        """
        if self._home.people_entry is None:
            return False, []
        persons, store = self._home.persons(), self._store
        phones = [one.id for one in store.phones.values() if one.person_id not in persons]
        invitations = [
            one.id
            for one in store.invitations.values()
            if one.person_id and one.person_id not in persons
        ]
        gone = store.rotations - persons.keys()
        for id_ in phones:
            del store.phones[id_]
        for id_ in invitations:
            del store.invitations[id_]
        store.rotations -= gone
        return bool(phones or invitations or gone), invitations

    @callback
    def end(self, phones: Iterable[Phone], now: int) -> bool:
        """Note that the server ended these phones' memberships; whether any went on."""
        changed = False
        for phone in phones:
            if not phone.ended:
                phone.ended, changed = now, True
        return changed

    async def async_lose(
        self, person_id: str, drop: Iterable[str], withdraw: Iterable[str]
    ) -> None:
        """Drop phones and invitations, and replace their person's accounts on all locks.

        RemoteNotSaved: then nothing is done. LedgerNotSavedError: then the phones are out, and the
        accounts are replaced as soon as that can be stored.
        """
        store = self._store
        phones = {id_: store.phones.pop(id_) for id_ in drop if id_ in store.phones}
        invitations = {
            id_: store.invitations.pop(id_) for id_ in withdraw if id_ in store.invitations
        }
        owed = person_id in store.rotations
        store.rotations.add(person_id)

        def undo() -> None:
            store.phones |= phones
            store.invitations |= invitations
            if not owed:
                store.rotations.discard(person_id)

        # One file at a time: what is owed to the other one outlives a restart.
        await store.async_save(undo)
        await self.async_rotate_owed()

    async def async_rotate_owed(self) -> None:
        """Replace the accounts of those who are owed it. Kin of OperationError, RemoteNotSaved."""
        async with self._rotating:  # nobody's twice
            for person_id in sorted(self._store.rotations):
                await async_rotate(self._home, person_id)
                self._store.rotations.discard(person_id)
                await self._store.async_save()
