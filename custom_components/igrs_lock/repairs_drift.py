"""Repairs that ask the owner about people's access: what is on a lock, and what is to become of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from homeassistant.components.repairs import RepairsFlow
from homeassistant.config_entries import SOURCE_SYSTEM
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.translation import async_get_translations
from homeassistant.util import dt as dt_util

from .account_issues import ISSUE_DRIFT, ISSUE_PEOPLE_GONE, async_update_people_gone
from .const import DOMAIN
from .drift import HOME_NAME, Choice, choices
from .errors import OperationError
from .home import Home, async_get_home, find_people_entry
from .ilp import Right
from .ledger_lock import Doomed
from .person import right_names

if TYPE_CHECKING:
    from homeassistant.components.repairs import RepairsFlowResult

    from .accounts import AccountKeeper
    from .ilp import Account
    from .ledger_lock import Question

_SELECTOR: Final = f"component.{DOMAIN}.selector"


@callback
def drift_flow(issue_id: str) -> RepairsFlow | None:
    """Return the flow for an issue of this module's, None for others."""
    if issue_id == ISSUE_PEOPLE_GONE:
        return PeopleGoneFlow()
    return DriftFlow() if issue_id.startswith(f"{ISSUE_DRIFT}_") else None


class DriftFlow(RepairsFlow):
    """A difference on a lock: keep it, restore what was, or revoke the access."""

    _asked: Question | None = None

    @property
    def _keeper(self) -> AccountKeeper | None:
        entry = self.hass.config_entries.async_get_entry(str((self.data or {}).get("entry_id")))
        coordinator = None if entry is None else getattr(entry, "runtime_data", None)
        return None if coordinator is None else coordinator.accounts

    @property
    def _key(self) -> str:
        return str((self.data or {}).get("key"))

    async def async_step_init(self, _user_input: dict[str, str] | None = None) -> RepairsFlowResult:
        """Tell what is so, and ask what is to be done."""
        keeper = self._keeper
        if keeper is None:
            return self.async_abort(reason="not_loaded")
        question = keeper.ledger.questions.get(self._key)
        if question is None:
            return self.async_abort(reason="changed_meanwhile")
        self._asked = question
        return self.async_show_menu(
            step_id="init",
            menu_options=[choice.value for choice in choices(question)],
            description_placeholders={
                "name": keeper.name,
                "person": question.name,
                **await _facts(self.hass, question),
            },
        )

    async def async_step_keep(self, _user_input: dict[str, str] | None = None) -> RepairsFlowResult:
        """Leave the lock as it is."""
        return await self._decide(Choice.KEEP)

    async def async_step_restore(
        self, _user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Write what this home knows."""
        return await self._decide(Choice.RESTORE)

    async def async_step_revoke(
        self, _user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Remove the account."""
        return await self._decide(Choice.REVOKE)

    async def _decide(self, choice: Choice) -> RepairsFlowResult:
        keeper = self._keeper
        if keeper is None:
            return self.async_abort(reason="not_loaded")
        if self._asked is None or choice not in choices(self._asked):
            return self.async_abort(reason="changed_meanwhile")
        try:
            done = await keeper.async_decide(self._key, choice, self._asked)
        except OperationError:
            return self.async_abort(reason="not_saved")
        if not done:
            return self.async_abort(reason="changed_meanwhile")
        # Home Assistant takes the issue back now, also if the same is to be asked again.
        self.hass.loop.call_soon(keeper.async_shown)
        return self.async_create_entry(data={})


class PeopleGoneFlow(RepairsFlow):
    """The People entry was removed or disabled, but the locks still let everybody in."""

    async def async_step_init(self, _user_input: dict[str, str] | None = None) -> RepairsFlowResult:
        """Ask what is to become of everybody's access."""
        home = await async_get_home(self.hass)
        if home.people_entry is not None:
            return self.async_abort(reason="changed_meanwhile")
        placeholders = {
            "people": ", ".join(
                sorted(
                    {
                        grant.name
                        for lock in home.ledger.locks.values()
                        for grant in lock.grants.values()
                    }
                )
            )
        }
        return self.async_show_menu(
            step_id="init",
            menu_options=[Choice.RESTORE.value, Choice.KEEP.value, Choice.REVOKE.value],
            description_placeholders=placeholders,
        )

    async def async_step_restore(
        self, _user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Enable the People entry, or make it again with everybody who was in it."""
        entry = find_people_entry(self.hass)
        if entry is None:
            await self.hass.config_entries.flow.async_init(
                DOMAIN, context={"source": SOURCE_SYSTEM}
            )
        elif entry.disabled_by is not None:
            await self.hass.config_entries.async_set_disabled_by(entry.entry_id, None)
        return self.async_create_entry(data={})

    async def async_step_keep(self, _user_input: dict[str, str] | None = None) -> RepairsFlowResult:
        """Let the locks as they are: this home does not look after these accounts any more."""
        return await self._end(doom=False)

    async def async_step_revoke(
        self, _user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Remove everybody from every lock."""
        return await self._end(doom=True)

    async def _end(self, *, doom: bool) -> RepairsFlowResult:
        home = await async_get_home(self.hass)
        if home.people_entry is not None:
            return self.async_abort(reason="changed_meanwhile")
        try:
            await home.ledger.async_save_decision(
                [*home.ledger.locks], lambda: end_people(home, doom=doom)
            )
        except OperationError:
            return self.async_abort(reason="not_saved")
        if doom:
            # Whoever makes the list again, or enables it, must not let everybody in with that.
            for device_id in {key for one in home.known_persons().values() for key in one.locks}:
                home.async_set_users(device_id, ())
        home.async_people_changed()
        async_update_people_gone(self.hass, home)
        return self.async_create_entry(data={})


@callback
def end_people(home: Home, *, doom: bool) -> None:
    """Let everybody's accounts be as they are, or with `doom` remove them all.

    Who is let be stays known: if the list is made again, these accounts are in it, and can be
    removed. New PINs are written to none of them any more.
    """
    persons = home.known_persons()
    home.ledger.kept = not doom
    for device_id, lock in home.ledger.locks.items():
        lock.pins = {key: digits for key, digits in lock.pins.items() if not digits and not doom}
        if not doom:
            continue
        lock.doomed += [
            Doomed(grant.account_id, grant.name, key) for key, grant in lock.grants.items()
        ]
        lock.ended += [
            key
            for key, person in persons.items()
            if device_id in person.locks and key not in lock.ended
        ]
        lock.grants = {}
        lock.questions = {key: one for key, one in lock.questions.items() if one.person_id is None}


# --- texts --------------------------------------------------------------------------------------


async def _facts(hass: HomeAssistant, question: Question) -> dict[str, str]:
    """Return in words what is on the lock, and what its log tells."""
    texts = await async_get_translations(hass, hass.config.language, "selector", [DOMAIN])

    def text(selector: str, key: str, **placeholders: str) -> str:
        sentence = texts.get(f"{_SELECTOR}.{selector}.options.{key}", key)
        for name, value in placeholders.items():
            sentence = sentence.replace(f"[{name}]", value)
        return sentence

    since = _moment(question.since)
    if question.by == HOME_NAME:
        who = text("drift", "by_controller")
    else:
        who = question.by or text("drift", "by_unknown")
    told = text("drift", "told" if question.since else "not_told", since=since, by=who)
    if question.found is None:
        return {"told": told, "found": text("drift", "found_nothing")}
    return {"told": told, "found": _found(question.found, text)}


def _found(account: Account, text: Any) -> str:
    rights = [text("rights", name) for name in right_names(account.rights)]
    if account.rights & Right.MANAGE:
        rights.append(text("drift", "manage"))
    sentences = [text("drift", "found", rights=", ".join(rights) or "-", slot=str(account.slot))]
    if not account.rights & Right.ENABLED:
        sentences.append(text("drift", "suspended"))
    if account.not_before:
        sentences.append(text("drift", "from", time=_moment(account.not_before)))
    if account.not_after:
        sentences.append(text("drift", "until", time=_moment(account.not_after)))
    if account.weekdays:
        sentences.append(text("drift", "hours"))
    if account.pin_set:
        sentences.append(text("drift", "pin"))
    return " ".join(sentences)


def _moment(unix: int) -> str:
    """Return Unix seconds as this home's date and time."""
    if not unix:
        return ""
    return dt_util.as_local(datetime.fromtimestamp(unix, UTC)).strftime("%Y-%m-%d %H:%M")
