"""The primitives ILP1 rests on, from what the platform has.

`mac` is the profile's MAC(k, a, b...): HMAC-SHA256 over the concatenation (preamble of ILP1).
"""

import sys

if sys.implementation.name == "micropython":
    from .crypto_board import decryptor, encryptor, mac, same, sha256, x25519
else:
    from .crypto_host import decryptor, encryptor, mac, same, sha256, x25519

__all__ = ["decryptor", "encryptor", "mac", "same", "sha256", "x25519"]
