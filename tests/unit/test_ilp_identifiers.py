"""Setup codes, device identifiers, account IDs, names and keys."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ilp import (
    IlpError,
    MalformedError,
    SetupCodeError,
    account_key,
    address_from_device_id,
    advertisement_key,
    controller_key,
    device_id_from_address,
    format_account_id,
    format_device_id,
    format_setup_code,
    local_name,
    new_account_id,
    parse_account_id,
    parse_device_id,
    parse_setup_code,
    seen_proof,
)
from ilp_support import DEVICE_ID, LOCK_KEY, SETUP_CODE, any_bytes, bytes_of


@given(bytes_of[10])
def test_a_setup_code_reads_as_it_was_printed(code: bytes) -> None:
    printed = format_setup_code(code)
    assert parse_setup_code(printed) == code
    assert parse_setup_code(printed.lower().replace("-", " ")) == code
    assert parse_setup_code(f" {printed.replace('0', 'o').replace('1', 'l')}\n") == code
    assert parse_setup_code(printed.replace("0", "O").replace("1", "I")) == code


def test_a_setup_code_may_hold_the_dashes_that_keyboards_make() -> None:
    assert parse_setup_code("8KNZ–44YW—D3XS−6GJ4") == SETUP_CODE  # noqa: RUF001  # the dashes are the test


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8KNZ-44YW-D3XS-6GJ",
        "8KNZ-44YW-D3XS-6GJ44",
        "8KNZ-44YW-D3XS-6GJU",
        "8KNZ-44YW-D3XS-6GJ\u0131",  # dotless i: its upper case is I
        "8KNZ-44YW-D3XS-6GJ\u0664",  # an Arabic 4
        "8KNZ_44YW_D3XS_6GJ4",
    ],
)
def test_what_is_no_setup_code_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(SetupCodeError) as caught:
        parse_setup_code(text)
    assert "8KNZ" not in str(caught.value)


@given(st.text(max_size=30) | st.text("0123456789abcDEFoilu -", max_size=30))
def test_any_text_gives_identifiers_or_a_typed_error(text: str) -> None:
    for parse in (parse_setup_code, parse_device_id, parse_account_id, device_id_from_address):
        with contextlib.suppress(MalformedError):
            assert isinstance(parse(text), bytes)


@given(bytes_of[6])
def test_a_device_identifier_is_the_address(device_id: bytes) -> None:
    assert parse_device_id(format_device_id(device_id)) == device_id
    assert device_id_from_address(address_from_device_id(device_id)) == device_id
    assert device_id_from_address(address_from_device_id(device_id).lower()) == device_id


def test_names_and_texts_of_a_device() -> None:
    assert address_from_device_id(DEVICE_ID) == "7E:BF:64:66:98:18"
    assert format_device_id(DEVICE_ID) == "7EBF64669818"
    assert local_name(DEVICE_ID) == "IGRS-9818"


@given(bytes_of[9])
def test_an_account_id_reads_as_it_was_written(account_id: bytes) -> None:
    text = format_account_id(account_id)
    assert len(text) == 12
    assert parse_account_id(text) == account_id


def test_every_new_account_id_is_another() -> None:
    assert len({new_account_id() for _ in range(50)}) == 50


@given(any_bytes, st.integers())
def test_any_bytes_give_texts_and_keys_or_a_typed_error(data: bytes, number: int) -> None:
    for call in (
        lambda: format_setup_code(data),
        lambda: format_device_id(data),
        lambda: address_from_device_id(data),
        lambda: local_name(data),
        lambda: format_account_id(data),
        lambda: controller_key(data),
        lambda: account_key(data, bytes(9)),
        lambda: account_key(LOCK_KEY, data),
        lambda: advertisement_key(data, 0),
        lambda: advertisement_key(LOCK_KEY, number),
        lambda: seen_proof(data, DEVICE_ID, bytes(10), 0),
        lambda: seen_proof(LOCK_KEY, data, bytes(10), 0),
        lambda: seen_proof(LOCK_KEY, DEVICE_ID, data, 0),
        lambda: seen_proof(LOCK_KEY, DEVICE_ID, bytes(10), number),
    ):
        with contextlib.suppress(IlpError):
            call()


def test_keys_of_a_lock_are_all_different() -> None:
    keys = {
        controller_key(LOCK_KEY),
        account_key(LOCK_KEY, bytes(9)),
        account_key(LOCK_KEY, bytes(8) + b"\x01"),
        advertisement_key(LOCK_KEY, 0),
        advertisement_key(LOCK_KEY, 1),
        LOCK_KEY,
    }
    assert len(keys) == 6


def test_a_proof_of_having_seen_holds_for_one_lock_one_advertisement_one_time() -> None:
    key, data = advertisement_key(LOCK_KEY, 0), bytes(10)
    proofs = {
        seen_proof(key, DEVICE_ID, data, 5),
        seen_proof(key, DEVICE_ID, data, 6),
        seen_proof(key, DEVICE_ID, bytes(9) + b"\x01", 5),
        seen_proof(key, bytes(6), data, 5),
        seen_proof(advertisement_key(LOCK_KEY, 1), DEVICE_ID, data, 5),
    }
    assert len(proofs) == 5
    assert {len(proof) for proof in proofs} == {8}
