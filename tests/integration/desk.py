"""The owner at Home Assistant's pages, and hands that try old keys."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bsld import const as c
from homeassistant.components.repairs import DOMAIN as REPAIRS
from homeassistant.helpers import issue_registry as ir
from world import DOMAIN, OtherController

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.person import DEFAULT_RIGHTS, Kind, right_names

if TYPE_CHECKING:
    from doors import HouseLock
    from household import House

    from custom_components.igrs_lock.coordinator import IgrsLockCoordinator
    from custom_components.igrs_lock.ledger_lock import Question


@dataclass(frozen=True)
class Key:
    """What somebody's phone would keep of an account, also after the account is gone."""

    slot: int
    account_id: bytes


@dataclass(frozen=True)
class Hours:
    """Weekly hours as the dialog takes them; the last minute counts."""

    weekdays: list[str]
    first: str
    last: str


class Desk:
    """The owner: adds, changes and removes people, and answers questions."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.ids: dict[str, str] = {}
        self.keys: dict[tuple[str, str], Key] = {}

    def coordinator(self, lock: HouseLock) -> IgrsLockCoordinator:
        entries = self.house.hass.config_entries
        entry = entries.async_entry_for_domain_unique_id(DOMAIN, lock.unique_id)
        assert entry is not None
        found: IgrsLockCoordinator = entry.runtime_data
        return found

    # --- people ---------------------------------------------------------------------------------

    @property
    def people(self) -> Any:
        """The People entry."""
        entries = self.house.hass.config_entries
        entry = entries.async_entry_for_domain_unique_id(DOMAIN, "people")
        assert entry is not None
        return entry

    async def add(
        self,
        name: str,
        *locks: HouseLock,
        kind: Kind = Kind.RESIDENT,
        user_id: str | None = None,
        pin: str = "",
        hours: Hours | None = None,
    ) -> None:
        """Add somebody in the dialog, and wait until every lock in reach knows."""
        with self.house.about(name):
            before = self._ids_on_locks()
            result = await self._flows.async_init(
                (self.people.entry_id, "person"), context={"source": "user"}
            )
            who = {"name": name, "kind": kind, "locks": [lock.unique_id for lock in locks]}
            result = await self._next(result, who | ({"user_id": user_id} if user_id else {}))
            assert result["step_id"] == "details", result
            hours = hours or Hours([], "00:00:00", "23:59:00")
            details = {
                "rights": right_names(DEFAULT_RIGHTS[kind]),
                "weekdays": hours.weekdays,
                "first_time": hours.first,
                "last_time": hours.last,
            }
            result = await self._next(result, details)
            if result["type"] == "menu":
                result = await self._next(result, {"next_step_id": "pin_type" if pin else "no_pin"})
                if pin:
                    result = await self._next(result, {"pin": pin})
            assert result["type"] == "create_entry", result
            (self.ids[name],) = (
                one.subentry_id for one in self.people.subentries.values() if one.title == name
            )
            await self.house.quietly(60)
            self._note_keys(name, before)

    async def change(self, name: str, choice: str, *inputs: dict[str, Any]) -> None:
        """Change somebody in the dialog: a way through its menu, and what is filled in."""
        with self.house.about(name):
            result = await self._flows.async_init(
                (self.people.entry_id, "person"),
                context={"source": "reconfigure", "subentry_id": self.ids[name]},
            )
            for user_input in ({"next_step_id": choice}, *inputs):
                result = await self._next(result, user_input)
            assert result["type"] == "abort", result
            await self.house.quietly(60)

    async def set_pin(self, name: str, digits: str) -> None:
        """Give somebody another PIN."""
        await self.change(name, "pin", {"next_step_id": "pin_type"}, {"pin": digits})

    async def remove(self, name: str) -> None:
        """Delete somebody, as the page does."""
        with self.house.about(name):
            self.house.hass.config_entries.async_remove_subentry(self.people, self.ids[name])
            await self.house.quietly(60)

    @property
    def _flows(self) -> Any:
        return self.house.hass.config_entries.subentries

    async def _next(self, result: Any, user_input: dict[str, Any]) -> Any:
        assert not result.get("errors"), result
        return await self.house.during(self._flows.async_configure(result["flow_id"], user_input))

    async def set_number(self, lock: HouseLock, suffix: str, value: float) -> None:
        """Set one of a lock's numbers."""
        entity_id = f"number.{lock.entity}_{suffix}"
        await self.house.during(
            self.house.hass.services.async_call(
                "number", "set_value", {"entity_id": entity_id, "value": value}, blocking=True
            )
        )

    # --- questions ------------------------------------------------------------------------------

    def issues(self, prefix: str) -> list[ir.IssueEntry]:
        """The open repairs whose name begins so."""
        return [
            issue
            for (domain, issue_id), issue in ir.async_get(self.house.hass).issues.items()
            if domain == DOMAIN and issue.active and issue_id.startswith(prefix)
        ]

    def questions(self) -> set[tuple[str, str, str]]:
        """What the owner is asked: lock, what is the matter, and whose access it is about."""
        return {
            (lock.name, question.kind.value, question.name)
            for lock in self.house.doors()
            for question in self._asked(lock).values()
        }

    def _asked(self, lock: HouseLock) -> dict[str, Question]:
        found = self.coordinator(lock).accounts.ledger.questions
        issues = {issue.issue_id for issue in self.issues(f"drift_{lock.unique_id}")}
        assert issues == {f"drift_{lock.unique_id}_{key}" for key in found}
        return found

    async def decide(self, lock: HouseLock, kind: str, name: str, choice: str) -> None:
        """Answer a question in its repair."""
        before = self._ids_on_locks()
        old = self.keys.get((name, lock.unique_id))
        (key,) = (
            key for key, one in self._asked(lock).items() if (one.kind, one.name) == (kind, name)
        )
        slot = int(key.removeprefix("slot_")) if key.startswith("slot_") else -1
        with self.house.about(name or self.house.owners[lock.unique_id, slot]):
            await self.answer(f"drift_{lock.unique_id}_{key}", choice)
        self._note_keys(name, before)
        if old not in (None, self.keys.get((name, lock.unique_id))):
            self.keys[f"{name} before", lock.unique_id] = old

    async def answer(self, issue_id: str, choice: str) -> None:
        """Choose one way in the menu of a repair and go on to its end."""
        flows = self.house.hass.data[REPAIRS]["flow_manager"]
        result = await flows.async_init(DOMAIN, data={"issue_id": issue_id})
        assert result["type"] == "menu", result
        assert choice in result["menu_options"], result
        result = await self.house.during(
            flows.async_configure(result["flow_id"], {"next_step_id": choice})
        )
        while result["type"] == "form":
            result = await self.house.during(flows.async_configure(result["flow_id"], {}))
        assert result["type"] == "create_entry", result
        await self.house.quietly(60)

    # --- keys -----------------------------------------------------------------------------------

    def _ids_on_locks(self) -> set[bytes]:
        return {
            account.account_id
            for lock in self.house.locks.values()
            for account in lock.core.accounts.used()
        }

    def _note_keys(self, name: str, before: set[bytes]) -> None:
        for lock in self.house.locks.values():
            for account in lock.core.accounts.used():
                if account.account_id not in before:
                    self.keys[name, lock.unique_id] = Key(account.slot, account.account_id)
                    self.house.owners[lock.unique_id, account.slot] = name

    async def try_key(self, name: str, lock: HouseLock) -> int:
        """Unlock with the key somebody was given once; the lock's result, or -1 for an ERROR."""
        key = self.keys[name, lock.unique_id]
        lock_key = bytes.fromhex(self.coordinator(lock).config_entry.data["lock_key"])
        hand = OtherController(self.house, lock)
        try:
            nonce = ilp.parse_challenge(await hand.say(ilp.challenge_request()))
            session = ilp.ClientSession(
                ilp.account_key(lock_key, key.account_id),
                lock.device_id,
                key.slot,
                ilp.NonceSource.CHALLENGE,
                nonce,
            )
            wanted = (
                ilp.requests.authenticate(key.account_id),
                ilp.requests.operate(ilp.Operation.UNLOCK),
            )
            with self.house.by(name):
                answer = await hand.say(
                    session.open([one.at(int(self.house.now())) for one in wanted])
                )
                await self.house.advance(2)
        finally:
            hand.connection.end(tell=False)
        if answer[0] == c.ERROR:
            return -1
        return session.receive(answer)[-1].value[0]
