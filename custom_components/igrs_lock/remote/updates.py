"""Sends phones their keys again when something about them has changed (docs/ras.md, "Later changes")."""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING, Final

from ..ilp import SEALED_MAX, seal_keys
from .keys import content, digest
from .wire import Refused, Status, b64

if TYPE_CHECKING:
    from .gateway import Gateway
    from .records import Phone

_LOGGER = logging.getLogger(__name__)

_TAG_SIZE: Final = 16
_STRIDE: Final = 1 << 40
"""By how much numbers go on when the server knows a later one: a backup was restored, and a clock was wrong."""


class Updates:
    """What the server has of each phone's keys, and what it is to have."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._store = gateway.store

    def due(self) -> list[tuple[Phone, bytes]]:
        """Return the phones whose keys differ from what the server took last, with the keys."""
        persons = self._gateway.home.persons()
        found = []
        for phone in self._store.phones.values():
            person = persons.get(phone.person_id)
            # While accounts wait to be replaced, the ones there are nobody's to know.
            if person is None or phone.ended or phone.person_id in self._store.rotations:
                continue
            plain = content(self._gateway, person, phone.person, SEALED_MAX - _TAG_SIZE)
            if phone.sent is None or phone.sent != digest(phone.update_key, plain):
                found.append((phone, plain))
        return found

    def owe(self, phones: list[Phone]) -> None:
        """Note that these phones may lack their keys; save afterwards."""
        for phone in phones:
            phone.sent = None

    async def async_send(self) -> bool:
        """Send what is due; whether all of it was taken. LinkDown, RemoteNotSaved."""
        due = self.due()
        if not due:
            return True
        numbers = self._store.numbers
        # Stored before anything is sealed under them: not even a crash uses one twice. Nor does a
        # restored backup of this home, since they are times as well.
        numbered = []
        for phone, plain in due:
            numbers[phone.user] = max(numbers.get(phone.user, 0) + 1, round(time.time() * 1000))
            numbered.append((phone, plain, numbers[phone.user]))
        await self._store.async_save()
        complete = True
        for phone, plain, number in numbered:
            complete &= await self._async_send_one(phone, plain, number)
        await self._store.async_save()
        return complete

    async def _async_send_one(self, phone: Phone, plain: bytes, number: int) -> bool:
        sealed = seal_keys(phone.update_key, phone.person, number, plain)
        body = {"user": phone.user, "number": number, "sealed": b64(sealed)}
        try:
            await self._gateway.link.async_request("keys.update", body)
        except Refused as err:
            _LOGGER.debug("Keys were not taken yet: %s", err)
            if err.status is Status.EXISTS:
                numbers = self._store.numbers
                numbers[phone.user] = max(numbers.get(phone.user, 0), number) + _STRIDE
                numbers[phone.user] += secrets.randbits(32)
            elif err.status is Status.NOT_FOUND:
                # Not a member there: the list tells which of both is right.
                self._gateway.site.async_check_soon()
            return False
        phone.sent = digest(phone.update_key, plain)
        return True
