"""What comes of a link: the request to join, the word that its keys arrived, an owner's code.

Every step is stored before anybody is told of it, and may come again after a lost link or a
restart of any of the three sides: then it ends the same.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from ..activity import plain_name
from ..ilp import (
    BOX_MAX,
    JOIN_PROOF_SIZE,
    JOIN_PUBLIC_SIZE,
    JoinKeyPair,
    MalformedError,
    home_join_keys,
    is_done_proof,
    is_join_proof,
    seal_box,
)
from .keys import content
from .records import InvitationKind, InvitationState, Phone
from .wire import Malformed, Refused, Status, b64

if TYPE_CHECKING:
    from .gateway import Gateway
    from .people import RemotePeople
    from .records import Invitation
    from .wire import Reader

_LOGGER = logging.getLogger(__name__)

_NAME_MAX: Final = 400
"""Characters of a name that is read at all; the server takes 100."""
_MARKS: Final = str.maketrans("<>[]`*_|\\", " " * 9)
"""What would be a link or a picture in a dialog, which reads Markdown."""
_TAG_SIZE: Final = 16
_WRONG_MAX: Final = 5
_HOUR_MS: Final = 3600 * 1000

EVENT_JOINED: Final = "phone_joined"
EVENT_OPENED_TWICE: Final = "link_opened_twice"
_GONE: Final = (Status.NOT_FOUND, Status.EXISTS)


class Joins:
    """Judges who joins this home over one server."""

    def __init__(self, gateway: Gateway, people: RemotePeople) -> None:
        self._gateway = gateway
        self._people = people
        self._store = gateway.store

    # --- a client asks --------------------------------------------------------------------------

    async def async_request(self, read: Reader) -> None:
        """Answer `join.request`. Malformed, RemoteNotSaved, LinkDown."""
        join = read.hex_id("join")
        invitation = read.hex_id("invitation")
        client = read.binary("client_public", JOIN_PUBLIC_SIZE)
        proof = read.binary("proof", JOIN_PROOF_SIZE)
        name = plain_name(read.text("name", _NAME_MAX, default="").translate(_MARKS))
        body = await self._async_judge(
            self._store.invitations.get(invitation), join, client, proof, name
        )
        try:
            await self._gateway.link.async_request("join.answer", {"join": join, **body})
        except Refused as err:
            if err.status not in (*_GONE, Status.MALFORMED):
                raise
            # Withdrawn there meanwhile, or not for this client any more: events tell more.
            _LOGGER.debug("An answer to a join was refused: %s", err)

    async def _async_judge(
        self, item: Invitation | None, join: str, client: bytes, proof: bytes, name: str
    ) -> dict[str, Any]:
        """Decide about a client; what it is told is stored."""
        if item is None or item.kind is not InvitationKind.GUEST:
            return {"outcome": "refused"}
        if not await self._async_is_proof(item, client, proof):
            return {"outcome": "wrong"}
        if item.client:
            if item.client == client:
                return await self._async_again(item, join)
            await self._async_opened_twice(item)
            return {"outcome": "refused"}
        person = self._gateway.home.persons().get(item.person_id)
        invitations = self._people.invitations
        if (
            item.state is not InvitationState.OPEN
            or item.expires <= invitations.now_ms()
            or person is None
            or self._is_taken(join, item)
        ):
            return {"outcome": "refused"}
        pair = JoinKeyPair()
        try:
            keys = home_join_keys(pair, client, item.secret, bytes.fromhex(item.id))
        except MalformedError as err:
            raise Malformed("client_public is no point") from err
        plain = content(self._gateway, person, item.person, BOX_MAX - _TAG_SIZE)
        item.client, item.home_public = client, pair.public
        item.box = seal_box(keys, bytes.fromhex(item.id), plain)
        item.done_key, item.update_key = keys.done, keys.update
        item.join, item.phone_name = join, name
        item.state = InvitationState.ANSWERED

        def undo() -> None:
            # Nobody has seen this box: the next one has other keys.
            item.client = item.home_public = item.box = item.done_key = item.update_key = b""
            item.join = item.phone_name = ""
            item.state = InvitationState.OPEN

        await self._store.async_save(undo)
        return _answer(item)

    async def _async_is_proof(self, item: Invitation, client: bytes, proof: bytes) -> bool:
        """Whether a client has the link. A wrong proof uses nothing up, and is counted."""
        now = self._people.invitations.now_ms()
        item.wrong = [when for when in item.wrong if 0 <= now - when < _HOUR_MS]
        if len(item.wrong) >= _WRONG_MAX:
            # The server lets no more through: one that does helps somebody to guess.
            return False
        if is_join_proof(item.secret, bytes.fromhex(item.id), client, proof):
            return True
        item.wrong.append(now)
        await self._store.async_save()
        return False

    async def _async_again(self, item: Invitation, join: str) -> dict[str, Any]:
        """Answer the client of before as before, until it said that it has its keys."""
        if item.state is not InvitationState.ANSWERED or item.user:
            return {"outcome": "refused"}
        before = item.join
        if join != before:
            if self._is_taken(join, item):
                return {"outcome": "refused"}
            item.join = join  # a server that was put back gives the same request another one

        def undo() -> None:
            item.join = before

        # Also if nothing has changed: when the link ended, the answer was perhaps not stored yet.
        await self._store.async_save(undo)
        return _answer(item)

    def _is_taken(self, join: str, item: Invitation) -> bool:
        """Whether the server gave an identifier to somebody else: phones are told apart by it."""
        store = self._store
        return join in store.phones or any(
            other is not item and other.join == join for other in store.invitations.values()
        )

    async def _async_opened_twice(self, item: Invitation) -> None:
        """Note that somebody else has the link, and tell the owner."""
        item.opened_twice += 1

        def undo() -> None:
            item.opened_twice -= 1

        await self._store.async_save(undo)
        self._people.tell(item.person_id, EVENT_OPENED_TWICE, item.phone_name)

    # --- a client has its keys ------------------------------------------------------------------

    async def async_done(self, read: Reader) -> None:
        """Take `join.done`: the phone is in. Malformed, RemoteNotSaved, LinkDown."""
        invitation, join = read.hex_id("invitation"), read.hex_id("join")
        user, proof = read.hex_id("user"), read.binary("done", JOIN_PROOF_SIZE)
        store = self._store
        item = store.invitations.get(invitation)
        if item is None or item.state is not InvitationState.ANSWERED or item.join != join:
            return
        if not item.user:
            if not is_done_proof(item.done_key, proof):
                _LOGGER.debug("A word that keys arrived was wrong")
                return
            await self._async_take(item, user)
        if item.user == user:
            await self.async_finish(item)

    async def _async_take(self, item: Invitation, user: str) -> None:
        """Store the phone that an invitation let in."""
        store = self._store
        phone = Phone(
            id=item.join,
            user=user,
            person_id=item.person_id,
            person=item.person,
            name=item.phone_name,
            update_key=item.update_key,
            joined=round(time.time() * 1000),  # for the owner's eyes: no server's word
        )
        box, item.box = item.box, b""
        item.user = user
        store.phones[phone.id] = phone

        def undo() -> None:
            item.box, item.user = box, ""
            store.phones.pop(phone.id, None)

        await store.async_save(undo)
        self._people.tell(item.person_id, EVENT_JOINED, phone.name)

    async def async_claimed(self, read: Reader) -> None:
        """Take `owner.claimed`: somebody registered with an owner's code. RemoteNotSaved, LinkDown."""
        invitation, user = read.hex_id("invitation"), read.hex_id("user")
        store = self._store
        item = store.invitations.get(invitation)
        if item is None or item.kind is not InvitationKind.OWNER:
            return
        if item.state is InvitationState.OPEN:
            if item.expires <= self._people.invitations.now_ms():
                return
            was_owner = user in store.owners
            item.state, item.user = InvitationState.ANSWERED, user
            store.owners.add(user)

            def undo() -> None:
                item.state, item.user = InvitationState.OPEN, ""
                if not was_owner:
                    store.owners.discard(user)

            await store.async_save(undo)
        if item.state is InvitationState.ANSWERED and item.user == user:
            await self.async_finish(item)

    # --- the server is told ---------------------------------------------------------------------

    async def async_finish(self, item: Invitation) -> None:
        """Say `invitation.done`: from now on this user is a member. LinkDown, RemoteNotSaved."""
        phones, store = self._people.phones, self._store
        user = item.user
        if (member := phones.members().get(user)) is None:
            return  # removed meanwhile
        locks = sorted(member.locks)
        body = {"id": item.id, "user": user, "role": member.role, "locks": locks}
        try:
            await self._people.async_say("invitation.done", body)
        except Refused as err:
            if err.status not in _GONE:
                _LOGGER.debug("A phone is not let in yet: %s", err)
                self._people.async_check_later()
                return
            # Withdrawn there, or the person has left: nobody is let in.
            _LOGGER.debug("Who joined is not let in: %s", err)
            if item.kind is InvitationKind.OWNER:
                store.owners.discard(user)
            phones.end(
                [one for one in store.phones.values() if one.id == item.join],
                self._people.invitations.now_ms(),
            )
        else:
            self._people.note_told(user, member)
        item.state = InvitationState.DONE
        item.done_key = item.update_key = b""
        await store.async_save()
        self._people.async_changed()


def _answer(item: Invitation) -> dict[str, Any]:
    return {"outcome": "answered", "home_public": b64(item.home_public), "box": b64(item.box)}
