"""Who does what at the doors, and what Home Assistant has to tell of it."""

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from bsld import const as c
from homeassistant.exceptions import HomeAssistantError
from household import BERLIN

from custom_components.igrs_lock.ilp import parse_account_id

if TYPE_CHECKING:
    from desk import Desk
    from doors import Fact, HouseLock
    from household import Backup, House

HOME_ASSISTANT = "Home Assistant"


@dataclass
class Story:
    """A household with two doors."""

    house: House
    desk: Desk
    front: HouseLock
    cellar: HouseLock
    pins: dict[str, str]
    backup: Backup = field(init=False)
    unknown: dict[str, tuple[float, float]] = field(default_factory=dict)
    """From when until when (Unix seconds) Home Assistant cannot know whose doing it was."""

    names: ClassVar = ("Anna", "Ben", "Clara", "Gus", "Petra", "Dora", "Emil")

    # --- at the doors ---------------------------------------------------------------------------

    async def comes(self, name: str, lock: HouseLock | None = None) -> None:
        """Somebody types their PIN, comes in, and locks by hand."""
        lock = lock or self.front
        assert await self.types(name, self.pins[name], lock) == c.ACCEPTED
        assert lock.core.bolt == c.BOLT_UNLOCKED
        await self.goes_through(lock)

    async def types(self, name: str, digits: str, lock: HouseLock | None = None) -> int:
        """Somebody types a PIN; returns the keypad's result."""
        with self.house.by(name):
            return await self.house.keypad(lock or self.front, digits)

    async def goes_through(self, lock: HouseLock) -> None:
        """The unlocked door is opened, closed and locked by hand."""
        await self.house.advance(2)
        if lock.capabilities & c.CAP_DOOR_SENSOR:
            lock.swing(is_open=True)
            await self.house.advance(5, step=1)
            lock.swing(is_open=False)
        await self.house.advance(5, step=1)
        lock.by_hand(c.BOLT_LOCKED)
        await self.house.quietly(30)

    async def by_app(self, name: str | None, service: str, lock: HouseLock) -> None:
        """A user, or an automation without one, operates a lock entity."""
        with self.house.by(name or HOME_ASSISTANT):
            await self.house.operate(lock, service, name)

    async def app_refuses(self, name: str, service: str, lock: HouseLock) -> str | None:
        """A user operates a lock entity in vain; returns the error's translation key."""
        with pytest.raises(HomeAssistantError) as failure:
            await self.by_app(name, service, lock)
        return failure.value.translation_key

    # --- what has to be told --------------------------------------------------------------------

    def check_logs(self, *, restored: bool = False) -> None:
        """Each record of each lock is told once, rightly, and by whom it was caused.

        With `restored` nobody may be named instead of the right one, but no wrong one.
        """
        for lock in (self.front, self.cellar):
            expected = since_pairing(lock.facts)
            entries = list(self.desk.coordinator(lock).log.entries)
            assert [told(entry) for entry in entries] == [fact_told(fact) for fact in expected]
            sentences = activity_of(self.house, lock)
            assert len(sentences) == len(entries), sentences
            for fact, entry, sentence in zip(expected, entries, sentences, strict=True):
                right = {self._name(fact), *({None} if restored else ())}
                assert entry.name in right, (fact, entry.name)
                named = {name for name in self.names if name in sentence}
                assert entry.person_id is None or entry.name in named, (fact, sentence)
                whom = {fact.who, fact.about} - {None}
                assert named == whom or ((restored or self.unknown) and named < whom), (
                    fact,
                    sentence,
                )

    def check_news(self) -> None:
        """What event entities told was news: nobody came home days ago."""
        for news in self.house.news:
            at = news.attributes["at"]
            if at is not None:
                assert news.at - datetime.fromisoformat(at).timestamp() < 62, (
                    news.entity_id,
                    news.attributes["event_type"],
                    at,
                    datetime.fromtimestamp(news.at, datetime.fromisoformat(at).tzinfo),
                )

    def news_of(self, entity_id: str) -> list[str]:
        """The types of the events that an event entity told, in order."""
        return [
            news.attributes["event_type"]
            for news in self.house.news
            if news.entity_id == f"event.{entity_id}_activity"
        ]

    async def check_get_log(self) -> None:
        """The action returns the same log."""
        for lock in (self.front, self.cellar):
            entity_id = f"lock.{lock.entity}"
            answer = await self.house.hass.services.async_call(
                "igrs_lock",
                "get_log",
                {"entity_id": entity_id, "count": 2000},
                blocking=True,
                return_response=True,
            )
            rows: Any = answer
            assert [
                (row["counter"], row["name"], row["at"]) for row in rows[entity_id]["entries"]
            ] == [
                (fact.counter, self._name(fact), iso_time(fact))
                for fact in since_pairing(lock.facts)
            ]

    def _name(self, fact: Fact) -> str | None:
        if fact.slot == c.SLOT_CONTROLLER:
            return HOME_ASSISTANT
        since, until = self.unknown.get(fact.who or "", (math.inf, 0.0))
        return None if since <= fact.at < until else fact.who

    def accounts(self, lock: HouseLock) -> set[bytes]:
        """The IDs of people's accounts in a lock's own store."""
        entry = self.desk.coordinator(lock).config_entry
        own = parse_account_id(entry.data["account_id"])  # written by pairing, never enabled
        return {account.account_id for account in lock.core.accounts.used()} - {own}

    async def check_accounts(self, lock: HouseLock, *names: str) -> None:
        """Exactly these people have an account on a lock; no other key that was ever given works."""
        keys = self.desk.keys
        assert self.accounts(lock) == {keys[name, lock.unique_id].account_id for name in names}
        for name, device_id in list(keys):
            if device_id == lock.unique_id and name not in names:
                assert await self.desk.try_key(name, lock) == -1, name


def activity_of(house: House, lock: HouseLock) -> list[str]:
    """Activity's sentences about a lock, in the order they were told."""
    return [
        entry["message"]
        for entry in house.activity
        if entry.get("entity_id") == f"lock.{lock.entity}"
    ]


def iso_time(fact: Fact) -> str | None:
    """When it happened, on the wall; a clock that is set tells what it showed before."""
    if fact.event == c.EV_CLOCK_SET or not fact.timestamp:
        return None
    return datetime.fromtimestamp(fact.timestamp, BERLIN).isoformat()


def since_pairing(facts: list[Fact]) -> list[Fact]:
    """The records from the newest pairing on."""
    starts = [number for number, fact in enumerate(facts) if fact.event == c.EV_PAIRED]
    return facts[starts[-1] :]


def told(entry: Any) -> tuple[Any, ...]:
    """What an entry of Home Assistant's log says of a record."""
    return (
        entry.counter, entry.event, entry.slot, entry.source,
        entry.bolt, entry.door, entry.detail, entry.timestamp,
    )  # fmt: skip


def fact_told(fact: Fact) -> tuple[Any, ...]:
    """The same of what the core wrote."""
    return (
        fact.counter, fact.event, fact.slot, fact.source,
        fact.bolt, fact.door, fact.detail, fact.timestamp,
    )  # fmt: skip
