"""Pairing with a lock, in steps that can be cut off anywhere (ILP1 section 4, stage a).

The lock may take the new key with a confirmation whose answer is lost. So the key is stored before
the confirmation is sent, and tried first when somebody pairs with this lock again. Pairing is
complete with the first controller session under the key; only then is anything written.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from homeassistant.const import CONF_ADDRESS
from homeassistant.util import dt as dt_util

from . import clock, device_information, ilp
from .client import LockClient
from .const import (
    ANSWER_TIMEOUT,
    CONF_ACCOUNT_ID,
    CONF_ACCOUNT_SLOT,
    CONF_CAPABILITIES,
    CONF_LOCK_KEY,
)
from .errors import (
    LockBusyError,
    NeedsPairingError,
    NoAnswerError,
    NotInSetupModeError,
    OperationError,
    PairingFailedError,
    UnsupportedError,
    WrongSetupCodeError,
)
from .home import async_get_home
from .link import Link, LinkLostError
from .store import LockMemory, PendingPairing, async_get_memory, async_get_pairings
from .timekeeper import clock_is_right, only_once, time_requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from homeassistant.core import HomeAssistant

_LOGGER = logging.getLogger(__name__)

HOME_RIGHTS: Final = (
    ilp.Right.LOCK
    | ilp.Right.UNLOCK
    | ilp.Right.OPEN
    | ilp.Right.READ_LOG
    | ilp.Right.FOLLOW_STATE
    | ilp.Right.ENABLED
)
"""Rights of the account "Home Assistant".

What an automation may do, and no more: it manages nothing and is of no use from afar. In this
version the controller operates; the account is there so that the lock's list names this home.
"""

_BUSY_PAUSE: Final = 2.5  # a lock takes one PAIR_REQUEST in 2 s


class _Talk:
    """Messages of a link, one after another."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        link.received = self._messages.put_nowait
        link.lost = lambda: self._messages.put_nowait(None)

    async def say(self, message: bytes) -> None:
        """Send a message."""
        await self._link.send(message)

    async def hear(self) -> bytes:
        """Return the next message; LinkLostError, TimeoutError."""
        async with asyncio.timeout(ANSWER_TIMEOUT):
            message = await self._messages.get()
        if message is None:
            raise LinkLostError("the link was lost")
        return message


async def async_pair(
    hass: HomeAssistant, address: str, setup_code: bytes, progress: Callable[[float], None]
) -> dict[str, Any]:
    """Pair with a lock in setup mode; return the data of its config entry.

    `progress` is told the share that is done. Raises kin of OperationError.
    """
    device_id = ilp.device_id_from_address(address)
    name = ilp.local_name(device_id)
    if hass.is_stopping:
        # A key could not be stored any more.
        raise PairingFailedError(name)
    link = await Link.connect(hass, address, name)
    try:
        progress(0.2)
        pairing = await _agree(hass, link, name, device_id, setup_code)
        progress(0.5)
        return await _complete(hass, address, pairing, link if link.connected else None, progress)
    finally:
        await link.disconnect()


async def async_resume(
    hass: HomeAssistant, address: str, progress: Callable[[float], None]
) -> dict[str, Any]:
    """Complete a pairing that was cut off; NeedsPairingError when the lock took none of the keys."""
    device_id = ilp.device_id_from_address(address)
    pairings = await async_get_pairings(hass)
    for pairing in pairings.of(ilp.format_device_id(device_id)):
        try:
            return await _complete(hass, address, pairing, None, progress)
        except NeedsPairingError:
            # Kept all the same until another one is proved: this answer is not authenticated.
            _LOGGER.debug("%s did not take a pending key", address)
    raise NeedsPairingError(ilp.local_name(device_id))


async def _agree(
    hass: HomeAssistant, link: Link, name: str, device_id: bytes, setup_code: bytes
) -> PendingPairing:
    """Agree on a key and store it as pending; what comes of the confirmation, a session tells."""
    talk = _Talk(link)
    try:
        await link.listen()
        client, confirmation = await _request(talk, device_id, setup_code)
    except ilp.WrongSetupCodeError as err:
        raise WrongSetupCodeError(name) from err
    except ilp.LockError as err:
        raise _refusal(err, name) from err
    except ilp.IlpError as err:
        raise PairingFailedError(name) from err
    except (LinkLostError, TimeoutError) as err:
        raise NoAnswerError(name) from err
    pairing = PendingPairing(
        lock_key=client.lock_key.hex() if client.lock_key else "",
        account_id=ilp.format_account_id(ilp.new_account_id()),
    )
    pairings = await async_get_pairings(hass)
    if not await pairings.async_add(ilp.format_device_id(device_id), pairing):
        # Confirmed, it would be the only key of the lock, and gone with the next restart.
        _LOGGER.error("Not pairing with %s: its key could not be stored on disk", name)
        raise PairingFailedError(name)
    try:
        await talk.say(confirmation)
        client.on_done(await talk.hear())
    except (ilp.IlpError, LinkLostError, TimeoutError) as err:
        _LOGGER.debug("%s: no PAIR_DONE: %r", name, err)
    return pairing


async def _request(
    talk: _Talk, device_id: bytes, setup_code: bytes
) -> tuple[ilp.PairingClient, bytes]:
    """Return the agreed exchange and its PAIR_CONFIRM."""
    client = ilp.PairingClient(setup_code, device_id)
    await talk.say(client.request())
    try:
        return client, client.on_reply(await talk.hear())
    except ilp.LockError as err:
        if err.code != ilp.ErrorCode.BUSY:
            raise
    # Most likely the last attempt was a moment ago, with a mistake in the code.
    await asyncio.sleep(_BUSY_PAUSE)
    client = ilp.PairingClient(setup_code, device_id)
    await talk.say(client.request())
    return client, client.on_reply(await talk.hear())


def _refusal(err: ilp.LockError, name: str) -> OperationError:
    match err.code:
        case ilp.ErrorCode.NOT_IN_SETUP_MODE:
            return NotInSetupModeError(name)
        case ilp.ErrorCode.BUSY:
            return LockBusyError(name)
        case ilp.ErrorCode.VERSION:
            return UnsupportedError(name)
        case _:
            return PairingFailedError(name)


async def _complete(
    hass: HomeAssistant,
    address: str,
    pairing: PendingPairing,
    link: Link | None,
    progress: Callable[[float], None],
) -> dict[str, Any]:
    """Prove the key, then set the time and write the account; return the config entry's data."""
    device_id = ilp.device_id_from_address(address)
    name = ilp.local_name(device_id)
    lock_key = bytes.fromhex(pairing["lock_key"])
    client = LockClient(hass, address, name, device_id, ilp.controller_key(lock_key), link=link)
    try:
        status, digest = await client.async_request(
            ilp.requests.get_status(), ilp.requests.account_digest_request()
        )
        progress(0.7)
        memory = await async_get_memory(hass)
        remembered = memory.renew(ilp.format_device_id(device_id))
        # With the new key the lock forgot everybody.
        await (await async_get_home(hass)).async_renew_lock(ilp.format_device_id(device_id))
        remembered["counter"] = ilp.Status.of(status).counter
        if clock_is_right(memory):
            await _set_time(client, remembered)
        memory.schedule_save()
        account_id = ilp.parse_account_id(pairing["account_id"])
        slot = await _write_account(client, account_id, ilp.AccountDigest.of(digest).digest)
        progress(0.9)
        info, *told = await client.async_read(ilp.INFO_UUID, *device_information.UUIDS)
        capabilities = ilp.Info.parse(info or b"").capabilities
    except ilp.IlpError as err:
        raise UnsupportedError(name) from err
    finally:
        await client.async_close()
    return {
        CONF_ADDRESS: address,
        CONF_LOCK_KEY: pairing["lock_key"],
        CONF_ACCOUNT_ID: pairing["account_id"],
        CONF_ACCOUNT_SLOT: slot,
        CONF_CAPABILITIES: int(capabilities),
        **device_information.entry_data(*told),
    }


async def _set_time(client: LockClient, remembered: LockMemory) -> None:
    """Set the lock's time; if that fails, it is set after the pairing."""
    offsets = clock.offsets(dt_util.get_default_time_zone())
    wanted = time_requests(offsets, force=clock.kernel_synchronised())
    made = time.monotonic()
    try:
        answers = await client.async_request(*wanted, may_repeat=only_once)
    except NoAnswerError as err:
        _LOGGER.debug("%s: time not set: %s", client.name, err)
        return
    in_time = time.monotonic() - made <= ilp.CLOCK_TOLERANCE
    if in_time and all(answer.result is ilp.Result.DONE for answer in answers):
        remembered["time_set"] = round(time.time())
        remembered["offsets"] = list(offsets)


async def _write_account(client: LockClient, account_id: bytes, digest: bytes) -> int | None:
    """Write "Home Assistant" into a lock that holds nobody else; return its slot.

    After a cut the account may be there, with or without its rights. A list that is none of these
    is left as it is (rule 9): None.
    """
    if digest == ilp.account_digest([]):
        (written,) = await client.async_request(ilp.requests.write_account(account_id))
        slot = ilp.AccountWritten.of(written).slot
    else:
        found = [
            (slot, rights)
            for slot in range(ilp.UNKNOWN_SLOT)
            for rights in (ilp.Right(0), HOME_RIGHTS)
            if digest == ilp.account_digest([_account(slot, account_id, rights)])
        ]
        if not found:
            _LOGGER.warning("%s holds accounts that this home did not write", client.name)
            return None
        slot, rights = found[0]
        if rights == HOME_RIGHTS:
            return slot
    (enabled,) = await client.async_request(
        ilp.requests.set_rights(slot, HOME_RIGHTS, ilp.USES_UNLIMITED)
    )
    ilp.Status.of(enabled).ensure()
    return slot


def _account(slot: int, account_id: bytes, rights: ilp.Right) -> ilp.Account:
    return ilp.Account(
        slot=slot,
        account_id=account_id,
        rights=rights,
        uses=ilp.USES_UNLIMITED,
        not_before=0,
        not_after=0,
        weekdays=ilp.Weekday(0),
        first_minute=0,
        last_minute=0,
        pin_set=False,
    )
