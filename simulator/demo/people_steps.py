"""The check's steps about people: a PIN, who came, the log, and that somebody removed stays out."""

from collections import Counter
from typing import Any

from . import owner
from .dashboard import DOMAIN
from .errors import DemoError
from .steps import Steps, eventually, expect

_NAME = "Anna"
_PIN = "8305172946"  # long: so many digits stand in no log by chance
_WRONG_PIN = "5028163947"


class PeopleSteps(Steps):
    """What an owner does with people, and what the keypad makes of it."""

    _person = ""

    async def _pin_result(self, digits: str) -> bool:
        """Type a PIN at the door; whether it was accepted."""
        answer = await self._demo.simulator.act(self._label.id, "pin", digits=digits)
        return bool(answer["accepted"])

    async def _add_person(self) -> str:
        self._secrets.add(_PIN)
        self._person = await owner.add_person(
            self._client, _NAME, "resident", [self._label.id], _PIN
        )

        async def written() -> bool:
            users = (await self._answer("get_users"))["users"]
            return any(user["name"] == _NAME and user["state"] == "active" for user in users)

        await eventually(written, 20, f"{_NAME} is in the lock")
        return "in the lock"

    async def _answer(self, action: str, **data: Any) -> dict[str, Any]:
        """The answer of an action of the integration for the lock."""
        answer = await self._client.ask(DOMAIN, action, self._entity, **data)
        found: dict[str, Any] = answer[self._entity]
        return found

    async def _enter_pin(self) -> str:
        await self._client.call("lock", "lock", self._entity)
        await self._settled("locked")
        expect(await self._pin_result(_PIN), "the PIN was refused")
        await self._settled("unlocked")

        def told() -> bool:
            return self._client.states[self._entity].attributes.get("changed_by") == _NAME

        await self._client.wait_until(told, f"changed by {_NAME}", 15)
        return await self._event("unlocked", _NAME, "keypad")

    async def _event(self, event_type: str, person: str | None, source: str) -> str:
        """Wait for the lock's event entity to tell this."""

        def told() -> bool:
            return any(
                state.attributes.get("event_type") == event_type
                and state.attributes.get("person") == person
                and state.attributes.get("source") == source
                for state in self._client.states.values()
                if state.entity_id.startswith("event.")
            )

        await self._client.wait_until(told, f"the event {event_type} of {person}", 15)
        return f"{event_type}: {person or 'nobody known'}, {source}"

    async def _wrong_pin(self) -> str:
        expect(not await self._pin_result(_WRONG_PIN), "a wrong PIN was accepted")
        return await self._event("wrong_pin", None, "keypad")

    async def _read_log(self) -> str:
        """Compare Home Assistant's log with the lock's own."""
        written = {
            line["counter"]
            for line in (await self._truth())["events"]
            if line["counter"] is not None
        }

        async def complete() -> list[dict[str, Any]]:
            entries: list[dict[str, Any]] = (await self._answer("get_log", count=500))["entries"]
            return entries if {entry["counter"] for entry in entries} >= written else []

        entries = await eventually(complete, 20, "the lock's whole log", 0.5)
        counted = Counter(entry["counter"] for entry in entries)
        twice = [counter for counter, number in counted.items() if number > 1]
        expect(not twice, f"records read twice: {twice}")
        expect(
            any(entry["event"] == "unlocked" and entry["name"] == _NAME for entry in entries),
            f"the log does not say that {_NAME} unlocked",
        )
        return f"{len(entries)} records"

    async def _remove_person(self) -> None:
        await owner.remove_person(self._client, self._person)

        async def gone() -> bool:
            users = (await self._answer("get_users"))["users"]
            return all(user["name"] != _NAME for user in users)

        await eventually(gone, 20, f"{_NAME} is removed from the lock")
        if await self._pin_result(_PIN):
            raise DemoError("the PIN of somebody who was removed still opens")
