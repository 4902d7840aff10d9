"""Who a lock is: its address, setup code and name, made once and kept in its folder."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from bsld.identifiers import (
    format_device_id,
    format_setup_code,
    local_name,
    parse_setup_code,
)

if TYPE_CHECKING:
    from pathlib import Path

NAMES = (
    "Front door",
    "Back door",
    "Garage",
    "Garden gate",
    "Office",
    "Cellar",
    "Workshop",
    "Guest room",
)
_FILE = "identity.json"


@dataclass(frozen=True)
class Identity:
    """A lock's label.

    `address` is a static random address (its two highest bits are set), most significant byte
    first; its six bytes are the device identifier (ILP1 section 1).
    """

    address: str
    name: str
    setup_code: str = field(repr=False)

    @property
    def device_id(self) -> bytes:
        """The 6 bytes of the address."""
        return bytes.fromhex(self.address.replace(":", ""))

    @property
    def id(self) -> str:
        """The device identifier: 12 upper-case hex digits."""
        return format_device_id(self.device_id)

    @property
    def radio_name(self) -> str:
        """What the lock calls itself on the radio, and Home Assistant shows before it is named."""
        return local_name(self.device_id)

    @property
    def setup_secret(self) -> bytes:
        """The 10 bytes behind the setup code."""
        return parse_setup_code(self.setup_code)


def new_identity(name: str) -> Identity:
    """Make an identity from the operating system's secure random source."""
    raw = bytearray(secrets.token_bytes(6))
    raw[0] |= 0xC0
    return Identity(
        address=raw.hex(":").upper(),
        name=name,
        setup_code=format_setup_code(secrets.token_bytes(10)),
    )


def load_identity(folder: Path, name: str) -> Identity:
    """Read a lock's identity, making and keeping one at its first start.

    Args:
        folder: the lock's own folder, made if missing.
        name: the name of a new lock.

    Raises:
        ValueError: the file is damaged (it is never replaced: the printed label would be wrong).
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _FILE
    if path.exists():
        try:
            identity = Identity(**json.loads(path.read_text("utf-8")))
            if len(identity.setup_secret) == 10 and len(identity.device_id) == 6:
                return identity
        except ValueError, TypeError, AttributeError:
            pass
        raise ValueError(f"{path} is damaged")
    identity = new_identity(name)
    write_private(path, json.dumps(asdict(identity), indent=2))
    return identity


def write_private(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a file in one step, readable by its owner only.

    Args:
        path: the file.
        text: its new contents.
        durable: also survive a crash of the whole machine, which takes a few milliseconds. A
            killed process loses nothing either way.
    """
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    part.replace(path)


def lock_name(number: int) -> str:
    """Name of the lock with this number, from 1."""
    return NAMES[number - 1] if number <= len(NAMES) else f"Door {number}"
