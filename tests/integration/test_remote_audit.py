"""The server's signed record, followed by its home: what contradicts it, and a server put back from a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from false_ras import FalseRas, Record
from ras_house import RasHouse, breathe
from remote_line import Line, line, make_line

from custom_components.igrs_lock.remote.link import Down
from custom_components.igrs_lock.remote.store import RemoteStore
from custom_components.igrs_lock.remote.wire import Message, b64

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant

__all__ = ["line", "make_line"]


# --- the real server ---


async def record(ras: RasHouse, line: Line, entries: int = 1) -> int:
    """Have the server write something down and sign it; return the last entry's index."""
    site = str(line.entry.data["site"])
    for _ in range(entries):
        await ras.wait(ras.server.store.write(lambda tx: tx.audit(site, "site.synced")))
    (checkpoint,) = await ras.wait(ras.server.checkpoints.sign(site))
    return int(checkpoint["last"])


async def followed(ras: RasHouse, line: Line, last: int) -> None:
    """Wait until the home has followed the record so far."""
    await ras.until(lambda: line.store.audit is not None and line.store.audit[0] == last)


async def test_case_44_the_record_is_followed_over_restarts_and_gaps(
    ras: RasHouse,
    line: Line,
    hass_storage: dict[str, Any],
    make_line: Callable[[ConfigEntry[Any]], Line],
) -> None:
    await followed(ras, line, await record(ras, line))
    assert line.store.audit is not None
    head, file = line.store.audit, f"igrs_lock.remote.{line.entry.entry_id}"
    await ras.until(lambda: hass_storage[file]["data"]["audit"] == [head[0], b64(head[1])])
    # Signed while this home was away, in more pieces than one answer holds.
    await ras.wait(line.link.async_stop())
    for _ in range(22):
        last = await record(ras, line)
    after = make_line(line.entry)
    await after.up()
    await followed(ras, after, last)
    # And one that was lost on the way is asked for when the next one comes.
    feed, after.link.audit.feed = after.link.audit.feed, lambda message: None  # type: ignore[method-assign]
    await record(ras, line, 3)
    await breathe(ras.hass, 0.02)
    after.link.audit.feed = feed  # type: ignore[method-assign]
    last = await record(ras, line)
    await followed(ras, after, last)
    assert after.store.checkpoint is not None
    assert after.store.checkpoint["last"] == last
    assert after.store.audit_problem is None
    assert after.heard.audits == 0


@pytest.mark.parametrize("keep_boot", [False, True])
async def test_case_16_a_server_that_was_put_back_is_found_out(
    ras: RasHouse, line: Line, *, keep_boot: bool
) -> None:
    await followed(ras, line, await record(ras, line))
    generation = line.heard.welcomes[0].generation
    await ras.stop()
    copy = ras.copy()
    await ras.start()
    await line.again()
    await followed(ras, line, await record(ras, line, 4))
    head, proof = line.store.audit, line.store.checkpoint
    await ras.stop()
    # The copy, perhaps with all that no backup holds: then only this home can tell.
    ras.put_back(copy, keep_boot=keep_boot)
    await ras.start()
    welcome = await line.again()
    assert welcome.restored
    assert welcome.generation > generation
    assert line.store.restored == welcome.generation == line.store.generation
    assert head is not None
    assert (*head, generation) in line.store.old_audits
    assert line.heard.audits == 1
    # What proves most is kept until the server has signed something of the new generation.
    assert line.store.checkpoint == proof
    await followed(ras, line, await record(ras, line))
    assert line.store.checkpoint is not None
    assert line.store.checkpoint["generation"] == welcome.generation
    assert line.store.audit_problem is None
    # It stays told over restarts of the link, until the owner knows.
    await ras.wait(line.link.async_stop())
    await line.up()
    assert line.store.restored
    assert len(line.store.old_audits) == 1
    await ras.wait(line.link.audit.async_accept())
    assert line.store.restored == 0


async def test_case_16_what_a_restore_asks_for_is_asked_again_until_it_is_done(
    ras: RasHouse, line: Line
) -> None:
    await ras.stop()
    copy = ras.copy()
    await ras.start()
    await line.again()
    await followed(ras, line, await record(ras, line))
    await ras.stop()
    ras.put_back(copy)
    await ras.start()
    faults = iter([RuntimeError("the disk, or the power")])

    async def linked(_welcome: object) -> None:
        if (fault := next(faults, None)) is not None:
            raise fault

    line.heard.on_linked = linked
    assert (await line.again()).restored
    generation = line.store.generation
    # This home did not get through with it.
    await ras.wait(line.link.async_stop())
    welcome = await line.up()
    assert welcome.restored
    await ras.until(lambda: line.store.generation == welcome.generation)
    assert line.store.generation != generation
    assert len(line.store.old_audits) == 1


# --- a false server, which has the right key ---


@pytest.fixture
async def false(ras_house: RasHouse) -> AsyncGenerator[FalseRas]:
    """A false server that listens."""
    server = FalseRas()
    await server.start()
    yield server
    await ras_house.wait(server.stop())


@pytest.fixture
async def at_false(
    hass: HomeAssistant, false: FalseRas, make_line: Callable[[ConfigEntry[Any]], Line]
) -> Line:
    """A home that follows the false server's record, 3 entries so far."""
    found = make_line(false.entry(hass))
    await found.up()
    return found


@pytest.fixture
async def kept(ras_house: RasHouse, false: FalseRas, at_false: Line) -> Record:
    """What the false server has written down and signed so far."""
    made = Record(false)
    await false.say("audit.checkpoint", made.checkpoint())
    await followed(ras_house, at_false, 3)
    return made


async def test_case_39_a_long_record_does_not_wear_the_disk(
    ras_house: RasHouse, at_false: Line, kept: Record
) -> None:
    saved = []
    real = RemoteStore.async_save

    async def save(self: RemoteStore, undo: Callable[[], None] | None = None) -> None:
        saved.append(self.audit)
        await real(self, undo)

    with patch.object(RemoteStore, "async_save", save):
        for _ in range(20):
            at_false.link.audit.feed(Message("1", "audit.checkpoint", body=kept.checkpoint()))
        await followed(ras_house, at_false, 63)
        await ras_house.until(lambda: saved)
    assert [one and one[0] for one in saved] == [63]


async def test_case_44_a_record_begins_at_its_beginning(
    ras_house: RasHouse, false: FalseRas, at_false: Line
) -> None:
    made = Record(false)
    made.head = bytes(32)
    await false.say("audit.checkpoint", made.checkpoint())
    await ras_house.until(lambda: at_false.store.audit_problem)
    assert at_false.store.audit is None


def resigned(made: Record, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Change an entry of a checkpoint that is signed."""
    return {**checkpoint, "entries": [*checkpoint["entries"][:-1], b64(bytes(32))]}


def elsewhere(made: Record) -> dict[str, Any]:
    """Sign the next checkpoint for another site."""
    site, made.false.site = made.false.site, "0" * 32
    try:
        return made.checkpoint()
    finally:
        made.false.site = site


def by_another(made: Record) -> dict[str, Any]:
    """Sign the next checkpoint with another key."""
    key, made.false.key = made.false.key, FalseRas().key
    try:
        return made.checkpoint()
    finally:
        made.false.key = key


PROBLEMS: dict[str, tuple[str, Callable[[Record], dict[str, Any]]]] = {
    "another beginning": ("forked", lambda made: made.sign(4, (bytes(32),), bytes(32))),
    "the same entries differ": ("forked", lambda made: resigned(made, made.checkpoint())),
    "an older one again, and longer": ("forked", lambda made: made.sign(2, (bytes(32),) * 4, made.head)),
    "another end of the last one": ("forked", lambda made: made.sign(1, (bytes(32),) * 3, bytes(32))),
    "a generation that nobody told": ("forked", lambda made: made.checkpoint(generation=2**62)),
    "an older generation": ("forked", lambda made: made.checkpoint(generation=1)),
    "another head": ("forked", lambda made: made.checkpoint(head=bytes(32))),
    "signed for another site": ("signature", elsewhere),
    "signed by another key": ("signature", by_another),
}  # fmt: skip


@pytest.mark.parametrize("name", PROBLEMS)
async def test_case_44_what_contradicts_the_record_is_told_and_both_heads_are_kept(
    ras_house: RasHouse,
    false: FalseRas,
    at_false: Line,
    kept: Record,
    name: str,
    hass_storage: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = at_false.store.audit
    assert own is not None
    kind, make = PROBLEMS[name]
    bad = make(kept)
    await false.say("audit.checkpoint", bad)
    problem = await ras_house.until(lambda: at_false.store.audit_problem)
    assert problem["kind"] == kind
    assert (problem["index"], problem["own"]) == (3, b64(own[1]))
    assert (problem["last"], problem["head"]) == (bad["last"], bad["head"])
    assert at_false.heard.audits == 1
    assert at_false.store.audit == own
    file = f"igrs_lock.remote.{at_false.entry.entry_id}"
    assert hass_storage[file]["data"]["audit_problem"] == problem
    # Nothing that comes now changes it; local control and relays go on.
    await false.say("audit.checkpoint", bad)
    await false.say("anything", {})
    await ras_house.until(lambda: at_false.heard.live)
    assert at_false.store.audit_problem == problem
    assert at_false.heard.audits == 1
    assert at_false.link.connected
    # The owner has seen it: the old head is kept, and the record is followed from here.
    await ras_house.wait(at_false.link.audit.async_accept())
    assert at_false.store.audit_problem is None
    assert at_false.store.old_audits == [(*own, false.generation)]
    again = Record(false)
    await false.say("audit.checkpoint", again.checkpoint(5))
    await followed(ras_house, at_false, 5)


async def test_case_44_entries_that_the_server_does_not_send_are_cut(
    ras_house: RasHouse, false: FalseRas, at_false: Line, kept: Record
) -> None:
    missing = kept.checkpoint()
    later = kept.checkpoint()
    ranges = len(false.said("audit.range"))
    await false.say("audit.checkpoint", later)
    problem = await ras_house.until(lambda: at_false.store.audit_problem)
    assert problem["kind"] == "cut"
    assert (problem["index"], problem["first"]) == (3, 7)
    assert len(false.said("audit.range")) == ranges + 1
    assert missing["first"] == 4


async def test_case_44_what_was_missed_is_asked_for(
    ras_house: RasHouse, false: FalseRas, at_false: Line, kept: Record
) -> None:
    missing, later = kept.checkpoint(), kept.checkpoint()

    async def send() -> None:
        await false.say("audit.checkpoint", missing)

    asked = []
    usual = false.heard

    def heard(message: dict[str, Any]) -> None:
        usual(message)
        if message["type"] == "audit.range" and message["body"]["first"] == 4:
            asked.append(ras_house.hass.async_create_task(send()))

    false.heard = heard
    await false.say("audit.checkpoint", later)
    await followed(ras_house, at_false, 6)
    await ras_house.until(lambda: asked)
    # A server that is busy is asked again with the next one, and accused of nothing.
    false.heard = usual
    false.answer = lambda message: {"status": 41} if message["type"] == "audit.range" else None
    await false.say("audit.checkpoint", kept.checkpoint(2))
    await breathe(ras_house.hass, 0.02)
    assert at_false.store.audit_problem is None


async def test_case_16_a_server_that_claims_a_restore_is_told_of(
    ras_house: RasHouse, false: FalseRas, at_false: Line, kept: Record
) -> None:
    # With another generation everything can be denied: therefore the owner hears of each.
    own = at_false.store.audit
    assert own is not None
    false.generation += 1
    await false.close(1012)
    await at_false.is_down(Down.RESTARTING)
    welcome = await at_false.again()
    assert welcome.restored
    assert at_false.store.restored == false.generation
    assert at_false.store.old_audits == [(*own, false.generation - 1)]
    assert at_false.store.audit is None
    assert at_false.heard.audits == 1
