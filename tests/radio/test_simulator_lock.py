"""A whole simulated lock on the radio, spoken to with the client half of ILP1, in virtual time."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from bumble import hci
from bumble.core import UUID
from stations import Listener, discovered
from virtual_time import in_virtual_time

from custom_components.igrs_lock.ilp import (
    REQUEST_UUID,
    RESPONSE_UUID,
    Bolt,
    ClientSession,
    ErrorCode,
    Header,
    Kind,
    LockError,
    NonceSource,
    Operation,
    PairingClient,
    Reassembler,
    Request,
    advertisement_key,
    challenge_request,
    controller_key,
    message_kind,
    open_advertisement,
    parse_challenge,
    parse_setup_code,
    requests,
    split,
)
from simulator.link import Radio
from simulator.virtual_lock import VirtualLock

if TYPE_CHECKING:
    from pathlib import Path

    from bumble.device import Connection
    from bumble.gatt_client import CharacteristicProxy

CONTROLLER = 255
NOON = 1_800_000_000


def unix() -> int:
    return NOON + int(asyncio.get_running_loop().time())


@dataclass
class Gateway:
    """A client of one lock."""

    listener: Listener
    lock: VirtualLock
    key: bytes = b""
    messages: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)

    @property
    def device_id(self) -> bytes:
        return self.lock.identity.device_id

    async def connect(self) -> Connection:
        address = hci.Address(self.lock.identity.address)
        self.connection = await self.listener.device.connect_le(address)
        return self.connection

    async def look_up(self, *, notifications: bool = True) -> None:
        """Find the characteristics, switch notifications on."""
        peer = await discovered(self.connection)
        self.request: CharacteristicProxy[bytes]
        self.response: CharacteristicProxy[bytes]
        [self.request] = peer.get_characteristics_by_uuid(UUID(REQUEST_UUID))
        [self.response] = peer.get_characteristics_by_uuid(UUID(RESPONSE_UUID))
        if notifications:
            await self.listen()

    async def listen(self) -> None:
        parts = Reassembler()

        def heard(data: bytes) -> None:
            message = parts.feed(data, 0)
            if message is not None:
                self.messages.put_nowait(message)

        await self.response.subscribe(heard)

    async def write(self, message: bytes) -> None:
        for part in split(message, self.connection.att_mtu):
            await self.request.write_value(part)

    async def exchange(self, message: bytes) -> bytes:
        await self.write(message)
        return await self.messages.get()

    async def pair(self) -> None:
        """Pair, and complete it with a first session that also sets the time."""
        client = PairingClient(parse_setup_code(self.lock.identity.setup_code), self.device_id)
        confirm = client.on_reply(await self.exchange(client.request()))
        client.on_done(await self.exchange(confirm))
        assert client.lock_key is not None
        self.lock_key = client.lock_key
        self.key = controller_key(client.lock_key)
        await self.by_challenge(requests.set_time(unix(), 0, force=True))

    async def by_challenge(self, request: Request) -> ClientSession:
        nonce = parse_challenge(await self.exchange(challenge_request()))
        session = ClientSession(self.key, self.device_id, CONTROLLER, NonceSource.CHALLENGE, nonce)
        answer = await self.exchange(session.open([request.at(unix())]))
        assert session.receive(answer)[0].value[0] in (0, 1)
        return session

    async def advertised(self) -> bytes:
        """The 10 data bytes that are on the air."""
        return (await self.listener.scan(1.5))[-1].data[-10:]


async def start(radio: Radio, folder: Path) -> VirtualLock:
    lock = VirtualLock(folder, "Door", radio)
    await lock.power_on()
    return lock


async def paired(radio: Radio, lock: VirtualLock) -> Gateway:
    gateway = Gateway(await Listener(radio).start(), lock)
    await gateway.connect()
    await gateway.look_up()
    await gateway.pair()
    return gateway


def bolt(lock: VirtualLock) -> object:
    return lock.state()["bolt"]


@in_virtual_time
async def test_a_new_lock_is_paired_and_unlocks_by_challenge(tmp_path: Path) -> None:
    radio = Radio(1)
    lock = await start(radio, tmp_path)
    gateway = await paired(radio, lock)
    assert lock.state()["paired"]
    assert not lock.state()["setup_mode"]
    session = await gateway.by_challenge(requests.operate(Operation.UNLOCK))
    [event] = session.receive(await gateway.messages.get())
    assert event.value[1] == Bolt.UNLOCKED
    assert bolt(lock) == "unlocked"


@in_virtual_time
async def test_the_first_writes_after_connecting_unlock_and_the_answer_waits_for_notifications(
    tmp_path: Path,
) -> None:
    radio = Radio(1)
    radio.interval_ms = 30
    lock = await start(radio, tmp_path)
    gateway = await paired(radio, lock)
    await gateway.connection.disconnect()
    data = await gateway.advertised()
    known = gateway.request.handle, gateway.response
    lock.traced.clear()
    connection = await gateway.connect()
    session = ClientSession(
        gateway.key, gateway.device_id, CONTROLLER, NonceSource.ADVERTISED, b"\0" + data[3:10]
    )
    message = session.open([requests.operate(Operation.UNLOCK).at(unix())])
    parts = split(message, connection.att_mtu)
    assert len(parts) > 1  # MTU 23
    for part in parts:
        await connection.gatt_client.write_value(known[0], part)
    await asyncio.sleep(0.04)
    whats = [entry["what"] for entry in lock.traced]
    assert whats == ["connected", *["att"] * len(parts), "operate"]
    await gateway.look_up(notifications=False)
    await asyncio.sleep(2)
    assert gateway.messages.empty()
    await gateway.listen()
    assert session.receive(await gateway.messages.get())[0].value[0] == 1


@in_virtual_time
async def test_the_advertisement_tells_the_gateway_what_a_hand_did(tmp_path: Path) -> None:
    radio = Radio(1)
    lock = await start(radio, tmp_path)
    gateway = await paired(radio, lock)
    await gateway.connection.disconnect()
    lock.door.turn(locked=False)
    key = advertisement_key(gateway.lock_key, 0)
    state = open_advertisement(key, gateway.device_id, await gateway.advertised())
    assert state.bolt == Bolt.UNLOCKED
    assert state.clock_trusted


@in_virtual_time
async def test_a_lock_torn_out_while_moving_is_paired_and_does_not_know_its_bolt_after(
    tmp_path: Path,
) -> None:
    radio = Radio(1)
    lock = await start(radio, tmp_path)
    gateway = await paired(radio, lock)
    before = lock.state()["counter"]
    await gateway.by_challenge(requests.operate(Operation.UNLOCK))
    await asyncio.sleep(0.2)
    lock.power_off()
    await asyncio.sleep(5)
    await lock.power_on()
    assert lock.state()["paired"]
    assert lock.state()["counter"] > before
    assert bolt(lock) == "unknown"
    await gateway.connect()
    await gateway.look_up()
    await gateway.by_challenge(requests.operate(Operation.LOCK))
    await asyncio.sleep(2)
    assert bolt(lock) == "locked"


@in_virtual_time
async def test_a_new_process_on_the_same_folder_is_the_same_lock(tmp_path: Path) -> None:
    radio = Radio(1)
    lock = await start(radio, tmp_path)
    gateway = await paired(radio, lock)
    lock.power_off()
    again = await start(Radio(2), tmp_path)
    other = Gateway(await Listener(again._radio).start(), again, gateway.key)
    await other.connect()
    await other.look_up()
    await other.by_challenge(requests.operate(Operation.UNLOCK))


@in_virtual_time
async def test_power_cut_at_any_byte_of_a_pairing_leaves_it_paired_or_not_paired(
    tmp_path: Path,
) -> None:
    outcomes = set()
    for cut in range(0, 120, 7):
        radio = Radio(1)
        lock = await start(radio, tmp_path / str(cut))
        gateway = Gateway(await Listener(radio).start(), lock)
        await gateway.connect()
        await gateway.look_up()
        lock.cut_power_after(cut)
        with contextlib.suppress(TimeoutError):  # the lock falls silent
            async with asyncio.timeout(60):
                await gateway.pair()
        lock.power_off()
        await lock.power_on()
        outcomes.add(lock.state()["paired"])
        assert lock.state()["paired"] or lock.state()["setup_mode"]
        lock.power_off()
    assert outcomes == {True, False}


@in_virtual_time
async def test_a_lock_whose_clock_was_forgotten_refuses_the_advertised_nonce(
    tmp_path: Path,
) -> None:
    radio = Radio(1)
    lock = await start(radio, tmp_path)
    gateway = await paired(radio, lock)
    await lock.forget_clock()
    data = await gateway.advertised()
    assert not Header.parse(data).clock_trusted
    await gateway.connect()
    await gateway.look_up()
    session = ClientSession(
        gateway.key, gateway.device_id, CONTROLLER, NonceSource.ADVERTISED, b"\0" + data[3:10]
    )
    answer = await gateway.exchange(session.open([requests.operate(Operation.UNLOCK).at(unix())]))
    with pytest.raises(LockError) as error:
        session.receive(answer)
    assert error.value.code == ErrorCode.TRY_AGAIN
    await gateway.by_challenge(requests.operate(Operation.UNLOCK))


@in_virtual_time
async def test_silent_clients_on_every_slot_do_not_keep_the_owner_out(tmp_path: Path) -> None:
    radio = Radio(1)
    lock = await start(radio, tmp_path)
    gateway = await paired(radio, lock)
    await gateway.connection.disconnect()
    address = hci.Address(lock.identity.address)
    for number in range(2, 5):
        silent = await Listener(radio, f"silent {number}", number).start()
        await silent.device.connect_le(address)
    async with asyncio.timeout(15):
        await gateway.connect()
    await gateway.look_up()
    await gateway.by_challenge(requests.operate(Operation.UNLOCK))


@in_virtual_time
async def test_holding_the_button_makes_a_paired_lock_pairable_again(tmp_path: Path) -> None:
    radio = Radio(1)
    lock = await start(radio, tmp_path)
    gateway = await paired(radio, lock)
    assert not Header.parse(await gateway.advertised()).setup_mode
    lock.button_held(10)
    assert Header.parse(await gateway.advertised()).setup_mode


@in_virtual_time
async def test_a_refused_pairing_says_why(tmp_path: Path) -> None:
    radio = Radio(1)
    lock = await start(radio, tmp_path)
    gateway = await paired(radio, lock)
    await asyncio.sleep(5)
    client = PairingClient(bytes(10), gateway.device_id)
    answer = await gateway.exchange(client.request())
    assert message_kind(answer) is Kind.ERROR
    assert answer[1] == ErrorCode.NOT_IN_SETUP_MODE
