"""A member's keys, sealed by the home, on their way to the member's browsers (docs/ras.md, "Later changes").

The server cannot open them. It keeps them as events, which have an end: so it asks the home for them again when a
browser comes that may have missed some.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from sqlalchemy import Connection, Row, and_, select

from igrs_ras import wire
from igrs_ras.members import recipient_of_site, recipient_of_user
from igrs_ras.messages import Messages
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import events, members, sites
from igrs_ras.wire import Body, Id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from igrs_ras.link import Link
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction

SEALED = 8192  # bytes of a keys.update

messages = Messages()


class Keys(Body):
    """A member's keys, sealed by the home under the update key. The number rises with each."""

    user: Id
    number: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    sealed: Annotated[str, msgspec.Meta(min_length=24, max_length=(SEALED + 2) // 3 * 4)]


@messages.on("keys.update", Keys)
async def keys_update(link: Link, body: Keys) -> Mapping[str, Any]:
    """Bring a member's sealed keys to their browsers. A number that does not rise is refused (22)."""
    if len(wire.unb64(body.sealed, field="sealed")) > SEALED:
        raise Refused(Status.TOO_LARGE, "sealed")

    def job(tx: Transaction) -> None:
        risen = tx.execute(
            members.update()
            .where(
                members.c.site == link.site,
                members.c.user == body.user,
                members.c.state == "active",
                members.c.key_number < body.number,
            )
            .values(key_number=body.number)
        )
        if risen.rowcount and not link.ras.sites.may_push(link.site, body.user):
            raise Refused(Status.SLOW_DOWN)
        if risen.rowcount == 0:
            known = tx.execute(
                select(members.c.state).where(
                    members.c.site == link.site, members.c.user == body.user
                )
            ).scalar()
            raise Refused(Status.EXISTS if known == "active" else Status.NOT_FOUND)
        tx.push(
            recipient_of_user(body.user),
            "keys",
            {"site": link.site, "number": body.number, "sealed": body.sealed},
        )

    await link.write(job)
    return {}


async def want_keys(ras: Ras, user: str) -> None:
    """Ask the homes of a user for the keys again, durably: the user was sent `push.reset`, so some may be lost.

    Each home once an hour, and not while it has not taken the last such event. A home that has to send its list after a
    restore sends everybody's keys anyway. Raises Refused(NOT_READY).
    """

    def job(tx: Transaction) -> None:
        for row in _unasked(tx.connection, user):
            if not ras.sites.may_want_keys(row.site, user):
                continue
            seq = tx.push(recipient_of_site(row.site), "keys.wanted", {"user": user})
            tx.execute(
                members.update()
                .where(members.c.site == row.site, members.c.user == user)
                .values(keys_wanted=seq)
            )

    rows = await ras.store.read(lambda connection: _unasked(connection, user))
    if any(ras.sites.may_want_keys(row.site, user, count=False) for row in rows):
        await ras.store.write(job)


def _unasked(connection: Connection, user: str) -> Sequence[Row[Any]]:
    """Return the homes whose gateway has no such event for this member waiting."""
    waits = (
        select(events.c.seq)
        .where(
            and_(
                events.c.recipient == "gateway:" + members.c.site,
                events.c.seq == members.c.keys_wanted,
            )
        )
        .exists()
    )
    return connection.execute(
        select(members.c.site)
        .join(sites, sites.c.id == members.c.site)
        .where(
            members.c.user == user,
            members.c.state == "active",
            sites.c.suspended.is_(False),
            ~waits,
        )
    ).all()
