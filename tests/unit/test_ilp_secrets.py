"""Nothing that holds a key, a PIN or a setup code shows it."""

import pytest
from ilp import (
    AdvertisementKey,
    AdvertisementReader,
    AdvertisementTracker,
    ClientSession,
    Frame,
    NonceSource,
    PairingClient,
    Reply,
    SessionVerifier,
    requests,
)
from ilp.session import SessionKeys
from ilp_support import DEVICE_ID, PairingLock

SECRET = bytes(range(0x61, 0x71))
PAIRING = PairingClient(SECRET[:10], DEVICE_ID, SECRET * 2)
PAIRING.on_reply(PairingLock(SECRET[:10]).reply(PAIRING.request()))
PIN = requests.set_pin(1, "61626364656667")


@pytest.mark.parametrize(
    "holder",
    [
        PAIRING,
        ClientSession(SECRET, DEVICE_ID, 1, NonceSource.CHALLENGE, bytes(8)),
        SessionVerifier(SECRET, DEVICE_ID, 1, NonceSource.CHALLENGE, bytes(8)),
        SessionKeys(SECRET, SECRET, SECRET, SECRET),
        AdvertisementReader(SECRET, DEVICE_ID),
        AdvertisementTracker(DEVICE_ID, SECRET),
        AdvertisementKey(1, SECRET),
        PIN,
        PIN.at(5),
        Reply(Frame(0x4E, 2, bytes(9), 0), (Frame(0x4E, 4, SECRET[:9], 0),)),
    ],
    ids=lambda holder: type(holder).__name__,
)
@pytest.mark.parametrize("show", [repr, str])
def test_46_a_holder_of_secrets_does_not_show_them(holder: object, show: type[str]) -> None:
    shown = show(holder)
    for secret in (SECRET[:4].hex(), SECRET[:4].decode(), "61626364656667", str(list(SECRET[:4]))):
        assert secret not in shown
    if PAIRING.lock_key is not None:
        assert PAIRING.lock_key.hex() not in shown
