"""People and their phones at one server: who is invited, who joined, what the server is told of it.

This home decides. Each change is stored here before the server hears of it, and what it could not
be told is told when the link is back: invitations and members stand in the home's list, phones
that joined and keys that changed are owed until the server took them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from homeassistant.config_entries import SIGNAL_CONFIG_ENTRY_CHANGED
from homeassistant.core import CALLBACK_TYPE, HassJob, callback
from homeassistant.helpers.dispatcher import async_dispatcher_connect, async_dispatcher_send
from homeassistant.helpers.event import async_call_later

from ..const import DOMAIN
from ..errors import OperationError
from ..home import is_server
from ..people import SIGNAL_PERSON
from .invitations import Invitations
from .joins import Joins
from .people_issues import PeopleIssues
from .phones import Member, Phones
from .records import InvitationState
from .updates import Updates
from .wire import LinkDown, Reader, Refused, RemoteError, Status

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from homeassistant.config_entries import ConfigEntry, ConfigEntryChange

    from ..person import Person
    from .gateway import Gateway
    from .records import Phone
    from .wire import Message

_LOGGER = logging.getLogger(__name__)

__all__ = ["Member", "RemotePeople"]

EVENT_LEFT: Final = "phone_left"

_KEYS_DELAY: Final = 2.0
_KEYS_DELAY_MAX: Final = 10.0
"""Seconds that changes are collected before phones get new keys."""
_RETRY: Final = 60.0
_LOOK: Final = 6 * 3600.0
"""Seconds between two looks for invitations that have ended."""


class RemotePeople:
    """The part of a gateway that knows people. See docs/ras.md, "Joining"."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._store = gateway.store
        self.phones = Phones(gateway)
        self.invitations = Invitations(gateway)
        self._joins = Joins(gateway, self)
        self._updates = Updates(gateway)
        self._issues = PeopleIssues(gateway)
        self._told: dict[str, Member] = {}
        """Members as the server knows them, as far as this home knows."""
        self._listed = 0
        """The number of the connection over which the server has got the list: words come after it."""
        self._withdrawn: set[str] = set()
        self._unsaved = False
        self._again = False
        self._task: asyncio.Task[None] | None = None
        self._timers: dict[str, CALLBACK_TYPE] = {}
        self._keys_since: float | None = None
        self._keys_due = False

    # --- life -----------------------------------------------------------------------------------

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Begin to follow people; returns what ends it."""
        stops = [
            self._gateway.home.async_listen(self._async_home_changed),
            self._gateway.async_listen(self._async_home_changed),
            async_dispatcher_connect(
                self._gateway.hass, SIGNAL_CONFIG_ENTRY_CHANGED, self._async_entry_changed
            ),
        ]
        self._issues.async_update()
        self._async_home_changed()
        self._async_look()

        @callback
        def stop() -> None:
            for one in stops:
                one()
            while self._timers:
                self._timers.popitem()[1]()
            if self._task is not None:
                self._task.cancel()

        return stop

    @callback
    def _async_entry_changed(self, _change: ConfigEntryChange, entry: ConfigEntry[Any]) -> None:
        """Follow names of locks, and whether there are people."""
        if entry.domain == DOMAIN and not is_server(entry):
            self._async_home_changed()

    @callback
    def _async_look(self, _now: datetime | None = None) -> None:
        if self.invitations.drop_expired():
            self._issues.async_update()
            self.async_check_soon(unsaved=True)
        self._arm("look", _LOOK, self._async_look)

    # --- what is so -----------------------------------------------------------------------------

    def members(self) -> dict[str, Member]:
        """Return the members by user, for the home's list."""
        return self.phones.members()

    def listed_invitations(self) -> list[dict[str, str | int]]:
        """Return the open invitations, for the home's list."""
        return self.invitations.listed()

    def may_use(self, person_id: str) -> bool:
        """Whether a person may operate locks over this server now."""
        return self.phones.may_use(person_id)

    # --- what the owner does --------------------------------------------------------------------

    async def async_invite(self, person: Person, days: int) -> str:
        """Open an invitation; return its link. RemoteError."""
        link = await self.invitations.async_invite(person, days)
        self._gateway.async_changed()
        return link

    async def async_make_owner_code(self) -> str:
        """Return a new owner's code. RemoteError."""
        return await self.invitations.async_make_owner_code()

    async def async_withdraw(self, invitation_id: str) -> bool:
        """Withdraw an invitation; whether accounts are replaced, since keys are out there.

        Kin of OperationError, RemoteNotSaved.
        """
        store = self._store
        if (item := store.invitations.get(invitation_id)) is None:
            return False
        open_there = item.state in (InvitationState.OPEN, InvitationState.ANSWERED)
        answered = bool(item.client)

        def undo() -> None:
            store.invitations[item.id] = item

        try:
            if answered:
                await self.phones.async_lose(item.person_id, [item.join], [item.id])
            else:
                del store.invitations[item.id]
                await store.async_save(undo)
        finally:
            if open_there and item.id not in store.invitations:
                self._withdrawn.add(item.id)
            self.async_changed()
        return answered

    async def async_lose_phone(self, phone_id: str) -> None:
        """End a phone and replace its person's accounts. Kin of OperationError, RemoteNotSaved."""
        store = self._store
        if (phone := store.phones.get(phone_id)) is None:
            return
        for item in store.invitations.values():
            if item.join == phone_id:
                await self.async_withdraw(item.id)
                return
        try:
            await self.phones.async_lose(phone.person_id, [phone_id], [])
        finally:
            self.async_changed()

    async def async_end(self, record_id: str) -> None:
        """End an invitation or a phone of which the owner was told. Kin of OperationError, RemoteNotSaved."""
        if record_id in self._store.invitations:
            await self.async_withdraw(record_id)
        else:
            await self.async_lose_phone(record_id)

    async def async_forget(self, record_id: str) -> None:
        """Take back what the owner was told about an invitation or a phone. RemoteNotSaved."""
        store = self._store
        item, phone = store.invitations.get(record_id), store.phones.get(record_id)
        if item is not None and item.state in (InvitationState.WITHDRAWN, InvitationState.EXPIRED):
            del store.invitations[record_id]
        elif item is not None:
            item.opened_twice = 0
        elif phone is not None and phone.ended:
            del store.phones[record_id]
        try:
            await store.async_save()
        finally:
            self.async_changed()

    # --- what the server says -------------------------------------------------------------------

    async def async_durable(self, message: Message) -> None:
        """Deal with an event. Malformed, RemoteNotSaved, LinkDown; others are let be."""
        read = Reader(message.body)
        match message.type:
            case "join.request":
                await self._joins.async_request(read)
            case "join.done":
                await self._joins.async_done(read)
            case "owner.claimed":
                await self._joins.async_claimed(read)
            case "member.left":
                await self.async_server_ended({read.hex_id("user")}, set())
            case "invitation.withdrawn":
                await self.async_server_ended(set(), {read.hex_id("invitation")})
            case "keys.wanted":
                await self._async_owe(self.phones.of_user(read.hex_id("user")))

    async def async_server_ended(self, users: Iterable[str], invitations: Iterable[str]) -> None:
        """Take it that these memberships and invitations are over at the server. RemoteNotSaved.

        Their phones have keys still, and only the owner knows whether that matters.
        """
        store, changed = self._store, False
        for user in users:
            phones = self.phones.of_user(user)
            for phone in phones:
                self.tell(phone.person_id, EVENT_LEFT, phone.name)
            changed |= self.phones.end(phones, self.invitations.now_ms()) or user in store.owners
            store.owners.discard(user)
            self._told.pop(user, None)
        for id_ in invitations:
            item = store.invitations.get(id_)
            if item is None or item.user or item.state is InvitationState.DONE:
                continue
            if item.client:
                item.state = InvitationState.WITHDRAWN
            else:
                del store.invitations[id_]
            changed = True
        if changed:
            self.async_changed()
            self._gateway.site.async_check_soon()  # a server that only says so is told
            await store.async_save()

    async def async_owe_all(self) -> None:
        """Send everybody's keys again: the server was put back from a copy. RemoteNotSaved."""
        await self._async_owe([*self._store.phones.values()])

    async def _async_owe(self, phones: list[Phone]) -> None:
        self._updates.owe(phones)
        await self._store.async_save()
        self._keys_due = True
        self.async_check_soon()

    async def async_linked(self) -> None:
        """Tell the server what it does not know yet. It has the home's list."""
        self._listed = self._store.n
        self._told = self.phones.members()
        # And the one of now, if anything changed while that was sent.
        self._gateway.site.async_check_soon()
        self._keys_due = True
        self.async_check_soon()

    # --- what follows ---------------------------------------------------------------------------

    @callback
    def note_told(self, user: str, member: Member) -> None:
        """Note what the server knows of a member now."""
        self._told[user] = member

    @callback
    def tell(self, person_id: str, event: str, phone: str) -> None:
        """Tell what happened to somebody, for automations."""
        self._issues.async_update()
        async_dispatcher_send(self._gateway.hass, SIGNAL_PERSON, person_id, event, phone)

    @callback
    def _async_home_changed(self) -> None:
        """People, their access, or what is written of it changed: judge anew, at once."""
        dropped, invitations = self.phones.drop_gone()
        self._withdrawn.update(invitations)
        if dropped:
            self._unsaved = True
            self._issues.async_update()
            self._gateway.async_changed()
        if self._updates.due():
            self._collect()
        self.async_check_soon()

    @callback
    def async_changed(self) -> None:
        """Phones or invitations changed: relays are judged anew, and the server is told."""
        self._issues.async_update()
        self._gateway.home.async_access_changed()
        self._gateway.async_changed()

    @callback
    def async_check_later(self) -> None:
        """Try again after a while."""
        self._arm("retry", _RETRY, self._async_retry)

    @callback
    def _async_retry(self, _now: datetime) -> None:
        self._keys_due = True
        self.async_check_soon()

    @callback
    def async_check_soon(self, *, unsaved: bool = False) -> None:
        """Store and tell what is owed."""
        self._unsaved |= unsaved
        self._again = True
        if self._task is None:
            self._task = self._gateway.entry.async_create_background_task(
                self._gateway.hass,
                self._async_work(),
                f"{self._gateway.entry.title} people",
                eager_start=False,  # its end clears what is set here
            )

    @callback
    def _collect(self) -> None:
        """Send keys when nothing has changed for a moment, or changes do not end."""
        now = self._gateway.hass.loop.time()
        if self._keys_since is None:
            self._keys_since = now
        left = self._keys_since + _KEYS_DELAY_MAX - now
        self._arm("keys", max(0.0, min(_KEYS_DELAY, left)), self._async_collected, anew=True)

    @callback
    def _async_collected(self, _now: datetime) -> None:
        self._keys_since = None
        self._keys_due = True
        self.async_check_soon()

    @callback
    def _arm(
        self, name: str, seconds: float, do: Callable[[datetime], None], *, anew: bool = False
    ) -> None:
        if name in self._timers:
            if not anew:
                return
            self._timers.pop(name)()

        @callback
        def due(now: datetime) -> None:
            self._timers.pop(name, None)
            do(now)

        self._timers[name] = async_call_later(
            self._gateway.hass, seconds, HassJob(due, cancel_on_shutdown=True)
        )

    # --- the work -------------------------------------------------------------------------------

    async def _async_work(self) -> None:
        try:
            while self._again:
                self._again = False
                await self._async_settle()
                if self._gateway.link.connected and self._listed == self._store.n:
                    await self._async_tell()
        except LinkDown:
            pass  # the next link tells it
        except (OperationError, RemoteError) as err:
            _LOGGER.debug("%s: %s", self._gateway.entry.title, err)
            self.async_check_later()
        finally:
            self._task = None

    async def _async_settle(self) -> None:
        """Store what is only in memory, and replace the accounts that are owed it."""
        if self._unsaved:
            self._unsaved = False
            try:
                await self._store.async_save()
            except RemoteError:
                self._unsaved = True
                raise
        if self._store.rotations:
            await self.phones.async_rotate_owed()

    async def _async_tell(self) -> None:
        """Bring the server in line, one word after the other. LinkDown, Refused."""
        for id_ in sorted(self._withdrawn):
            if await self._request("invitation.withdraw", {"id": id_}):
                self._withdrawn.discard(id_)
        for item in [*self._store.invitations.values()]:
            if item.state is InvitationState.ANSWERED and item.user:
                await self._joins.async_finish(item)
        await self._async_tell_members()
        if self._keys_due and self._store.enabled:
            self._keys_due = False
            try:
                complete = await self._updates.async_send()
            except LinkDown:
                self._keys_due = True
                raise
            if not complete:
                self.async_check_later()

    async def _async_tell_members(self) -> None:
        wanted = self.phones.members()
        for user in sorted(self._told.keys() - wanted.keys()):
            if await self._request("member.end", {"user": user}):
                self._told.pop(user, None)
        for user, member in sorted(wanted.items()):
            if self._told.get(user) == member:
                continue
            body = {"user": user, "role": member.role, "locks": sorted(member.locks)}
            if await self._request("member.set", body):
                self._told[user] = member

    async def async_say(self, kind: str, body: Mapping[str, Any]) -> None:
        """Send a word about a row of the home's list, never beside the list. LinkDown, Refused."""
        async with self._gateway.site.telling:
            await self._gateway.link.async_request(kind, dict(body))

    async def _request(self, kind: str, body: Mapping[str, Any]) -> bool:
        """Send such a word; whether it was heard. LinkDown.

        What is refused is said again later, and keeps nothing back that comes after it. What the
        server does not know is a matter of the list.
        """
        try:
            await self.async_say(kind, body)
        except Refused as err:
            if err.status is not Status.NOT_FOUND:
                _LOGGER.debug("%s: %s is refused: %s", self._gateway.entry.title, kind, err)
                self.async_check_later()
                return False
            self._gateway.site.async_check_soon()
        return True
