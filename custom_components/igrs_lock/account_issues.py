"""Repairs and notices about people's access: one per lock and account, without anything secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir

from .const import DOMAIN
from .drift import HOME, HOME_NAME
from .home import lock_names
from .ledger_lock import QuestionKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from homeassistant.config_entries import ConfigEntry

    from .accounts import AccountKeeper
    from .home import Home
    from .ledger_lock import Doomed, LockLedger, Question

ISSUE_DRIFT: Final = "drift"
ISSUE_PEOPLE_GONE: Final = "people_gone"
ISSUE_REMOVAL_PENDING: Final = "removal_pending"
ISSUE_PIN_TAKEN: Final = "pin_taken"
ISSUE_FULL: Final = "accounts_full"
ISSUE_REFUSED: Final = "access_refused"
_KINDS: Final = (ISSUE_DRIFT, ISSUE_REMOVAL_PENDING, ISSUE_PIN_TAKEN, ISSUE_FULL, ISSUE_REFUSED)


def drift_issue(device_id: str, key: str) -> str:
    """Return the ID of the issue for a question."""
    return f"{ISSUE_DRIFT}_{device_id}_{key}"


def drift_kind(key: str, question: Question) -> str:
    """Return what a question's texts are called."""
    if question.kind is QuestionKind.CHANGED and question.person_id is None:
        return "drift_changed_home" if key == HOME else "drift_changed_unknown"
    if question.kind is QuestionKind.PENDING and question.found is not None:
        return "drift_pending_change"
    return f"{ISSUE_DRIFT}_{question.kind.value}"


@callback
def async_update_issues(
    hass: HomeAssistant, home: Home, entry: ConfigEntry[Any], keeper: AccountKeeper
) -> None:
    """Raise what is so about a lock, and take back what is not so any more."""
    device_id = str(entry.unique_id)
    prefixes = [f"{kind}_{device_id}" for kind in _KINDS]
    _replace(hass, prefixes, dict(_issues(device_id, entry, keeper)))
    async_update_people_gone(hass, home)


@callback
def async_update_away_issues(hass: HomeAssistant, home: Home, device_id: str) -> None:
    """Tell who can still open a lock that is not set up, whose removal cannot be written."""
    name = lock_names(hass).get(device_id, device_id)
    issues = {
        f"{ISSUE_REMOVAL_PENDING}_{device_id}_{doomed.person_id}": {
            "is_fixable": False,
            "severity": ir.IssueSeverity.WARNING,
            "translation_key": (
                f"{ISSUE_REMOVAL_PENDING}_not_loaded"
                if home.ledger.lock(device_id).replaced(doomed.account_id) is None
                else f"{ISSUE_REMOVAL_PENDING}_replaced_not_loaded"
            ),
            "translation_placeholders": {"name": name, "person": doomed.name},
        }
        for doomed in home.ledger.lock(device_id).doomed
        if doomed.name
    }
    _replace(hass, [f"{ISSUE_REMOVAL_PENDING}_{device_id}"], issues)


@callback
def async_forget_issues(hass: HomeAssistant, home: Home, device_id: str) -> None:
    """Take back everything about a lock that was removed."""
    _replace(hass, [f"{kind}_{device_id}" for kind in _KINDS], {})
    async_update_people_gone(hass, home)


@callback
def async_update_people_gone(hass: HomeAssistant, home: Home) -> None:
    """Ask what is to become of people's access when their entry was removed or disabled."""
    having = {key for key, lock in home.ledger.locks.items() if lock.grants}
    if home.people_entry is not None or home.ledger.kept or not having:
        ir.async_delete_issue(hass, DOMAIN, ISSUE_PEOPLE_GONE)
        return
    names = lock_names(hass)
    ir.async_create_issue(
        hass,
        DOMAIN,
        ISSUE_PEOPLE_GONE,
        is_fixable=True,
        severity=ir.IssueSeverity.WARNING,
        translation_key=ISSUE_PEOPLE_GONE,
        translation_placeholders={
            "locks": ", ".join(sorted(names.get(key, key) for key in having))
        },
    )


def _issues(
    device_id: str, entry: ConfigEntry[Any], keeper: AccountKeeper
) -> Iterator[tuple[str, dict[str, Any]]]:
    ledger, name = keeper.ledger, entry.title
    for key, question in ledger.questions.items():
        if keeper.hushed and question.person_id is not None:
            continue
        yield (
            drift_issue(device_id, key),
            {
                "is_fixable": True,
                "severity": ir.IssueSeverity.WARNING,
                "translation_key": drift_kind(key, question),
                "translation_placeholders": {"name": name, "person": question.name},
                "data": {"entry_id": entry.entry_id, "key": key, "name": name},
            },
        )
    for doomed in ledger.doomed:
        yield (
            f"{ISSUE_REMOVAL_PENDING}_{device_id}_{doomed.person_id}",
            {
                "is_fixable": False,
                "severity": ir.IssueSeverity.WARNING,
                "translation_key": _removal_key(ledger, doomed),
                "translation_placeholders": {"name": name, "person": doomed.name},
            },
        )
    for person_id in keeper.failed:
        grant = ledger.grants.get(person_id)
        yield (
            f"{ISSUE_REFUSED}_{device_id}_{person_id}",
            {
                "is_fixable": False,
                "severity": ir.IssueSeverity.WARNING,
                "translation_key": ISSUE_REFUSED,
                "translation_placeholders": {
                    "name": name,
                    "person": HOME_NAME if grant is None else grant.name,
                },
            },
        )
    for person_id, grant in ledger.grants.items():
        if grant.pin_taken:
            yield (
                f"{ISSUE_PIN_TAKEN}_{device_id}_{person_id}",
                {
                    "is_fixable": False,
                    "severity": ir.IssueSeverity.WARNING,
                    "translation_key": ISSUE_PIN_TAKEN,
                    "translation_placeholders": {"name": name, "person": grant.name},
                },
            )
    if keeper.full:
        yield (
            f"{ISSUE_FULL}_{device_id}",
            {
                "is_fixable": False,
                "severity": ir.IssueSeverity.WARNING,
                "translation_key": ISSUE_FULL,
                "translation_placeholders": {"name": name},
            },
        )


def _removal_key(ledger: LockLedger, doomed: Doomed) -> str:
    if ledger.replaced(doomed.account_id) is not None:
        return f"{ISSUE_REMOVAL_PENDING}_replaced"
    return ISSUE_REMOVAL_PENDING if doomed.name else f"{ISSUE_REMOVAL_PENDING}_unknown"


@callback
def _replace(hass: HomeAssistant, prefixes: list[str], wanted: dict[str, dict[str, Any]]) -> None:
    for domain, issue_id in [*ir.async_get(hass).issues]:
        if domain == DOMAIN and issue_id.startswith(tuple(prefixes)) and issue_id not in wanted:
            ir.async_delete_issue(hass, DOMAIN, issue_id)
    for issue_id, issue in wanted.items():
        ir.async_create_issue(hass, DOMAIN, issue_id, **issue)
