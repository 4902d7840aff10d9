"""Homes whose rows are put into the database at once: for tests of what comes after enrolling and joining."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import secrets
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from home import Home, Member, public_bytes
from igrs_ras.storage import tables
from phone import Phone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conftest import MovedClock
    from igrs_ras.ras import Ras


class House:
    """A home that is connected, its locks, and its members' phones. Each member may relay to each lock."""

    def __init__(self, home: Home, phones: list[Phone], devices: list[str]) -> None:
        self.home = home
        self.phones = phones
        self.devices = devices
        self.closing: list[Any] = []

    @property
    def site(self) -> str:
        return self.home.site

    @property
    def phone(self) -> Phone:
        return self.phones[0]

    @property
    def device(self) -> str:
        return self.devices[0]

    async def wait(self, clock: MovedClock, seconds: float) -> None:
        """Let time pass while everybody shows signs of life, as real peers do every 15 seconds."""
        while seconds > 0:
            step = min(seconds, 15)
            clock.advance(step)
            seconds -= step
            ends: list[Home | Phone] = [self.home, *self.phones]
            for one in ends:
                if not one.peer.closed.done():
                    await one.peer.request("ping")

    async def another_phone(self, phone: Phone, *, connect: bool = True) -> Phone:
        """A second browser of the same person, with the same session."""
        other = Phone(phone.url, now=phone.now)
        other.token, other.user, other.site = phone.token, phone.user, phone.site
        self.closing.append(other)
        if connect:
            await other.connect()
        return other


@contextlib.asynccontextmanager
async def house(
    ras: Ras, clock: MovedClock, *, people: int = 1, locks: int = 1, connect: bool = True
) -> AsyncIterator[House]:
    """A home with everybody connected."""
    url = f"http://127.0.0.1:{next(iter(ras.ports.values()))}"
    home = Home(url, now=clock.now_ms)
    home.key = Ed25519PrivateKey.generate()
    home.server_key = ras.identity.public
    home.gateway, home.site = secrets.token_hex(16), secrets.token_hex(16)
    devices = [secrets.token_hex(6).upper() for _ in range(locks)]
    home.locks = dict.fromkeys(devices, 0x2D)
    phones = []
    for number in range(people):
        phone = Phone(url, name=f"person {number}", now=clock.now_ms)
        phone.user, phone.site = secrets.token_hex(16), home.site
        phone.token = f"u_{secrets.token_urlsafe(32)}"
        home.members[phone.user] = Member("owner" if number == 0 else "member", list(devices))
        phones.append(phone)
    home.generation = await ras.store.write(functools.partial(_rows, home=home, phones=phones))
    found = House(home, phones, devices)
    try:
        if connect:
            await home.connect()
            for phone in phones:
                await phone.connect()
        yield found
    finally:
        for one in (*found.closing, *phones, home):
            with contextlib.suppress(Exception):
                await one.close()


def _rows(tx: Any, home: Home, phones: list[Phone]) -> int:
    site, now = home.site, tx.now
    tx.execute(
        tables.sites.insert(),
        {"id": site, "name": "Home", "generation": now, "suspended": False, "created": now},
    )
    tx.execute(
        tables.gateways.insert(),
        {
            "id": home.gateway,
            "site": site,
            "public_key": public_bytes(home.key),
            "n": 0,
            "local": False,
            "created": now,
        },
    )
    for device, capabilities in home.locks.items():
        tx.execute(
            tables.locks.insert(),
            {"site": site, "device": device, "capabilities": capabilities, "created": now},
        )
    for phone in phones:
        tx.execute(
            tables.users.insert(),
            {
                "id": phone.user,
                "name": phone.name,
                "email": f"{phone.user}@example.org",
                "created": now,
            },
        )
        tx.execute(
            tables.sessions.insert(),
            {
                "id": secrets.token_hex(16), "hash": hashlib.sha256(phone.token.encode()).digest(),
                "user": phone.user, "kind": "bearer", "full": True, "created": now, "used": now,
                "expires": now + 24 * 3600 * 1000,
            },
        )  # fmt: skip
        member = home.members[phone.user]
        tx.execute(
            tables.members.insert(),
            {
                "site": site,
                "user": phone.user,
                "role": member.role,
                "state": "active",
                "created": now,
            },
        )
        for device in member.locks:
            tx.execute(tables.grants.insert(), {"site": site, "user": phone.user, "device": device})
    return int(now)
