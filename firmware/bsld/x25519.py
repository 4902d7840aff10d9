"""X25519 (RFC 7748) in plain integers, for boards without a library for it.

The ladder does the same steps for every key and has no branch on a secret. Python's big integers
are not constant-time themselves; the keys here live for one pairing only, and each takes
seconds, so there is nothing to measure twice.
"""

_P = (1 << 255) - 19
_A24 = 121665
BASE = b"\x09" + bytes(31)


def x25519(private: bytes, public: bytes) -> bytes:
    """Multiply a public key (32 bytes) by a private one (32 bytes), RFC 7748 section 5.

    Returns 32 bytes; all zero for a public key of small order, which the caller refuses.
    """
    # No `to_bytes` in place: keys are little-endian, with three low and two high bits fixed.
    k = int.from_bytes(private, "little")
    k = (k & ((1 << 254) - 8)) | (1 << 254)
    u = int.from_bytes(public, "little") & ((1 << 255) - 1)
    x1 = u % _P
    x2, z2, x3, z3 = 1, 0, x1, 1
    swap = 0
    for t in range(254, -1, -1):
        bit = (k >> t) & 1
        swap ^= bit
        # Swaps by arithmetic: the difference is added or not, without a branch
        d = (x2 - x3) * swap
        x2, x3 = x2 - d, x3 + d
        d = (z2 - z3) * swap
        z2, z3 = z2 - d, z3 + d
        swap = bit
        a = x2 + z2
        b = x2 - z2
        da = (x3 - z3) * a
        cb = (x3 + z3) * b
        x3 = (da + cb) ** 2 % _P
        z3 = x1 * (da - cb) ** 2 % _P
        aa = a * a % _P
        bb = b * b % _P
        e = aa - bb
        x2 = aa * bb % _P
        z2 = e * (aa + _A24 * e) % _P
    d = (x2 - x3) * swap
    x2 = x2 - d
    d = (z2 - z3) * swap
    z2 = z2 - d
    return (x2 * pow(z2, _P - 2, _P) % _P).to_bytes(32, "little")
