"""What a gateway's last checkpoint proves about this database (docs/ras.md, "Restore").

A gateway's own words change nothing: it may be stolen, or lie. A checkpoint is the server's word, signed with its key,
over a part of the site's chain and the generation in which that part was written.
"""

from typing import Annotated

import msgspec
from sqlalchemy import Connection

from igrs_ras import wire
from igrs_ras.audit import holds
from igrs_ras.chain import signed_bytes
from igrs_ras.identity import verified
from igrs_ras.wire import Body

Index = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class KnownCheckpoint(Body):
    """The last checkpoint that a gateway has checked, without its entries: what the signature is over."""

    first: Index
    last: Index
    before: str
    head: str
    time: Number
    generation: Number
    signature: str

    def read(self, site: str) -> Proof:
        """Return it as bytes. Raises Refused(MALFORMED)."""
        before = wire.unb64(self.before, 32, field="before")
        head = wire.unb64(self.head, 32, field="head")
        signature = wire.unb64(self.signature, 64, field="signature")
        message = signed_bytes(
            site, self.first, self.last, before, head, self.time, self.generation
        )
        return Proof(self.last, head, self.generation, message, signature)


class Proof(msgspec.Struct, frozen=True):
    """A checkpoint of one site, to be verified before anything follows from it."""

    last: int
    head: bytes
    generation: int
    message: bytes
    signature: bytes

    def is_signed(self, public: bytes) -> bool:
        """Tell whether this server signed it, for this site."""
        return verified(public, self.message, self.signature)

    def contradicts(self, connection: Connection, site: str, generation: int) -> bool:
        """Tell whether the database, in which the site has `generation`, is older than what was signed.

        A lower generation than the site's was signed before a restore that is known: that one voided everything.
        """
        if self.generation != generation:
            return self.generation > generation
        return not holds(connection, site, self.last, self.head)
