"""What a home stores of a server: certainly on the disk, whole again after a restart, and closed when it is broken."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from homeassistant.helpers.storage import Store

from custom_components.igrs_lock.remote.store import (
    Invitation,
    InvitationKind,
    InvitationState,
    Phone,
    RemoteStore,
)
from custom_components.igrs_lock.remote.wire import RemoteNotSaved, b64

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant

SECRETS = [bytes([number]) * 16 for number in range(1, 12)]
FILE = "igrs_lock.remote.entry"


def filled(hass: HomeAssistant) -> RemoteStore:
    """A store in which every field is another one than at the beginning."""
    store = RemoteStore(hass, "entry")
    store.n = 17
    store.enabled = False
    store.copied = True
    store.next_key = SECRETS[0] * 2
    store.generation, store.restored = 1_790_000_000_001, 1_790_000_000_002
    store.seq, store.seq_generation = 12, 1_790_000_000_003
    store.audit = (9, bytes(range(32)))
    store.checkpoint = {"first": 1, "last": 9, "generation": 1_790_000_000_000}
    store.keep_audit()
    store.audit = (11, bytes(range(32)))
    store.audit_problem = {"kind": "cut", "index": 11}
    store.locks = {"C4112233445F": 45}
    store.invitations["a" * 32] = Invitation(
        id="a" * 32, secret=SECRETS[1], kind=InvitationKind.GUEST, person_id="p", name="Anna",
        expires=3, created=1, person=SECRETS[2], state=InvitationState.ANSWERED, client=SECRETS[3],
        home_public=SECRETS[4], box=SECRETS[5], done_key=SECRETS[6], update_key=SECRETS[7],
        join="b" * 32, user="c" * 32, phone_name="Anna's phone", opened_twice=1, wrong=[1, 2],
    )  # fmt: skip
    store.phones["b" * 32] = Phone(
        id="b" * 32, user="c" * 32, person_id="p", person=SECRETS[8], name="Anna's phone",
        update_key=SECRETS[9], joined=2, sent="d" * 64,
    )  # fmt: skip
    store.owners = {"c" * 32}
    store.numbers = {"c" * 32: 1_790_000_000_004}
    store.rotations = {"p"}
    return store


async def test_all_of_it_is_there_after_a_restart(
    hass: HomeAssistant, hass_storage: dict[str, Any]
) -> None:
    before = filled(hass)
    new = RemoteStore(hass, "entry")
    assert {name for name, value in vars(before).items() if value == vars(new)[name]} == {
        "_hass", "_file", "_retired"
    }  # fmt: skip
    await before.async_save()
    assert hass_storage[FILE]["key"] == FILE
    after = RemoteStore(hass, "entry")
    await after.async_load()
    assert after._data() == before._data()
    assert after.invitations == before.invitations
    assert after.phones == before.phones
    assert after.old_audits == [(9, bytes(range(32)), 1_790_000_000_000)]
    assert after.invitations["a" * 32].state is InvitationState.ANSWERED
    assert after.invitations["a" * 32].kind is InvitationKind.GUEST


async def test_case_46_no_secret_stands_in_a_repr(hass: HomeAssistant) -> None:
    store = filled(hass)
    shown = repr(store) + repr(store.invitations) + repr(store.phones)
    assert "Anna" in shown
    for secret in SECRETS:
        assert repr(secret)[2:-1] not in shown
        assert b64(secret) not in shown
        assert secret.hex() not in shown


@pytest.mark.parametrize("broken", ["text", "missing", "kind", "base64"])
async def test_a_broken_file_switches_remote_access_off(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    broken: str,
) -> None:
    await filled(hass).async_save()
    data = hass_storage[FILE]["data"]
    match broken:
        case "text":
            hass_storage[FILE]["data"] = ["rubbish"]
        case "missing":
            del data["numbers"]
        case "kind":
            data["invitations"][0]["state"] = "let in"
        case "base64":
            data["phones"][0]["update_key"] = "rubbish"
    store = RemoteStore(hass, "entry")
    await store.async_load()
    assert not store.enabled
    assert (store.n, store.invitations, store.phones, store.locks) == (0, {}, {}, {})
    # Home Assistant's own stores note what they write for debugging, and only then.
    (told,) = [record for record in caplog.records if record.name.startswith("custom_components")]
    assert "switched off" in told.message
    assert not told.exc_info
    # Without a file there is nothing to hide: a new server is on.
    del hass_storage[FILE]
    fresh = RemoteStore(hass, "entry")
    await fresh.async_load()
    assert fresh.enabled


async def test_what_goes_on_behind_a_reload_does_not_overwrite_the_new_record(
    hass: HomeAssistant, hass_storage: dict[str, Any]
) -> None:
    old = filled(hass)
    await old.async_save()
    await old.async_retire()
    new = RemoteStore(hass, "entry")
    await new.async_load()
    new.n += 1
    await new.async_save()
    undone: list[bool] = []
    with pytest.raises(RemoteNotSaved):
        await old.async_save(lambda: undone.append(True))
    assert undone
    assert hass_storage[FILE]["data"]["n"] == new.n == old.n + 1


async def test_case_42_what_the_disk_does_not_have_is_not_saved(
    hass: HomeAssistant, hass_storage: dict[str, Any]
) -> None:
    store = filled(hass)
    await store.async_save()

    async def full(self: object, data: object) -> None:
        """Log that the disk is full, as Home Assistant does, and raise nothing."""

    def undo() -> None:
        store.n -= 1

    store.n += 1
    with patch.object(Store, "async_save", full), pytest.raises(RemoteNotSaved) as failed:
        await store.async_save(undo)
    assert failed.value.translation_key == "remote_not_saved"
    assert store.n == 17
    await store.async_save()
    assert hass_storage[FILE]["data"]["n"] == 17


async def test_case_43_a_save_that_nobody_waits_for_any_more_is_finished(
    hass: HomeAssistant, hass_storage: dict[str, Any]
) -> None:
    store = filled(hass)
    gates: list[asyncio.Event] = []
    real = Store.async_save

    async def slow(self: Any, data: Any) -> None:
        """Write as a thread does, which goes on when nobody waits for it."""
        gates.append(gate := asyncio.Event())

        async def write() -> None:
            await gate.wait()
            await real(self, data)

        await asyncio.shield(asyncio.ensure_future(write()))

    async def turns() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    with patch.object(Store, "async_save", slow):
        store.n = 18
        first = asyncio.create_task(store.async_save())
        await turns()
        first.cancel()  # as when a link ends
        store.n = 19
        second = asyncio.create_task(store.async_save())
        await turns()
        while not second.done():
            # The youngest first: no older one may come after it.
            gates.pop().set()
            await turns()
        while gates:
            gates.pop().set()
            await turns()
    assert second.exception() is None
    assert hass_storage[FILE]["data"]["n"] == 19

    # What could not be stored is taken back even then.
    async def nothing(_self: RemoteStore) -> dict[str, Any]:
        return {}

    def undo() -> None:
        store.n = 19

    with (
        patch.object(RemoteStore, "_async_stored", nothing),
        patch.object(Store, "async_save", slow),
    ):
        store.n = 20
        third = asyncio.create_task(store.async_save(undo))
        await turns()
        third.cancel()
        await turns()
        gates.pop().set()
        await turns()
    assert third.cancelled()
    assert store.n == 19


async def test_removed_it_is_not_written_again(
    hass: HomeAssistant, hass_storage: dict[str, Any]
) -> None:
    store = filled(hass)
    await store.async_save()
    await store.async_remove()
    assert FILE not in hass_storage
    with pytest.raises(RemoteNotSaved):
        await store.async_save()
    assert FILE not in hass_storage


async def test_case_58_a_new_enrolment_opens_no_old_invitation(hass: HomeAssistant) -> None:
    store = filled(hass)
    (answered,) = store.invitations.values()
    opened = replace(answered, id="e" * 32, state=InvitationState.OPEN, client=b"", person_id="q")
    gone = replace(answered, id="f" * 32, state=InvitationState.WITHDRAWN, person_id="r")
    store.invitations |= {opened.id: opened}
    store.rotations = set()
    store.async_begin_anew()
    # Whoever has the box of an invitation that is dropped has keys: they are replaced.
    assert store.rotations == {"p"}
    assert (store.n, store.copied, store.next_key, store.invitations) == (0, False, b"", {})
    assert (store.generation, store.seq, store.seq_generation) == (0, 0, 0)
    assert store.audit is None
    assert store.audit_problem is None
    assert store.checkpoint is None
    assert [head[0] for head in store.old_audits] == [9, 11]
    # Numbers of sealed keys never begin anew, nor is anybody who joined forgotten.
    assert store.numbers
    assert store.phones
    # Nor a link of which the owner is being asked.
    store.invitations, store.rotations = {gone.id: gone, opened.id: opened}, set()
    store.async_begin_anew()
    assert store.invitations == {gone.id: gone}
    assert store.rotations == set()
