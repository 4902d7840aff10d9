"""A remote client's counterpart in tests: keys as the home gives them, states as the home sends them."""

from dataclasses import replace

from bsld_home import GUEST, Home, Person
from igrs_rac.keys import LockKeys
from ilp import (
    Capability,
    Request,
    Right,
    advertisement_key,
    format_account_id,
    format_device_id,
    seen_proof,
)
from ilp_support import DEVICE_ID, LOCK_KEY, advertised

REMOTE = GUEST | Right.OPEN | Right.READ_LOG | Right.FOLLOW_STATE | Right.REMOTE_USE
ACCOUNT_ID = bytes.fromhex("e3c9b3b8d6a7067ac6")
SITE = "fe" * 16
OTHER_ID = bytes.fromhex("c4112233445f")


def lock_keys(
    *, device_id: bytes = DEVICE_ID, lock_key: bytes = LOCK_KEY, epoch: int = 0, slot: int = 4
) -> LockKeys:
    """Keys of a lock that nobody talks to."""
    return LockKeys(
        device=format_device_id(device_id),
        name="Front door",
        slot=slot,
        account=format_account_id(ACCOUNT_ID),
        key=bytes(16),
        advertisement_key=advertisement_key(lock_key, epoch),
        epoch=epoch,
        rights=REMOTE,
        capabilities=Capability(0),
    )


def keys_of(home: Home, person: Person, epoch: int = 0) -> LockKeys:
    """A person's keys of a running lock."""
    return replace(
        lock_keys(lock_key=home.lock_key, epoch=epoch, slot=person.slot),
        account=format_account_id(person.account_id),
        key=person.key,
    )


def remote_person(home: Home, rights: Right = REMOTE, uses: int = 255, *more: Request) -> Person:
    """Somebody who may use the lock from afar."""
    return home.grant(rights, uses, *more)


def seen_state(
    counter: int,
    time: int,
    *,
    bolt: int = 1,
    epoch: int = 0,
    lock_key: bytes = LOCK_KEY,
    data: bytes | None = None,
) -> tuple[bytes, int, bytes]:
    """A state as an honest home sends it: advertisement, time, proof."""
    data = advertised(counter, epoch=epoch, bolt=bolt) if data is None else data
    return data, time, seen_proof(advertisement_key(lock_key, epoch), DEVICE_ID, data, time)
