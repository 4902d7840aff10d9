"""Who may use a lock from afar: what the lock holds, and what the owner wants now.

Fails closed: without a People entry, with a question open about somebody, or with a slot whose
account is not the one that this home wrote, nobody may.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from homeassistant.util import dt as dt_util

from ..account_plan import Terms
from ..const import CONF_LOCK_KEY, SUBENTRY_PERSON
from ..ilp import account_key
from ..person import Person
from .relay_check import Moment, RelayRefused, Tenant

if TYPE_CHECKING:
    from ..coordinator import IgrsLockCoordinator
    from .gateway import Gateway


def moment() -> Moment:
    """Return the time of this home."""
    now = time.time()
    offset = datetime.fromtimestamp(now, dt_util.get_default_time_zone()).utcoffset()
    return Moment(int(now), 0 if offset is None else round(offset.total_seconds()) // 60)


def tenant_of(gateway: Gateway, coordinator: IgrsLockCoordinator, slot: int) -> Tenant | None:
    """Return who holds a slot, as the lock said last; None for nobody who may relay over this server."""
    home, device_id = gateway.home, coordinator.device_id
    ledger = home.ledger.lock(device_id)
    account = next((one for one in ledger.known or () if one.slot == slot), None)
    if account is None or (entry := home.people_entry) is None:
        return None
    found = [one for one in ledger.grants.items() if one[1].account_id == account.account_id]
    if not found:
        return None
    person_id, grant = found[0]
    if person_id in ledger.questions or person_id in ledger.ended:
        return None
    if any(doomed.account_id == account.account_id for doomed in ledger.doomed):
        return None
    subentry = entry.subentries.get(person_id)
    if subentry is None or subentry.subentry_type != SUBENTRY_PERSON:
        return None
    person = Person.of(subentry)
    if device_id not in person.locks or not gateway.people.may_use(person_id):
        return None
    terms = Terms.of(person)
    lock_key = bytes.fromhex(coordinator.config_entry.data[CONF_LOCK_KEY])
    return Tenant(
        person_id=person_id,
        account=account,
        key=account_key(lock_key, account.account_id),
        terms=terms,
        uses_agreed=grant.settled is not None and grant.settled.uses == terms.uses,
    )


def persons_tenant(
    gateway: Gateway, coordinator: IgrsLockCoordinator, person_id: str
) -> Tenant | None:
    """Return the tenant that a person is on a lock, if they may use it from afar now."""
    ledger = gateway.home.ledger.lock(coordinator.device_id)
    if (grant := ledger.grants.get(person_id)) is None:
        return None
    if (account := ledger.account(grant.account_id)) is None:
        return None
    tenant = tenant_of(gateway, coordinator, account.slot)
    if tenant is None or tenant.person_id != person_id:
        return None
    try:
        tenant.present(moment())
    except RelayRefused:
        return None
    return tenant


def users_person(gateway: Gateway, coordinator: IgrsLockCoordinator, user: str) -> str | None:
    """Return the person that a user of the server is by one of their phones, if they may use the lock.

    The server's word: good for asking a lock for a nonce or for connecting to it, and for no more.
    """
    for phone in gateway.store.phones.values():
        if phone.user != user or phone.ended:
            continue
        if persons_tenant(gateway, coordinator, phone.person_id) is not None:
            return phone.person_id
    return None
