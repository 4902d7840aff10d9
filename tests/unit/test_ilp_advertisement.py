"""Advertisements: what opens them and what does not."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ilp import (
    AdvertisementReader,
    AuthenticationError,
    Bolt,
    Door,
    Header,
    IlpError,
    Info,
    MalformedError,
    advertisement_key,
    open_advertisement,
    open_unpaired,
)
from ilp.const import Capability
from ilp_support import (
    DEVICE_ID,
    LOCK_KEY,
    advertised,
    any_bytes,
    bytes_of,
    flip,
    plain_advertisement,
    seal_advertisement,
)

KEY = advertisement_key(LOCK_KEY, 0)


@given(
    setup=st.booleans(),
    trusted=st.booleans(),
    log_bits=st.integers(0, 3),
    bolt=st.sampled_from(Bolt),
    door=st.sampled_from(Door),
    low=st.booleans(),
    tamper=st.booleans(),
    battery=st.integers(0, 100) | st.none(),
    counter=st.integers(0, 0xFFFFFF),
    paired=st.booleans(),
)
def test_every_field_arrives_as_it_was_sent(
    *,
    setup: bool,
    trusted: bool,
    log_bits: int,
    bolt: Bolt,
    door: Door,
    low: bool,
    tamper: bool,
    battery: int | None,
    counter: int,
    paired: bool,
) -> None:
    state = bolt | door << 3 | low << 5 | tamper << 6
    flags = 0x10 | setup | trusted << 1 | log_bits << 2
    plain = bytes((flags, state, 255 if battery is None else battery)) + counter.to_bytes(3)
    data = seal_advertisement(plain) if paired else plain + bytes(4)
    advertisement = open_advertisement(KEY, DEVICE_ID, data) if paired else open_unpaired(data)
    assert advertisement.setup_mode == setup
    assert advertisement.clock_trusted == trusted
    assert advertisement.log_bits == log_bits
    assert advertisement.bolt is bolt
    assert advertisement.door is door
    assert advertisement.low_battery == low
    assert advertisement.tamper == tamper
    assert advertisement.battery == battery
    assert advertisement.counter == counter
    assert advertisement.nonce == b"\x00" + data[3:]
    assert advertisement.authenticated == paired
    header = Header.parse(data)
    assert header == Header(setup, trusted, log_bits, counter, tagged=paired)


@given(st.integers(0, 0xFFFFFF), st.integers(0, 79))
def test_48_an_advertisement_with_any_bit_changed_is_refused(counter: int, bit: int) -> None:
    data = advertised(counter)
    open_advertisement(KEY, DEVICE_ID, data)
    with pytest.raises((AuthenticationError, MalformedError)):
        open_advertisement(KEY, DEVICE_ID, flip(data, bit))


def test_an_advertisement_of_another_lock_or_epoch_is_refused() -> None:
    data = advertised(5)
    with pytest.raises(AuthenticationError):
        open_advertisement(KEY, bytes(6), data)
    with pytest.raises(AuthenticationError):
        open_advertisement(advertisement_key(LOCK_KEY, 1), DEVICE_ID, data)
    with pytest.raises(AuthenticationError):
        open_advertisement(advertisement_key(bytes(16), 0), DEVICE_ID, data)


def test_the_street_does_not_read_which_door_is_open() -> None:
    sent = {advertised(counter)[1:3] for counter in range(40)}
    assert len(sent) > 30


@given(any_bytes | bytes_of[10] | bytes_of[9].map(lambda rest: b"\x11" + rest))
def test_any_bytes_open_or_give_a_typed_error(data: bytes) -> None:
    for read in (Header.parse, open_unpaired, AdvertisementReader(KEY, DEVICE_ID).open, Info.parse):
        with contextlib.suppress(IlpError):
            read(data)


@pytest.mark.parametrize("state", [{"bolt": 7}, {"door": 3}])
def test_an_authentic_state_that_is_not_defined_is_malformed(state: dict[str, int]) -> None:
    data = seal_advertisement(plain_advertisement(5, **state))
    with pytest.raises(MalformedError):
        open_advertisement(KEY, DEVICE_ID, data)


def test_a_battery_above_100_percent_is_unknown() -> None:
    data = seal_advertisement(plain_advertisement(5, battery=101))
    assert open_advertisement(KEY, DEVICE_ID, data).battery is None


def test_another_profile_version_is_refused() -> None:
    data = seal_advertisement(plain_advertisement(5, flags=0x22))
    for read in (Header.parse, open_unpaired, AdvertisementReader(KEY, DEVICE_ID).open):
        with pytest.raises(MalformedError):
            read(data)


def test_a_paired_lock_is_never_read_as_unpaired() -> None:
    with pytest.raises(AuthenticationError):
        open_unpaired(advertised(5))


def test_a_reader_wants_keys_and_identifiers_of_the_right_size() -> None:
    with pytest.raises(MalformedError):
        AdvertisementReader(bytes(15), DEVICE_ID)
    with pytest.raises(MalformedError):
        AdvertisementReader(KEY, bytes(5))


def test_info_tells_what_the_lock_has() -> None:
    info = Info.parse(b"\x01" + DEVICE_ID + b"\x00\x23\x20\x01\x00")
    assert info.device_id == DEVICE_ID
    assert info.capabilities == Capability.LATCH | Capability.DOOR_SENSOR | Capability.EVENT_LOG
    assert (info.slots, info.log_size) == (32, 256)
    with pytest.raises(MalformedError):
        Info.parse(b"\x02" + bytes(11))
