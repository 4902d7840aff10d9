"""Locks (BSLD): clauses 7.3 to 7.5."""

from typing import Annotated

import msgspec

from igrs_ras import wire
from igrs_ras.api import access
from igrs_ras.api.route import Call, Table, Who
from igrs_ras.locks import ADVERTISEMENT, locks_of_user
from igrs_ras.status import Refused, Status
from igrs_ras.wire import Answer, Body, Device, Id

table = Table()


class AuthenticateLock(Body):
    """A device as somebody saw it on the air: its identifier and the 10 bytes of its advertisement (ILP1 section 2).

    `site`: which of the owner's sites is meant; a gateway leaves it out.
    """

    device: Device
    advertisement: str
    site: Id | None = None


class LockFound(Answer):
    """`registered`: at this site; another site's device looks free. `authentic`: the gateway knows its key."""

    registered: bool
    authentic: bool


class NewLock(Body):
    """A lock to register. `capabilities`: ILP1 section 3."""

    device: Device
    capabilities: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
    advertisement: str


class UserLock(Answer):
    """A lock to which the caller may relay. `online`: its gateway is connected."""

    site: str
    device: str
    capabilities: int
    online: bool


class UserLocks(Answer):
    """All locks to which the caller may relay."""

    locks: list[UserLock]


@table.add(
    "POST",
    "/api/v1/locks/authenticate",
    Who.GATEWAY,
    Who.USER,
    clause="7.3",
    summary="Ask whether a discovered device is a lock of the caller's own site",
    body=AuthenticateLock,
    answer=LockFound,
    statuses=(
        Status.NOT_PERMITTED,
        Status.NOT_FOUND,
        Status.GATEWAY_OFFLINE,
        Status.OUT_OF_REACH,
        Status.SLOW_DOWN,
    ),
    example={
        "device": "C4112233445F",
        "advertisement": "EAEyAAABAAAAAA==",
        "site": "fedcba9876543210fedcba9876543210",
    },
    answer_example={"registered": False, "authentic": True},
)
async def authenticate_lock(call: Call[AuthenticateLock]) -> LockFound:
    """Look the device up at the site and have its gateway check the tag."""
    body = call.body
    advertisement = wire.unb64(body.advertisement, ADVERTISEMENT, field="advertisement")
    if call.principal.who is Who.GATEWAY:
        site, caller = call.site, call.principal.gateway
        if body.site not in (None, site):
            raise Refused(Status.NOT_FOUND)
    else:
        if body.site is None:
            raise Refused(Status.MALFORMED, "site is missing")
        site, caller = body.site, call.user
        await call.ras.store.read(lambda connection: access.owner(connection, site, caller))
    found = await call.ras.gateways.authentications.authenticate(
        caller, site, body.device, advertisement
    )
    return LockFound(registered=found.registered, authentic=found.authentic)


@table.add(
    "POST",
    "/api/v1/locks",
    Who.GATEWAY,
    clause="7.4",
    summary="Register a lock at the gateway's site",
    body=NewLock,
    statuses=(
        Status.EXISTS,
        Status.GATEWAY_OFFLINE,
        Status.OUT_OF_REACH,
        Status.REFUSED_BY_LOCK,
        Status.TOO_LARGE,
        Status.SLOW_DOWN,
    ),
    example={
        "device": "C4112233445F",
        "capabilities": 45,
        "advertisement": "EAEyAAABAAAAAA==",
    },
)
async def register_lock(call: Call[NewLock]) -> None:
    """Have the gateway check the tag over its link, then register."""
    body = call.body
    advertisement = wire.unb64(body.advertisement, ADVERTISEMENT, field="advertisement")
    await call.ras.gateways.authentications.register(
        call.principal.gateway, call.site, body.device, body.capabilities, advertisement
    )


@table.add(
    "DELETE",
    "/api/v1/locks/{device}",
    Who.GATEWAY,
    clause="7.5",
    summary="Remove a lock: relays to it end, nobody has the remote right any more",
    statuses=(Status.NOT_FOUND,),
)
async def remove_lock(call: Call[None]) -> None:
    """Remove a lock of the gateway's site."""
    await call.ras.gateways.authentications.remove(
        call.principal.gateway, call.site, call.path["device"]
    )


@table.add(
    "GET",
    "/api/v1/locks",
    Who.USER,
    summary="The locks to which the caller may relay",
    answer=UserLocks,
    answer_example={
        "locks": [
            {
                "site": "fedcba9876543210fedcba9876543210",
                "device": "C4112233445F",
                "capabilities": 45,
                "online": True,
            }
        ]
    },
)
async def list_locks(call: Call[None]) -> UserLocks:
    """List them, over all homes. Their names are in the client's keys; the server does not know them."""
    user = call.user
    rows = await call.ras.store.read(lambda connection: locks_of_user(connection, user))
    gateways = call.ras.gateways
    return UserLocks(
        locks=[
            UserLock(
                site=row.site,
                device=row.device,
                capabilities=row.capabilities,
                online=gateways.link_of(row.site) is not None,
            )
            for row in rows
        ]
    )
