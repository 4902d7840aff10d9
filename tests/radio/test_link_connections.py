"""Connections: who gets one, when packets go, and how it ends."""

import asyncio
from typing import TYPE_CHECKING

import pytest
from bumble import att, core, gatt, hci
from bumble.device import Connection, Peer
from stations import DATA, LOCK, LOCK_ADDRESS, Listener, Station, discovered
from virtual_time import in_virtual_time

from simulator.link import PACKETS_PER_EVENT, Radio

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from bumble.gatt_client import CharacteristicProxy

NAME = LOCK.hex().upper()
REQUEST = core.UUID("dbb0f1c1-e964-45da-b215-dd4c9fb1c7b5")
RESPONSE = core.UUID("dbb0f1c2-e964-45da-b215-dd4c9fb1c7b5")


def now_ms() -> float:
    return asyncio.get_running_loop().time() * 1000


async def request_of(connection: Connection) -> CharacteristicProxy[bytes]:
    peer = await discovered(connection)
    return peer.get_characteristics_by_uuid(REQUEST)[0]


async def ends(connection: Connection) -> tuple[float, int]:
    """Wait for a connection's end: when, and why."""
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    connection.once(connection.EVENT_DISCONNECTION, done.set_result)
    reason = await done
    return now_ms(), reason


async def taking(awaitable: Awaitable[object]) -> float:
    """Milliseconds that something takes."""
    started = now_ms()
    await awaitable
    return now_ms() - started


# --- connecting -----------------------------------------------------------------------------------


@in_virtual_time
async def test_connecting_waits_for_an_advertisement() -> None:
    radio = Radio(1)
    await Station.start(radio, interval_ms=1000)
    listener = await Listener(radio).start()
    await asyncio.sleep(0.3)
    took = await taking(listener.connect())
    assert 650 < took < 750


@in_virtual_time
async def test_both_ends_learn_of_the_connection_and_its_parameters() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    connection = await listener.connect()
    await asyncio.sleep(0.1)
    assert connection.parameters.connection_interval == 30
    assert connection.parameters.supervision_timeout == 2000
    [other] = lock.core.connections
    assert isinstance(other, Connection)
    assert other.parameters.connection_interval == 30
    assert other.self_address == LOCK_ADDRESS


@in_virtual_time
async def test_advertising_goes_on_while_connected_and_a_second_gateway_gets_in() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    first = await Listener(radio, "first", 1).start()
    second = await Listener(radio, "second", 2).start()
    await first.connect()
    assert len(await second.scan(5)) > 40
    await second.connect()
    assert len(lock.core.connections) == 2


@in_virtual_time
async def test_two_gateways_connecting_at_once_both_get_in_one_after_the_other() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    first = await Listener(radio, "first", 1).start()
    second = await Listener(radio, "second", 2).start()
    await asyncio.gather(first.connect(), second.connect())
    (one, _), (other, _) = lock.core.of("connected")
    assert other - one < 0.2


@in_virtual_time
async def test_an_unconnectable_lock_is_not_connected_to_until_it_is_again() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    lock.air.advertise(DATA, 100, False)
    await asyncio.sleep(0.2)
    attempt = asyncio.ensure_future(listener.connect())
    await asyncio.sleep(5)
    assert not attempt.done()
    lock.air.advertise(DATA, 100, True)
    await attempt


@in_virtual_time
async def test_connecting_to_a_lock_out_of_reach_can_be_given_up_and_tried_again() -> None:
    radio = Radio(1)
    await Station.start(radio)
    listener = await Listener(radio).start()
    radio.set_rssi(NAME, "gateway", None)
    with pytest.raises(core.TimeoutError):
        await listener.connect(give_up_s=3)
    radio.set_rssi(NAME, "gateway", -70)
    await listener.connect()


# --- connection events ----------------------------------------------------------------------------


@in_virtual_time
async def test_without_an_interval_an_exchange_takes_no_time() -> None:
    radio = Radio(1)
    radio.interval_ms = 0
    await Station.start(radio)
    listener = await Listener(radio).start()
    connection = await listener.connect()
    assert await taking(discovered(connection)) < 0.001


@pytest.mark.parametrize("interval", [7.5, 30.0])
@in_virtual_time
async def test_a_request_goes_with_the_next_event_and_its_answer_with_the_one_after(
    interval: float,
) -> None:
    radio = Radio(1)
    radio.interval_ms = interval
    await Station.start(radio)
    listener = await Listener(radio).start()
    connection = await listener.connect()
    request = await request_of(connection)
    # Right after an answer: a whole interval to the next event, another one for the answer.
    assert await taking(request.write_value(b"x", with_response=True)) == pytest.approx(
        2 * interval
    )
    await asyncio.sleep((interval - 2) / 1000)
    assert await taking(request.write_value(b"x", with_response=True)) == pytest.approx(
        interval + 2
    )


@in_virtual_time
async def test_commands_written_back_to_back_arrive_in_order_in_one_event() -> None:
    radio = Radio(1)
    radio.interval_ms = 30
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    request = await request_of(await listener.connect())
    for number in range(4):
        await request.write_value(bytes([number]))
    await asyncio.sleep(1)
    written = lock.core.of("written")
    assert [value for _, value in written] == [b"\0", b"\1", b"\2", b"\3"]
    assert len({at for at, _ in written}) == 1


@in_virtual_time
async def test_one_event_carries_no_more_than_a_controller_manages() -> None:
    radio = Radio(1)
    radio.interval_ms = 30
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    request = await request_of(await listener.connect())
    for number in range(PACKETS_PER_EVENT + 1):
        await request.write_value(bytes([number]))
    await asyncio.sleep(1)
    times = [at * 1000 for at, _ in lock.core.of("written")]
    assert len(set(times[:PACKETS_PER_EVENT])) == 1
    assert times[-1] - times[0] == pytest.approx(30)


@in_virtual_time
async def test_events_of_different_connections_are_not_in_step() -> None:
    phases = set()
    for seed in range(5):
        radio = Radio(seed)
        radio.interval_ms = 30
        lock = await Station.start(radio)
        listener = await Listener(radio).start()
        connection = await listener.connect()
        started = now_ms()
        listener.host.send_l2cap_pdu(connection.handle, att.ATT_CID, b"\x52\x12\x00x")
        await asyncio.sleep(0.1)
        phases.add(lock.core.of("written")[0][0] * 1000 - started)
        lock.air.power_off()
    assert len(phases) == 5
    assert min(phases) >= 1.25
    assert max(phases) <= 31.25


@in_virtual_time
async def test_a_central_can_change_the_interval_and_a_sleeping_lock_answers_later() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    connection = await listener.connect()
    request = await request_of(connection)
    await connection.update_parameters(100, 100, 4, 5000)
    await asyncio.sleep(1)
    [other] = lock.core.connections
    assert isinstance(other, Connection)
    assert other.parameters.connection_interval == 100
    assert other.parameters.supervision_timeout == 5000
    # The lock may sleep through 4 events: a request waits for the fifth at most.
    await request.write_value(b"x", with_response=True)
    took = await taking(request.write_value(b"x", with_response=True))
    assert 150 < took <= 600


@in_virtual_time
async def test_a_large_mtu_is_agreed_and_packets_of_that_size_go_whole() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    connection = await listener.connect()
    peer = Peer(connection)
    assert await peer.request_mtu(517) == 247
    request = await request_of(connection)
    await request.write_value(bytes(244), with_response=True)
    assert lock.core.of("mtu")[0][1] == 247
    assert lock.core.of("written")[0][1] == bytes(244)


# --- loss -----------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_lost_packet_is_sent_again_with_the_next_event_and_none_is_lost_or_doubled() -> (
    None
):
    radio = Radio(1)
    radio.interval_ms = 30
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    request = await request_of(await listener.connect())
    radio.set_loss(0.5)
    for number in range(100):
        await request.write_value(bytes([number]))
    await asyncio.sleep(30)
    written = lock.core.of("written")
    assert [value for _, value in written] == [bytes([number]) for number in range(100)]
    steps = [(at - written[0][0]) / 0.030 for at, _ in written]
    assert all(abs(step - round(step)) < 0.001 for step in steps)
    assert max(steps) > 100 / PACKETS_PER_EVENT


@in_virtual_time
async def test_loss_slows_a_link_without_an_interval_too() -> None:
    radio = Radio(1)
    radio.interval_ms = 0
    await Station.start(radio)
    listener = await Listener(radio).start()
    request = await request_of(await listener.connect())
    radio.set_loss(0.9)
    assert await taking(request.write_value(b"x", with_response=True)) > 0


# --- the end --------------------------------------------------------------------------------------


@in_virtual_time
async def test_hanging_up_tells_the_lock_and_both_say_who_did_it() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    connection = await listener.connect()
    await asyncio.sleep(0.1)
    [other] = lock.core.connections
    assert isinstance(other, Connection)
    ended = asyncio.ensure_future(ends(other))
    here = asyncio.ensure_future(ends(connection))
    await connection.disconnect()
    assert (await ended)[1] == hci.HCI_ErrorCode.REMOTE_USER_TERMINATED_CONNECTION_ERROR
    assert (await here)[1] == hci.HCI_ErrorCode.CONNECTION_TERMINATED_BY_LOCAL_HOST_ERROR
    assert lock.core.connections == []


@in_virtual_time
async def test_the_lock_can_hang_up() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    connection = await listener.connect()
    await asyncio.sleep(0.1)
    lock.air.disconnect(lock.core.connections[0])
    _, reason = await ends(connection)
    assert reason == hci.HCI_ErrorCode.REMOTE_USER_TERMINATED_CONNECTION_ERROR


@in_virtual_time
async def test_what_was_written_before_hanging_up_still_arrives() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    connection = await listener.connect()
    request = await request_of(connection)
    await request.write_value(b"last words")
    await connection.disconnect()
    assert [value for _, value in lock.core.of("written")] == [b"last words"]


@in_virtual_time
async def test_a_lock_torn_out_is_noticed_after_the_supervision_time_out() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    connection = await listener.connect(timeout_ms=4000)
    torn_at = now_ms()
    lock.air.power_off()
    ended_at, reason = await ends(connection)
    assert ended_at - torn_at == pytest.approx(4000)
    assert reason == hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR


@in_virtual_time
async def test_walking_out_of_reach_ends_both_sides_after_the_time_out() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    connection = await listener.connect()
    await asyncio.sleep(0.1)
    radio.set_rssi(NAME, "gateway", None)
    _, reason = await ends(connection)
    assert reason == hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR
    await asyncio.sleep(0)
    assert lock.core.connections == []


@pytest.mark.parametrize("interval", [0, 30])
@in_virtual_time
async def test_coming_back_in_time_keeps_the_connection_and_what_was_waiting(interval: int) -> None:
    radio = Radio(1)
    radio.interval_ms = interval
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    request = await request_of(await listener.connect())
    radio.set_rssi(NAME, "gateway", None)
    await request.write_value(b"patience")
    await asyncio.sleep(1.5)
    assert lock.core.of("written") == []
    radio.set_rssi(NAME, "gateway", -80)
    await asyncio.sleep(5)
    assert [value for _, value in lock.core.of("written")] == [b"patience"]
    assert len(lock.core.connections) == 1


@in_virtual_time
async def test_a_gateway_whose_host_died_drops_its_links_and_the_lock_is_free_again() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    dead = await Listener(radio, "dead", 1).start()
    await dead.connect()
    await asyncio.sleep(0.1)
    dead.controller.unplug()
    await asyncio.sleep(0.1)
    assert lock.core.connections == []
    await (await Listener(radio, "next", 2).start()).connect()


@in_virtual_time
async def test_a_reset_drops_links() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    await listener.connect()
    await listener.host.send_sync_command(hci.HCI_Reset_Command())
    await asyncio.sleep(0.1)
    assert lock.core.connections == []


# --- the lock's GATT server -----------------------------------------------------------------------


@in_virtual_time
async def test_a_lock_offers_its_services() -> None:
    radio = Radio(1)
    await Station.start(radio)
    listener = await Listener(radio).start()
    peer = await discovered(await listener.connect())
    values = {}
    for service in peer.services:
        for characteristic in service.characteristics:
            if characteristic.properties & gatt.Characteristic.Properties.READ:
                values[str(characteristic.uuid)[:13]] = await characteristic.read_value()
    assert values["DBB0F1C0-E964"] == b"info"
    assert values["UUID-16:2A25 "] == NAME.encode()
    assert values["UUID-16:2A19 "] == bytes([70])


@in_virtual_time
async def test_notifications_reach_the_client_that_asked() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    peer = await discovered(await listener.connect())
    got: asyncio.Queue[bytes] = asyncio.Queue()
    await peer.get_characteristics_by_uuid(RESPONSE)[0].subscribe(got.put_nowait)
    assert [value for _, value in lock.core.of("subscribed")] == [True]
    assert lock.air.notify(lock.core.connections[0], b"hello")
    assert await got.get() == b"hello"


@in_virtual_time
async def test_a_link_that_does_not_move_takes_no_more_notifications() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    await listener.connect()
    await asyncio.sleep(0.1)
    radio.set_rssi(NAME, "gateway", None)
    [conn] = lock.core.connections
    took = [lock.air.notify(conn, b"x") for _ in range(20)]
    assert True in took
    assert took[-1] is False


@in_virtual_time
async def test_prepared_writes_are_refused() -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    request = await request_of(await listener.connect())
    with pytest.raises(att.ATT_Error):
        await request.write_value(bytes(60), with_response=True)  # MTU 23: a long write
    assert lock.core.of("written") == []


@pytest.mark.parametrize("junk", [b"\x52", b"\x12\x01", b"\xff", b"\x08\x01", b"\x1e"])
@in_virtual_time
async def test_malformed_att_packets_change_nothing(junk: bytes) -> None:
    radio = Radio(1)
    lock = await Station.start(radio)
    listener = await Listener(radio).start()
    connection = await listener.connect()
    listener.host.send_l2cap_pdu(connection.handle, att.ATT_CID, junk)
    request = await request_of(connection)
    await request.write_value(b"fine", with_response=True)
    assert [value for _, value in lock.core.of("written")] == [b"fine"]
