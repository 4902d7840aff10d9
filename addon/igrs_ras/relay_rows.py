"""A relay's two commits: that it was accepted, and how it ended. Each is written for many relays at once.

The right to relay and the record that it was used are one transaction; so are the end and its record. What happens
between the two is in memory only, so after a crash a relay that was accepted has an unknown outcome.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, tuple_

from igrs_ras.status import Refused, Status
from igrs_ras.storage.store import Transaction
from igrs_ras.storage.tables import grants, members, relays, sessions, sites

KEPT_MS = 24 * 3600 * 1000

type Name = tuple[str, str, str, str]  # user, site, device, key


@dataclass(frozen=True, slots=True)
class Opening:
    """A relay that a client wants to open. `hash` is the SHA-256 of its first message."""

    name: Name
    session: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class Known:
    """A relay of this name was opened before: its hash and where it stands."""

    hash: bytes
    state: str
    code: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How a relay ended: answered, failed, expired or unknown, and a code of clause 7.6."""

    name: Name
    state: str
    code: int


# Built once: building a statement costs more than running it.
_RIGHTS = (
    select(grants.c.user, grants.c.site, grants.c.device)
    .join(members, (members.c.site == grants.c.site) & (members.c.user == grants.c.user))
    .join(sites, sites.c.id == grants.c.site)
    .where(
        tuple_(grants.c.site, grants.c.user, grants.c.device).in_(
            bindparam("b_wanted", expanding=True)
        ),
        members.c.state == "active",
        sites.c.suspended.is_(False),
    )
)
_KNOWN = select(
    relays.c.user, relays.c.site, relays.c.device, relays.c.key,
    relays.c.hash, relays.c.state, relays.c.code,
).where(
    tuple_(relays.c.user, relays.c.site, relays.c.device, relays.c.key).in_(
        bindparam("b_names", expanding=True)
    )
)  # fmt: skip
_SIGNED_IN = select(sessions.c.id).where(
    sessions.c.id.in_(bindparam("b_sessions", expanding=True)),
    sessions.c.full.is_(True),
    sessions.c.expires > bindparam("b_now"),
)


# Both of the above at once: the user's right, and the session in which he uses it.
_ALLOWED = (
    _RIGHTS.join(sessions, sessions.c.user == grants.c.user)
    .add_columns(sessions.c.id)
    .where(
        sessions.c.id.in_(bindparam("b_sessions", expanding=True)),
        sessions.c.full.is_(True),
        sessions.c.expires > bindparam("b_now"),
    )
)


def may_relay(
    connection: Connection, wanted: Iterable[tuple[str, str, str]]
) -> set[tuple[str, str, str]]:
    """Return those (user, site, device) where the user is an active member with the remote right for the lock."""
    names = [(site, user, device) for user, site, device in wanted]
    rows = connection.execute(_RIGHTS, {"b_wanted": names})
    return {(user, site, device) for user, site, device in rows}


def _known(connection: Connection, names: Sequence[Name]) -> dict[Name, Known]:
    rows = connection.execute(_KNOWN, {"b_names": names})
    return {
        (user, site, device, key): Known(bytes(digest), state, code)
        for user, site, device, key, digest, state, code in rows
    }


def _signed_in(connection: Connection, wanted: Iterable[str], now: int) -> set[str]:
    rows = connection.execute(_SIGNED_IN, {"b_sessions": list(wanted), "b_now": now})
    return set(rows.scalars())


def _who(opening: Opening) -> tuple[str, str, str, str]:
    user, site, device, _ = opening.name
    return user, site, device, opening.session


def _allowed(
    connection: Connection, openings: Sequence[Opening], now: int
) -> set[tuple[str, str, str, str]]:
    """Return those (user, site, device, session) that have the right, in a session of the user that still holds."""
    names = {
        (site, user, device) for user, site, device, _ in (opening.name for opening in openings)
    }
    rows = connection.execute(
        _ALLOWED,
        {
            "b_wanted": list(names),
            "b_sessions": list({opening.session for opening in openings}),
            "b_now": now,
        },
    )
    return {(user, site, device, session) for user, site, device, session in rows}


def accept(tx: Transaction, openings: Sequence[Opening]) -> list[Known | Refused | None]:
    """Record openings that may be: None. Others are known already, or refused. A bulk job of the store."""
    allowed = _allowed(tx.connection, openings, tx.now)
    refused = {opening.session for opening in openings if _who(opening) not in allowed}
    signed_in = _signed_in(tx.connection, refused, tx.now) if refused else set()
    known = _known(tx.connection, [opening.name for opening in openings])
    results: list[Known | Refused | None] = []
    rows: list[dict[str, Any]] = []
    for opening in openings:
        user, site, device, key = opening.name
        if _who(opening) not in allowed:
            here = opening.session in signed_in
            results.append(Refused(Status.NOT_FOUND if here else Status.SIGN_IN))
        elif (before := known.get(opening.name)) is not None:
            results.append(before)
        else:
            known[opening.name] = Known(opening.hash, "accepted", Status.DONE)
            rows.append(
                {
                    "user": user, "site": site, "device": device, "key": key, "hash": opening.hash,
                    "state": "accepted", "code": 0, "created": tx.now, "ended": None,
                }
            )  # fmt: skip
            tx.audit(site, "relay.accepted", user=user, device=device, key=key)
            results.append(None)
    if rows:
        tx.execute(relays.insert(), rows)
    return results


def find(connection: Connection, name: Name) -> Known | None:
    """Return a relay that was opened before. Refuses (21) a user without the right, as `accept` does."""
    if not may_relay(connection, [name[:3]]):
        raise Refused(Status.NOT_FOUND)
    return _known(connection, [name]).get(name)


_END = (
    relays.update()
    .where(
        relays.c.user == bindparam("b_user"),
        relays.c.site == bindparam("b_site"),
        relays.c.device == bindparam("b_device"),
        relays.c.key == bindparam("b_key"),
    )
    .values(state=bindparam("b_state"), code=bindparam("b_code"), ended=bindparam("b_ended"))
)


def finish(tx: Transaction, endings: Sequence[Ending]) -> list[None]:
    """Record ends of relays that have none yet; a second end of the same relay changes nothing. A bulk job."""
    known = _known(tx.connection, [ending.name for ending in endings])
    rows: list[dict[str, Any]] = []
    for ending in endings:
        before = known.pop(ending.name, None)
        if before is None or before.state != "accepted":
            continue
        user, site, device, key = ending.name
        rows.append(
            {
                "b_user": user, "b_site": site, "b_device": device, "b_key": key,
                "b_state": ending.state, "b_code": ending.code, "b_ended": tx.now,
            }
        )  # fmt: skip
        tx.audit(
            site, "relay.ended",
            user=user, device=device, key=key, outcome=ending.state, code=ending.code,
        )  # fmt: skip
    if rows:
        tx.execute(_END, rows)
    return [None] * len(endings)


def recover(tx: Transaction) -> int:
    """After a start: nobody knows how relays ended that were under way. Returns how many there were."""
    rows = tx.execute(
        select(relays.c.user, relays.c.site, relays.c.device, relays.c.key).where(
            relays.c.state == "accepted"
        )
    ).all()
    names = [(row.user, row.site, row.device, row.key) for row in rows]
    for start in range(0, len(names), 200):
        finish(
            tx,
            [Ending(name, "unknown", Status.UNKNOWN) for name in names[start : start + 200]],
        )
    return len(names)


def prune(tx: Transaction) -> None:
    """Remove relays older than 24 hours. Their keys are too old to be opened again."""
    tx.execute(
        delete(relays).where(relays.c.created < tx.now - KEPT_MS, relays.c.state != "accepted")
    )
