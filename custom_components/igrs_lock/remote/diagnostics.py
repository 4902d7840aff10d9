"""What helps to find out why a server is not reached: no key, no link, no name of anybody."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from homeassistant.components.diagnostics import async_redact_data

from ..const import CONF_CA, CONF_PRIVATE_KEY, CONF_SERVER_KEY
from .identity import fingerprint
from .wire import unb64

if TYPE_CHECKING:
    from .gateway import Gateway, ServerConfigEntry

TO_REDACT: Final = frozenset((CONF_CA, CONF_PRIVATE_KEY))


def server_diagnostics(entry: ServerConfigEntry) -> dict[str, Any]:
    """Return how it stands with a server. Its own key and this home's place there are no secrets."""
    gateway: Gateway = entry.runtime_data
    link, store, welcome = gateway.link, gateway.store, gateway.welcome
    return {
        "entry": {
            "title": entry.title,
            "data": async_redact_data(dict(entry.data), TO_REDACT),
            "options": dict(entry.options),
            "fingerprint": fingerprint(unb64(entry.data[CONF_SERVER_KEY], 32)),
        },
        "link": {
            "enabled": gateway.enabled,
            "connected": gateway.connected,
            "down": link.down,
            "connections": store.n,
            "copied": store.copied,
            "clock_offset_ms": link.clock.offset_ms,
        },
        "server": {
            "generation": store.generation,
            "restored": store.restored,
            "public_url_set": bool(welcome is not None and welcome.public_url),
            "reached": None if welcome is None else welcome.reached,
        },
        "record": {
            "index": None if store.audit is None else store.audit[0],
            "problem": store.audit_problem,
            "old_heads": [
                [index, head.hex(), generation] for index, head, generation in store.old_audits
            ],
        },
        "locks": {"wanted": gateway.site.wanted(), "registered": dict(store.locks)},
        "people": {
            "invitations": dict(Counter(one.state.value for one in store.invitations.values())),
            "members": len(gateway.people.members()),
            "owners": len(store.owners),
            "phones": len(store.phones),
        },
    }
