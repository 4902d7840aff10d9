"""The link at the real server: proved by both sides, kept, made again, and ended for good where it must be."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import pytest
from ras_house import RasHouse, breathe
from remote_line import Line, line, make_line

from custom_components.igrs_lock.remote.link import Down
from custom_components.igrs_lock.remote.wire import LinkDown, Refused, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant

__all__ = ["line", "make_line"]


async def test_both_prove_themselves(ras: RasHouse, line: Line) -> None:
    welcome = line.heard.welcomes[0]
    assert welcome.site == line.entry.data["site"]
    assert (welcome.public_url, welcome.reached) == (ras.url, True)
    assert not welcome.restored
    assert line.store.n == 1
    assert line.link.clock.offset_ms in (-1, 0, 1)
    # What is secret stands in no text that anybody logs.
    assert line.link.token is not None
    for shown in (repr(welcome), repr(line.link._identity), repr(line.link)):
        assert line.link.token not in shown
        assert str(line.entry.data["private_key"]) not in shown
        assert repr(base64.b64decode(line.entry.data["private_key"])) not in shown


async def test_a_request_is_answered_or_refused(ras: RasHouse, line: Line) -> None:
    answer = await ras.wait(line.link.async_request("site.digest", {"digest": "A" * 43 + "="}))
    assert answer["match"] is False
    with pytest.raises(Refused) as refused:
        await ras.wait(
            line.link.async_request("join.answer", {"join": "0" * 32, "outcome": "refused"})
        )
    assert refused.value.status is Status.NOT_FOUND
    assert refused.value.translation_key == "remote_refused"


async def test_it_comes_back_after_the_server_was_updated(ras: RasHouse, line: Line) -> None:
    token = line.link.token
    await ras.stop()
    await line.is_down(Down.RESTARTING)
    assert not line.link.connected
    assert line.link.token is None
    assert not line.link.send("lock.event", {"counter": 1}, "C4112233445F")
    with pytest.raises(LinkDown):
        await line.link.async_request("token")
    await ras.start()
    await line.again(seconds=30)  # seconds, not minutes
    assert line.link.token != token
    assert line.store.n >= 2


async def test_it_comes_back_after_the_server_was_killed(ras: RasHouse, line: Line) -> None:
    waiting = asyncio.ensure_future(line.link.async_request("audit.range", {"first": 1, "last": 2}))
    await ras.kill()
    await line.is_down(Down.LOST)
    with pytest.raises(LinkDown):
        await waiting
    # Two minutes without a server: tried less and less often.
    for _ in range(60):
        ras._freezer.tick(2)
        await breathe(ras.hass)
    assert 3 <= line.heard.downs.count(Down.UNREACHABLE) < 25
    n = line.store.n
    assert n == 1, "no number is used up while nothing answers"
    await ras.start()
    await line.again()
    assert line.store.n == n + 1


async def test_case_2_a_copy_is_found_out_and_stays_out(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    ras: RasHouse,
    line: Line,
    make_line: Callable[[ConfigEntry[Any]], Line],
) -> None:
    # Another machine with what this one had when it was linked: its number was used before.
    copy = make_line(line.entry)
    await copy.store.async_load()
    copy.store.n -= 1
    copy.link.async_start()
    await copy.is_down(Down.COPY)
    assert copy.link.down is Down.COPY
    assert line.link.connected
    # It does not try again, and not after a restart either.
    stored = hass_storage[f"igrs_lock.remote.{line.entry.entry_id}"]["data"]
    assert stored["copied"] is True
    await ras.within(5, lambda: True)
    again = make_line(line.entry)
    await again.start()
    await again.is_down(Down.COPY)
    assert len(copy.heard.downs) == len(again.heard.downs) == 1


async def test_case_2_of_two_with_the_key_the_newest_is_kept(
    ras: RasHouse, line: Line, make_line: Callable[[ConfigEntry[Any]], Line]
) -> None:
    other = make_line(line.entry)
    await other.up()
    await line.is_down(Down.COPY)
    assert other.link.connected
    assert line.store.copied
    # A new enrolment is what mends it.
    line.store.async_begin_anew()
    assert (line.store.copied, line.store.n) == (False, 0)


async def test_case_1_a_revoked_gateway_does_not_come_back(ras: RasHouse, line: Line) -> None:
    await ras.verb("gateway revoke", gateway=line.entry.data["gateway"])
    await line.is_down(Down.REVOKED)
    await ras.within(2, lambda: True)
    n = line.store.n
    for _ in range(4):
        ras._freezer.tick(600)
        await breathe(ras.hass)
    assert line.store.n == n
    assert line.heard.downs == [Down.REVOKED]


async def test_case_1_a_gateway_that_the_server_does_not_know_is_refused(
    ras: RasHouse, make_line: Callable[[ConfigEntry[Any]], Line], hass: HomeAssistant
) -> None:
    entry = await ras.enrol()
    hass.config_entries.async_update_entry(entry, data={**entry.data, "gateway": "0" * 32})
    line = make_line(entry)
    await line.start()
    await line.is_down(Down.REFUSED)
    assert not line.link.connected


async def test_a_false_checkpoint_ends_it(
    ras: RasHouse, make_line: Callable[[ConfigEntry[Any]], Line]
) -> None:
    line = make_line(await ras.enrol())
    await line.store.async_load()
    line.store.checkpoint = {
        "first": 1, "last": 9, "before": "A" * 43 + "=", "head": "A" * 43 + "=", "time": 1,
        "generation": 1, "signature": "A" * 86 + "==",
    }  # fmt: skip
    line.link.async_start()
    await line.is_down(Down.FALSE_CHECKPOINT)
    assert not line.link.connected


async def test_case_11_a_clock_that_is_off_is_told_once_and_when_it_is_right_again(
    ras: RasHouse, line: Line
) -> None:
    ras.clock.offset_ms = 100_000
    await ras.within(80, lambda: line.heard.off)
    assert line.heard.off == [100]
    assert line.link.clock.offset_ms in range(99_998, 100_003)
    ras.clock.offset_ms = 0
    await ras.within(30, lambda: len(line.heard.off) == 2)
    assert line.heard.off == [100, None]
    assert len(line.heard.welcomes) == 1


async def test_the_key_can_be_changed(
    ras: RasHouse, line: Line, make_line: Callable[[ConfigEntry[Any]], Line], hass: HomeAssistant
) -> None:
    await ras.wait(line.link.async_change_key())
    (new,) = line.heard.keys
    await ras.wait(line.link.async_stop())
    # The old one opens nothing; the entry was restored without the new one, the store knows it.
    old = make_line(line.entry)
    await old.start()
    await old.again()
    assert old.heard.downs == [Down.REFUSED]
    assert old.heard.keys == [new]
    # With the new one in the entry there is nothing to find out.
    data = {**line.entry.data, "private_key": base64.b64encode(new).decode()}
    hass.config_entries.async_update_entry(line.entry, data=data)
    await ras.wait(old.link.async_stop())
    right = make_line(line.entry)
    await right.up()
    assert not right.heard.downs


async def test_a_key_change_that_the_server_never_heard_of_is_forgotten(
    ras: RasHouse, line: Line, make_line: Callable[[ConfigEntry[Any]], Line]
) -> None:
    changing = asyncio.ensure_future(line.link.async_change_key())
    await ras.kill()
    with pytest.raises(LinkDown):
        await ras.wait(changing)
    await ras.start()
    await ras.within(90, lambda: line.link.connected)
    # Whether it had heard or not: the link is up, and the store and the server agree.
    await ras.until(lambda: line.store.next_key in (b"", *line.heard.keys))
    await ras.wait(line.link.async_stop())
    with pytest.raises(LinkDown):
        await line.link.async_change_key()


async def test_stopped_it_is_closed_at_once(ras: RasHouse, line: Line) -> None:
    assert ras.server.gateways.connected == 1
    stopping = asyncio.ensure_future(line.link.async_stop())
    await asyncio.sleep(0)
    assert not line.link.connected
    await ras.wait(stopping)
    await ras.until(lambda: ras.server.gateways.connected == 0)
    assert line.heard.downs == [Down.STOPPED]
    assert line.link.down is Down.STOPPED
    # And on again, without a pause.
    line.link.async_start()
    await ras.until(lambda: line.link.connected)
