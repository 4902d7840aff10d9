"""What the owner has to know of links and phones at a server: somebody may have keys who should not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir

from ..const import DOMAIN
from .records import InvitationState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from homeassistant.config_entries import ConfigEntry

    from .gateway import Gateway

ISSUE_OPENED_TWICE: Final = "link_opened_twice"
ISSUE_UNFINISHED: Final = "link_unfinished"
ISSUE_LEFT: Final = "phone_left"
PHONE_ISSUES: Final = (ISSUE_OPENED_TWICE, ISSUE_UNFINISHED, ISSUE_LEFT)
"""Each is `<this>_<entry id>_<invitation or phone>` in the registry."""

_ENDED: Final = (InvitationState.WITHDRAWN, InvitationState.EXPIRED)


@callback
def async_replace_phone_issues(
    hass: HomeAssistant, entry: ConfigEntry[Any], wanted: dict[str, dict[str, str]]
) -> None:
    """Raise what is so at a server, and take back what is not so any more."""
    prefixes = tuple(f"{issue}_{entry.entry_id}_" for issue in PHONE_ISSUES)
    for domain, issue_id in [*ir.async_get(hass).issues]:
        if domain == DOMAIN and issue_id.startswith(prefixes) and issue_id not in wanted:
            ir.async_delete_issue(hass, DOMAIN, issue_id)
    for issue_id, placeholders in wanted.items():
        kind, _, record = issue_id.partition(f"_{entry.entry_id}_")
        ir.async_create_issue(
            hass,
            DOMAIN,
            issue_id,
            is_fixable=True,
            severity=ir.IssueSeverity.WARNING,
            translation_key=kind,
            translation_placeholders=placeholders,
            data={"entry_id": entry.entry_id, "record": record, **placeholders},
        )


class PeopleIssues:
    """The issues of one server's phones."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @callback
    def async_update(self) -> None:
        """Let the registry be as the store."""
        async_replace_phone_issues(
            self._gateway.hass,
            self._gateway.entry,
            {
                f"{kind}_{self._gateway.entry.entry_id}_{record}": placeholders
                for kind, record, placeholders in self._found()
            },
        )

    def _found(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        store, persons = self._gateway.store, self._gateway.home.known_persons()

        def about(person_id: str, phone: str) -> dict[str, str]:
            person = persons.get(person_id)
            return {"person": "" if person is None else person.name, "phone": phone or "\u2013"}

        for item in store.invitations.values():
            if item.opened_twice:
                yield ISSUE_OPENED_TWICE, item.id, about(item.person_id, item.phone_name)
            elif item.state in _ENDED and item.client:
                yield ISSUE_UNFINISHED, item.id, about(item.person_id, item.phone_name)
        for phone in store.phones.values():
            if phone.ended:
                yield ISSUE_LEFT, phone.id, about(phone.person_id, phone.name)
