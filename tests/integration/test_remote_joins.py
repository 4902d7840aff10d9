"""Joining: one phone for one link, over every cut, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from remote_people import Street

from custom_components.igrs_lock import ilp

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from ras_house import RasHouse
    from world import World


@pytest.fixture
async def street(
    world: World, lock: TestLock, entry: ConfigEntry[Any], ras: RasHouse, enrolled: ConfigEntry[Any]
) -> Street:
    """Anna and a server over which the lock is reachable."""
    street = Street(world, lock, ras, entry, enrolled)
    await street.prepare()
    return street


async def test_a_phone_joins_by_a_link_and_gets_its_keys(street: Street) -> None:
    anna = await street.add("Anna")
    invitation = await street.invite(anna)
    phone = await street.join(invitation)
    assert phone.box["person"] == phone.person
    assert phone.box["name"] == "Anna"
    (lock,) = phone.box["locks"]
    account = street.tenants.account("Anna")
    key = street.tenants.key("Anna")
    assert lock == {
        "device": street.lock.unique_id,
        "name": street.entry.title,
        "slot": key.slot,
        "account": ilp.format_account_id(key.account_id),
        "key": lock["key"],
        "advertisement_key": lock["advertisement_key"],
        "epoch": 0,
        "rights": account.rights,
        "capabilities": street.entry.data["capabilities"],
    }
    assert street.people.may_use(anna)
    assert await street.ras.wait(phone.call("GET", "/api/v1/locks"))
