"""What scanners hear of a lock that advertises."""

import asyncio
import itertools
import statistics

import pytest
from bsld.advert import scan_response
from bumble import hci
from stations import ADVERTISED, DATA, LOCK, Listener, Station
from virtual_time import in_virtual_time

from simulator.link import Radio

Kind = hci.HCI_LE_Advertising_Report_Event.EventType
NAME = LOCK.hex().upper()


@in_virtual_time
async def test_a_passive_scanner_hears_the_advertisement_and_never_the_name() -> None:
    radio = Radio(1)
    await Station.start(radio)
    listener = await Listener(radio).start()
    heard = await listener.scan(5)
    assert {(one.kind, one.data) for one in heard} == {(Kind.ADV_IND, ADVERTISED)}


@in_virtual_time
async def test_an_active_scanner_hears_the_scan_response_as_such_right_after_each() -> None:
    radio = Radio(1)
    await Station.start(radio)
    listener = await Listener(radio).start()
    heard = await listener.scan(5, active=True)
    assert [one.kind for one in heard[:4]] == [Kind.ADV_IND, Kind.SCAN_RSP] * 2
    assert {one.data for one in heard if one.kind == Kind.SCAN_RSP} == {scan_response(LOCK)}


@in_virtual_time
async def test_the_interval_is_the_one_asked_for_plus_up_to_ten_milliseconds() -> None:
    radio = Radio(1)
    await Station.start(radio, interval_ms=1000)
    listener = await Listener(radio).start()
    times = [one.at for one in await listener.scan(600)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(gaps) >= 1.0
    assert max(gaps) <= 1.0101
    assert 1.004 < statistics.mean(gaps) < 1.006


@in_virtual_time
async def test_new_data_is_on_the_air_with_the_next_advertisement_and_a_new_interval_at_once() -> (
    None
):
    radio = Radio(1)
    lock = await Station.start(radio, interval_ms=1000)
    listener = await Listener(radio).start()
    await listener.device.start_scanning(legacy=True, active=False)
    await asyncio.sleep(3.2)
    changed_at = asyncio.get_running_loop().time()
    lock.air.advertise(bytes(10), 250, True)
    await asyncio.sleep(1)
    after = [one for one in listener.heard if one.at >= changed_at]
    assert after[0].at - changed_at < 0.001
    assert all(one.data.endswith(bytes(10)) for one in after)
    assert len(after) == 4


@in_virtual_time
async def test_every_listener_has_its_own_signal_strength() -> None:
    radio = Radio(1)
    await Station.start(radio)
    near = await Listener(radio, "near", 1).start()
    far = await Listener(radio, "far", 2).start()
    radio.set_rssi(NAME, "near", -40)
    radio.set_rssi(NAME, "far", -93)
    await asyncio.gather(near.scan(1), far.scan(1))
    assert {one.rssi for one in near.heard} == {-40}
    assert {one.rssi for one in far.heard} == {-93}


@pytest.mark.parametrize("rssi", [None, -101])
@in_virtual_time
async def test_out_of_reach_nothing_is_heard_until_it_is_near_again(rssi: int | None) -> None:
    radio = Radio(1)
    await Station.start(radio)
    listener = await Listener(radio).start()
    radio.set_rssi(NAME, "gateway", rssi)
    assert await listener.scan(5) == []
    radio.set_rssi(NAME, None, -70)
    assert {one.rssi for one in await listener.scan(5)} == {-70}


@in_virtual_time
async def test_lost_advertisements_are_gone() -> None:
    radio = Radio(1)
    await Station.start(radio)
    listener = await Listener(radio).start()
    radio.set_loss(0.75)
    heard = len(await listener.scan(1000)) / (1000 / 0.105)
    assert 0.22 < heard < 0.28
    radio.set_loss(1)
    assert await listener.scan(100) == []


@in_virtual_time
async def test_scan_requests_and_responses_can_be_lost_too() -> None:
    radio = Radio(1)
    await Station.start(radio)
    listener = await Listener(radio).start()
    radio.set_loss(0.5)
    heard = await listener.scan(1000, active=True)
    answered = [one.kind for one in heard].count(Kind.SCAN_RSP)
    assert 0.2 < answered / (len(heard) - answered) < 0.3


@in_virtual_time
async def test_the_duplicate_filter_hides_changes_as_a_controllers_does() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    await listener.device.start_scanning(legacy=True, active=False, filter_duplicates=True)
    await asyncio.sleep(1)
    lock.air.advertise(bytes(10), 100, True)
    await asyncio.sleep(1)
    assert len(listener.heard) == 1


@in_virtual_time
async def test_a_scanner_that_listens_a_quarter_of_the_time_hears_a_quarter() -> None:
    radio = Radio(1)
    await Station.start(radio)
    listener = await Listener(radio).start()
    await listener.device.start_scanning(
        legacy=True, active=False, scan_interval=400, scan_window=100
    )
    await asyncio.sleep(1000)
    assert 0.22 < len(listener.heard) / (1000 / 0.105) < 0.28


@in_virtual_time
async def test_a_lock_without_a_free_connection_is_heard_but_not_connectable() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    lock.air.advertise(DATA, 100, False)
    await asyncio.sleep(0.1)
    heard = await listener.scan(1, active=True)
    assert {one.kind for one in heard} == {Kind.ADV_SCAN_IND, Kind.SCAN_RSP}


@in_virtual_time
async def test_a_lock_that_lost_its_power_is_silent() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    assert await listener.scan(1)
    lock.air.power_off()
    assert await listener.scan(5) == []


@in_virtual_time
async def test_a_reset_stops_scanning() -> None:
    radio = Radio(1)
    await Station.start(radio)
    listener = await Listener(radio).start()
    await listener.device.start_scanning(legacy=True)
    await listener.host.send_sync_command(hci.HCI_Reset_Command())
    listener.heard.clear()
    await asyncio.sleep(2)
    assert listener.heard == []
