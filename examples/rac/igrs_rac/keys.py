"""A person's keys as the home seals them: in the box of a join, and again whenever something changes.

The home is trusted with them, the server never sees them. Still everything is typed and bounded: what is stored has to
be read again by whatever version comes next.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Self

from ilp import Capability, IlpError, Right, format_device_id, parse_account_id, parse_device_id
from ilp.const import ACCOUNT_SLOT_MAX, EPOCH_MAX, KEY_SIZE

from .errors import BoxError, printable
from .wire import Fields, MalformedError, b64, read_json

LOCKS_MAX: Final = 500
NAME_MAX: Final = 80


@dataclass(frozen=True, slots=True)
class LockKeys:
    """One lock and this person's account there."""

    device: str
    name: str
    slot: int
    account: str
    key: bytes = field(repr=False)
    advertisement_key: bytes = field(repr=False)
    epoch: int
    rights: Right
    capabilities: Capability

    @property
    def device_id(self) -> bytes:
        """The lock's identifier as 6 bytes."""
        return parse_device_id(self.device)

    @property
    def account_id(self) -> bytes:
        """The user account ID as 9 bytes."""
        return parse_account_id(self.account)

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Read one lock; MalformedError."""
        device = fields.device("device")
        account = fields.text("account", 12)
        try:
            parse_account_id(account)
        except IlpError:
            raise MalformedError("account") from None
        return cls(
            device=device,
            name=printable(fields.text("name"), NAME_MAX)
            or format_device_id(parse_device_id(device)),
            slot=fields.integer("slot", 0, ACCOUNT_SLOT_MAX),
            account=account,
            key=fields.binary("key", size=KEY_SIZE),
            advertisement_key=fields.binary("advertisement_key", size=KEY_SIZE),
            epoch=fields.integer("epoch", 0, EPOCH_MAX),
            rights=Right(fields.integer("rights", 0, 0xFF)),
            capabilities=Capability(fields.integer("capabilities", 0, 0xFFFF)),
        )

    def as_json(self) -> dict[str, Any]:
        """Return what `read` reads."""
        return {
            "device": self.device,
            "name": self.name,
            "slot": self.slot,
            "account": self.account,
            "key": b64(self.key),
            "advertisement_key": b64(self.advertisement_key),
            "epoch": self.epoch,
            "rights": int(self.rights),
            "capabilities": int(self.capabilities),
        }


@dataclass(frozen=True, slots=True)
class KeyRing:
    """What a box or a later change says: who this is to the home, and all locks of this person."""

    person: bytes = field(repr=False)
    name: str
    locks: tuple[LockKeys, ...]

    @classmethod
    def read(cls, plain: bytes) -> Self:
        """Read what was unsealed; BoxError when the home wrote something else."""
        try:
            fields = Fields(read_json(plain))
            locks = tuple(LockKeys.read(item) for item in fields.items("locks", LOCKS_MAX))
            ring = cls(
                bytes.fromhex(fields.hex_id("person")),
                printable(fields.text("name"), NAME_MAX) if "name" in fields else "",
                locks,
            )
        except MalformedError as error:
            raise BoxError(f"field {error}") from None
        if len({lock.device for lock in locks}) != len(locks):
            raise BoxError("a lock is there twice")
        return ring
