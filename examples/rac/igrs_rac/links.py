"""Addresses of servers, and the link of an invitation: `<address of a client>#<server>,<id>,<secret>`."""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from .errors import AddressError, LinkTextError

_HEX: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class InvitationLink:
    """What a link says: where the server is, which invitation, and the secret that the server must not know."""

    server: str
    id: str
    secret: bytes = field(repr=False)


def read_link(text: str) -> InvitationLink:
    """Read a link; only what stands behind # counts. LinkTextError, AddressError."""
    parts = text.strip().partition("#")[2].split(",")
    if len(parts) != 3:
        raise LinkTextError
    server, id_, secret = (unquote(part) for part in parts)
    if not _HEX.fullmatch(id_) or not _HEX.fullmatch(secret):
        raise LinkTextError
    return InvitationLink(check_address(server), id_, bytes.fromhex(secret))


def check_address(text: str) -> str:
    """Return a server's address without its last slash; AddressError unless it is https, or http on this machine."""
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise AddressError from None
    plain = parts.scheme == "http" and host is not None and _is_loopback(host)
    if (
        not host
        or not (plain or parts.scheme == "https")
        or parts.username is not None
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
        or not text.isascii()
        or not text.isprintable()
    ):
        raise AddressError
    return f"{parts.scheme}://{parts.netloc}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
