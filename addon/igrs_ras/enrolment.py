"""A home's gateway gets its place by a code that works once (docs/ras.md, "Enrolment")."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from igrs_ras import codes, wire
from igrs_ras.accounts.throttle import give_back, guess_uses
from igrs_ras.identity import verified
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import enrolments, gateways, sites

if TYPE_CHECKING:
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A new gateway, and its site's generation."""

    gateway: str
    site: str
    generation: int


async def enrol(  # noqa: D417  the rest are the fields of the request
    ras: Ras,
    code: str,
    public_key: bytes,
    nonce: bytes,
    signature: bytes,
    *,
    address: str,
    local: bool,
) -> Enrolled:
    r"""Redeem an enrolment code for a gateway's public key.

    The signature is over `"IGRS enrol 1\0" ‖ server public 32 ‖ SHA-256(code 10) ‖ public key 32 ‖ nonce 32`: whoever
    only sees the request cannot use the code for another key, nor with another server.

    Args:
        address: the caller's, for the limit of 5 wrong codes an hour; empty: all of them together.
        local: the request came over the Supervisor's network; only there a local code works.

    Raises:
        Refused: WRONG_CODE for every fault of code or signature alike, TOO_MANY_ATTEMPTS.
    """
    uses = guess_uses("enrol", address)
    await ras.throttle.take(uses)
    hashed = hashlib.sha256(codes.read(code)).digest()
    signed = b"IGRS enrol 1\0" + ras.identity.public + hashed + public_key + nonce
    if not verified(public_key, signed, signature):
        raise Refused(Status.WRONG_CODE)

    def job(tx: Transaction) -> Enrolled:
        conditions = [
            enrolments.c.hash == hashed,
            enrolments.c.used.is_(None),
            enrolments.c.expires > tx.now,
        ]
        if not local:
            conditions.append(enrolments.c.local.is_(False))
        used = tx.execute(enrolments.update().where(*conditions).values(used=tx.now))
        if used.rowcount == 0:
            raise Refused(Status.WRONG_CODE)
        row = tx.execute(
            select(sites.c.id, sites.c.generation, enrolments.c.local)
            .join(sites, sites.c.id == enrolments.c.site)
            .where(enrolments.c.hash == hashed)
        ).one()
        ras.gateways.revoke_site(tx, row.id)
        gateway = wire.new_id()
        tx.execute(
            gateways.insert().values(
                id=gateway, site=row.id, public_key=public_key, local=row.local, created=tx.now
            )
        )
        tx.audit(row.id, "gateway.enrolled", gateway=gateway)
        give_back(tx, uses)
        return Enrolled(gateway, row.id, row.generation)

    return await ras.store.write(job)
