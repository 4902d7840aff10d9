"""From where a request comes, as far as that can be believed."""

import ipaddress
from collections.abc import Iterable

from igrs_ras.settings import Network

SUPERVISOR_NETWORK = ipaddress.ip_network("172.30.32.0/23")
SUPERVISOR = "172.30.32.2"  # where ingress comes from
# Where a proxy that nobody configured may stand. Narrower than `is_private`, which counts examples' networks too.
PRIVATE = [
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
]

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse(text: str) -> Address | None:
    """Read an address, an IPv4 one inside IPv6 as IPv4; None if it is none."""
    try:
        address = ipaddress.ip_address(text.strip().strip("[]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def within(address: Address, networks: Iterable[Network]) -> bool:
    """Tell whether an address is in one of the networks."""
    return any(address.version == network.version and address in network for network in networks)


def caller(peer: str, forwarded: Iterable[str], proxies: list[Network]) -> str:
    """Return the caller's prefix for limits.

    The rightmost hop that is no configured proxy counts, so a client that writes X-Forwarded-For itself gains nothing.
    An IPv6 caller is its /64. Empty when the peer is private and no proxy is configured, or the proxy does not say who
    called: then everybody shares one address, and a limit on it would let one lock out all.
    """
    address = parse(peer)
    if address is None:
        return ""
    if within(address, proxies):
        hops = [hop for line in forwarded for hop in line.split(",")]
        for hop in reversed(hops):
            found = parse(hop)
            if found is None or not within(found, proxies):
                return prefix(found) if found is not None else ""
        return ""
    if not proxies and within(address, PRIVATE):
        return ""
    return prefix(address)


def prefix(address: Address) -> str:
    """Return what counts as one caller: an IPv4 address, or the /64 of an IPv6 address."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
