"""Invitations: links that let one phone join, and codes that make somebody an owner at the server.

The server learns an invitation's identifier and, of an owner's code, a hash. The secret of a link
stands behind its `#`, which no browser sends anywhere.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import TYPE_CHECKING, Final

from ..ilp import INVITATION_ID_SIZE, INVITATION_SECRET_SIZE, PERSON_ID_SIZE
from .errors import LinkDown, NoPublicAddress, Refused, RemoteNotSaved
from .http import read_public_url
from .records import Invitation, InvitationKind, InvitationState
from .wire import Status, b64

if TYPE_CHECKING:
    from ..person import Person
    from .gateway import Gateway

DAY_MS: Final = 24 * 3600 * 1000
GUEST_LIVES: Final = {"day": 1, "week": 7, "month": 30}
"""For how many days a link may be good."""
GUEST_LIFE_DEFAULT: Final = "week"
JOIN_DAYS: Final = 7
"""How long a phone that was answered may take to say that it has its keys."""
_OWNER_LIFE_MS: Final = DAY_MS - 60_000
"""The server takes 24 hours at most, by its own clock."""
_OWNER_CODE_SIZE: Final = 10
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ATTEMPTS: Final = 2
_USELESS: Final = (InvitationState.OPEN, InvitationState.DONE)
"""Once they have expired."""


class Invitations:
    """The invitations of one server."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._store = gateway.store

    def now_ms(self) -> int:
        """Return the time by which invitations end: the later one of two clocks.

        A machine that starts in the past must not open what has expired.
        """
        return max(round(time.time() * 1000), self._gateway.link.clock.now_ms() or 0)

    def listed(self) -> list[dict[str, str | int]]:
        """Return the open ones, as the server is told of them."""
        now = self.now_ms()
        return [
            {"id": item.id, "kind": item.kind.value, "expires": item.expires}
            for item in self._store.invitations.values()
            if item.state in (InvitationState.OPEN, InvitationState.ANSWERED) and item.expires > now
        ]

    def of_person(self, person_id: str) -> list[Invitation]:
        """Return a person's invitations that can still be used, or withdrawn, the oldest first."""
        now = self.now_ms()
        found = [
            item
            for item in self._store.invitations.values()
            if item.person_id == person_id
            and (
                item.state is InvitationState.ANSWERED
                or (item.state is InvitationState.OPEN and item.expires > now)
            )
        ]
        return sorted(found, key=lambda item: item.created)

    def drop_expired(self) -> bool:
        """Forget what is of no more use, by the own clock; whether there was anything.

        A link that was used stays until it would have expired: whoever opens it now has seen it.
        One that was answered stays for as long as its phone may take; then its keys are out there,
        and the owner is told.
        """
        now, store = round(time.time() * 1000), self._store
        changed = False
        for item in [*store.invitations.values()]:
            if item.state is InvitationState.ANSWERED:
                if not item.user and now >= item.expires + JOIN_DAYS * DAY_MS:
                    item.state, changed = InvitationState.EXPIRED, True
            elif item.state in _USELESS and item.expires <= now and not item.opened_twice:
                del store.invitations[item.id]
                changed = True
        return changed

    # --- making ---------------------------------------------------------------------------------

    async def async_invite(self, person: Person, days: int) -> str:
        """Open an invitation for a person; return its link. NoPublicAddress, Refused, LinkDown, RemoteNotSaved."""
        url = await self._async_public_url()
        # By the own clock: a server's must not make a link good for longer.
        now = round(time.time() * 1000)
        item = Invitation(
            id=secrets.token_hex(INVITATION_ID_SIZE),
            secret=secrets.token_bytes(INVITATION_SECRET_SIZE),
            kind=InvitationKind.GUEST,
            person_id=person.id,
            name=person.name,
            created=now,
            expires=now + days * DAY_MS,
            person=secrets.token_bytes(PERSON_ID_SIZE),
        )
        await self._async_open(item)
        return f"{url}/#{url},{item.id},{item.secret.hex()}"

    async def async_make_owner_code(self) -> str:
        """Open an owner's invitation; return its code. Refused, LinkDown, RemoteNotSaved."""
        code = secrets.token_bytes(_OWNER_CODE_SIZE)
        now = round(time.time() * 1000)
        server = self._gateway.link.clock.now_ms() or now
        item = Invitation(
            id=secrets.token_hex(INVITATION_ID_SIZE),
            secret=b"",
            kind=InvitationKind.OWNER,
            person_id="",
            name="",
            created=now,
            expires=min(server, now) + _OWNER_LIFE_MS,
            person=secrets.token_bytes(PERSON_ID_SIZE),
        )
        await self._async_open(item, code=b64(hashlib.sha256(code).digest()))
        value = int.from_bytes(code)
        digits = "".join(_CROCKFORD[value >> shift & 31] for shift in range(75, -1, -5))
        return "-".join(digits[at : at + 4] for at in range(0, 16, 4))

    async def _async_open(self, item: Invitation, **code: str) -> None:
        """Store an invitation, then let the server open it; not there is not here."""
        store = self._store
        if not self._gateway.link.connected:
            raise LinkDown

        def forget() -> None:
            store.invitations.pop(item.id, None)

        store.invitations[item.id] = item
        await store.async_save(forget)
        body = {"id": item.id, "kind": item.kind.value, "expires": item.expires, **code}
        try:
            await self._gateway.people.async_say("invitation.create", body)
        except (LinkDown, Refused) as err:
            # What the server has of it all the same ends with the next list.
            forget()
            try:
                await store.async_save()
            except RemoteNotSaved:
                self._gateway.people.async_check_soon(unsaved=True)
            if isinstance(err, Refused) and err.status is Status.NOT_READY:
                raise NoPublicAddress from err
            raise

    async def _async_public_url(self) -> str:
        """Return where people reach the server. NoPublicAddress, LinkDown."""
        for attempt in range(_ATTEMPTS):
            if not self._gateway.link.connected or (welcome := self._gateway.welcome) is None:
                raise LinkDown
            if welcome.public_url and welcome.reached:
                if (url := read_public_url(welcome.public_url)) and "," not in url:
                    return url.rstrip("/")
                break
            if not attempt:
                # This home's own call may be all that was missing.
                await self._gateway.async_look_public()
        raise NoPublicAddress
