"""The check's steps about one lock: pairing, operating, what it shows, releasing."""

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .dashboard import DOMAIN, devices, save
from .errors import DemoError, RefusedError
from .steps import Steps, eventually, expect, on_off, values

if TYPE_CHECKING:
    from .client import Client

_MALFORMED_CODE = "1234"
_SILENT_SECONDS = 3.0
_LOGGER_NAMES = ("custom_components.igrs_lock", "custom_components.virtual_ble")


class LockSteps(Steps):
    """What a person does with a lock."""

    patience = 30.0
    """Seconds within which a new lock has to be discovered."""

    async def _start(self) -> None:
        await self._demo.__aenter__()
        self._secrets = {lock.setup_code for lock in self._demo.simulator.locks}
        self._secrets |= {code.replace("-", "") for code in self._secrets}

    async def _sign_in(self) -> None:
        self._client = await self._demo.sign_in()
        await save(self._client, [], True, self._demo.simulator.url)

    async def _discovered(self, seconds: float) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            for flow in await self._client.flows(DOMAIN):
                context = flow["context"]
                if context["source"] == "bluetooth" and context.get("unique_id") == self._label.id:
                    return flow
            return None

        found = await eventually(look, seconds, f"{self._label.address} discovered")
        return found or {}

    async def _discover(self) -> None:
        truth = await self._truth()
        expect(truth["setup_mode"] and not truth["paired"], "the new lock is not in setup mode")
        flow = await self._discovered(self.patience)
        self._flow = await self._client.show_flow(flow["flow_id"])
        expect(self._flow["step_id"] == "setup_code", f"asked was {self._flow.get('step_id')}")

    async def _enter_code(self, code: str) -> dict[str, Any]:
        return await self._client.continue_flow(self._flow["flow_id"], {"setup_code": code})

    async def _refuse(self, code: str, error: str) -> None:
        result = await self._enter_code(code)
        expect(result["type"] == "form", f"the flow answered {result}")
        expect(result["errors"] == {"setup_code": error}, f"errors: {result['errors']}")
        truth = await self._truth()
        expect(not truth["paired"], "the lock is paired all the same")

    async def _refuse_malformed(self) -> None:
        await self._refuse(_MALFORMED_CODE, "invalid_setup_code")

    async def _refuse_wrong(self) -> None:
        # As long and as well formed as the right one.
        await self._refuse("2222-3333-4444-5555", "wrong_setup_code")

    async def _pair(self) -> None:
        result = await self._enter_code(self._label.setup_code.lower().replace("-", " "))
        expect(result["type"] == "create_entry", f"the flow answered {result}")
        truth = await self._truth()
        expect(truth["paired"], "the lock is not paired")
        expect(not truth["setup_mode"], "the lock is still in setup mode: pairing is not complete")

    async def _entities(self) -> str:
        found = await eventually(lambda: devices(self._client), 15, "a device")
        expect(len(found) == 1, f"{len(found)} devices")
        self._entity = next(one for one in found[0].entities if one.startswith("lock."))
        self._door_entity = next(one for one in found[0].entities if one.endswith("_door"))
        self._battery_entity = next(
            one
            for one in found[0].entities
            if one.startswith("sensor.") and one.endswith("_battery")
        )
        truth = await self._truth()
        await self._client.wait_for_state(self._entity, truth["bolt"], 10)
        await self._client.wait_for_state(self._door_entity, on_off(truth["door"] == "open"), 5)
        await self._client.wait_for_state(self._battery_entity, str(truth["battery"]["percent"]), 5)
        await save(self._client, found, False, self._demo.simulator.url)

        async def clock_trusted() -> bool:
            return bool((await self._truth())["clock_trusted"])

        await eventually(clock_trusted, 15, "the lock's clock set")
        self._secrets |= await eventually(self._keys, 15, "the lock's key stored")
        return ", ".join(found[0].entities)

    async def _lock(self) -> str:
        if (await self._truth())["bolt"] == "locked":
            await self._act("turn", bolt="unlocked")
            await self._settled("unlocked")
        return await self._operate("lock", ["locking", "locked"], "locked")

    async def _unlock(self) -> str:
        return await self._operate("unlock", ["unlocking", "unlocked"], "unlocked")

    async def _open(self) -> str:
        await self._operate("lock", ["locking", "locked"], "locked")
        since = len(self._client.published)
        began = time.monotonic()
        await self._client.call("lock", "open", self._entity)
        took = time.monotonic() - began
        await self._settled("unlocked")  # the latch falls back by itself
        shown = values(self._client.published[since:], self._entity)
        expect(shown[:1] == ["opening"], f"shown was {' → '.join(shown)}")
        expect("open" in shown, f"the pulled latch was not shown: {' → '.join(shown)}")
        return f"confirmed after {took:.2f} s"

    async def _by_hand(self) -> str:
        async def nobody_connected() -> bool:
            return bool((await self._truth())["connections"] == 0)

        # Over a held connection it would come as a sealed event: here advertisements have to tell.
        await eventually(nobody_connected, 15, "the connection given back")
        times: list[float] = []
        for bolt in ("locked", "unlocked"):
            began = time.monotonic()
            await self._act("turn", bolt=bolt)
            await self._settled(bolt)
            times.append(time.monotonic() - began)
        return f"after {' and '.join(f'{seconds:.2f}' for seconds in times)} s"

    async def _door(self) -> None:
        for is_open in (True, False):
            await self._act("door", open=is_open)
            await self._client.wait_for_state(self._door_entity, on_off(is_open), 10)
            expect((await self._truth())["door"] == ("open" if is_open else "closed"), "the door")

    async def _jam(self) -> None:
        since = len(self._client.published)
        await self._act("jam", on=True)
        try:
            await self._client.call("lock", "lock", self._entity)
        except RefusedError as err:
            expect("jam" in str(err), f"the error does not say that it jammed: {err}")
        else:
            raise DemoError("the action succeeded on a jammed bolt")
        await self._settled("jammed")
        shown = values(self._client.published[since:], self._entity)
        expect("locked" not in shown, f"a jammed bolt was shown as locked: {shown}")
        await self._act("jam", on=False)
        await self._client.call("lock", "unlock", self._entity)
        await self._settled("unlocked")

    async def _power(self) -> str:
        since = len(self._client.published)
        before = (await self._truth())["counter"]
        await self._act("power", on=False)
        await self._act("turn", bolt="locked")
        await asyncio.sleep(1)
        await self._act("power", on=True)
        began = time.monotonic()
        await self._settled("locked")
        took = time.monotonic() - began
        after = (await self._truth())["counter"]
        expect(after > before, f"the counter went from {before} to {after}")
        shown = values(self._client.published[since:], self._entity)
        expect(shown == ["locked"], f"shown was {' → '.join(shown)}")
        await self._operate("unlock", ["unlocking", "unlocked"], "unlocked")
        await self._operate("lock", ["locking", "locked"], "locked")
        return f"seen {took:.2f} s after the power came back"

    async def _restart(self) -> str:
        """Nothing may be shown of a bolt that was turned while nobody listened, until it is heard again."""
        await self._settled("locked")
        home_assistant = self._demo.home_assistant

        async def while_down() -> None:
            await self._act("turn", bolt="unlocked")
            await self._act("distance", gateway=None, rssi=None)

        home_assistant.while_down = while_down
        starts = home_assistant.starts
        began = time.monotonic()
        with suppress(DemoError):  # its answer may be lost in the restart
            await self._client.call("homeassistant", "restart")
        await self._client.close()

        async def restarted_once() -> bool:
            return home_assistant.starts > starts

        await eventually(restarted_once, 60, "Home Assistant restarted")
        self._client = client = await self._demo.sign_in()
        restarted = time.monotonic() - began
        await asyncio.sleep(_SILENT_SECONDS)
        expect(
            self._shown() == "unavailable",
            f"{self._shown()} is shown although the lock was not heard since the start",
        )
        heard = time.monotonic()
        await self._act("distance", gateway=None, rssi=-60)
        await self._settled("unlocked")
        took = time.monotonic() - heard
        await self._published_after(home_assistant.stopped_at, client)
        return f"{restarted:.1f} s until it ran, right {took:.2f} s after the lock was heard"

    async def _published_after(self, moment: float, client: Client) -> None:
        """Look at every state since the restart: those heard live, and those before, from the history."""
        await asyncio.sleep(2)  # the recorder writes once a second
        recorded = await client.history(self._entity, moment)
        shown = values(
            sorted([*recorded, *client.published], key=lambda state: state.changed_at), self._entity
        )
        expect(
            shown == ["unavailable", "unlocked"],
            f"shown since the restart: {' → '.join(shown)}",
        )

    async def _after_restart(self) -> str:
        return await self._operate("lock", ["locking", "locked"], "locked")

    async def _release(self) -> None:
        entry_id = next(one.entry_id for one in await devices(self._client))
        menu = await self._client.start_flow(DOMAIN, entry_id)
        expect(menu["type"] == "menu" and "release" in menu["menu_options"], f"menu: {menu}")
        form = await self._client.continue_flow(menu["flow_id"], {"next_step_id": "release"})
        expect(form["type"] == "form", f"the flow answered {form}")
        done = await self._client.continue_flow(menu["flow_id"], {})
        expect(
            done["type"] == "abort" and done["reason"] == "released", f"the flow answered {done}"
        )
        await self._client.wait_until(
            lambda: self._entity not in self._client.states, "the entities are removed", 10
        )
        left = {entry["entry_id"] for entry in await self._client.entries(DOMAIN)}
        expect(entry_id not in left, "the entry is still there")
        truth = await self._truth()
        expect(not truth["paired"] and not truth["setup_mode"], "the lock was not reset")
        await asyncio.sleep(2)
        expect(not await self._client.flows(DOMAIN), "a lock that is not in setup mode was offered")

    async def _again(self) -> None:
        await self._act("hold_button", seconds=10)
        await self._discovered(self.patience)

    async def _logs(self) -> str:
        logs = [*self._demo.logs.iterdir(), *(self.setup.folder / "config").glob("*.log*")]
        lines = 0
        for log in logs:
            for line in log.read_text(errors="replace").splitlines():
                lines += 1
                found = [secret for secret in self._secrets if secret.lower() in line.lower()]
                expect(not found, f"a secret is in {log.name}, line {lines}")
                bad = " ERROR " in line and any(name in line for name in _LOGGER_NAMES)
                # Home Assistant says so when an integration does what a later version forbids.
                bad |= "Detected that custom integration 'igrs_lock'" in line
                expect(not bad, f"{log.name}: {line}")
        return f"{lines} lines"

    async def _stop(self) -> None:
        await self._close()
        expect(not self._demo.home_assistant.child.running, "Home Assistant is still running")
        expect(not self._demo.simulator.child.running, "the simulator is still running")
        expect(not self._demo.ras.running, "the remote access server is still running")
