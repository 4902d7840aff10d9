"""A small client of Home Assistant's own HTTP and WebSocket interfaces, as its web page and its apps use them."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from .errors import DemoError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_REQUEST_SECONDS = 60.0
_OWNER = "Owner"


@dataclass(frozen=True)
class State:
    """A state as Home Assistant published it."""

    entity_id: str
    value: str
    attributes: dict[str, Any] = field(hash=False)
    changed_at: float
    """Unix seconds."""

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Self:
        """From the form in which states travel."""
        changed = datetime.fromisoformat(data["last_changed"]).timestamp()
        return cls(data["entity_id"], data["state"], data.get("attributes", {}), changed)


class Client:
    """Signed in to one Home Assistant, following all its states.

    A restart of Home Assistant ends it: sign in anew.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.states: dict[str, State] = {}
        """Every entity's current state, by entity id."""
        self.published: list[State] = []
        """Every state published since this client signed in, oldest first."""
        self.events: list[dict[str, Any]] = []
        """Registry events since this client signed in."""
        self.token = ""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_REQUEST_SECONDS))
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._handlers: dict[int, Callable[[dict[str, Any]], None]] = {}
        self._next_id = 1
        self._changed = asyncio.Event()

    @classmethod
    async def sign_in(cls, url: str) -> Self:
        """Sign in as the owner (made on the first start) and follow all states.

        Raises DemoError when Home Assistant refuses.
        """
        client = cls(url)
        try:
            await client._make_owner()
            await client._get_token()
            await client._connect()
        except aiohttp.ClientError as err:
            await client.close()
            raise DemoError(f"signing in to Home Assistant failed: {err}") from err
        except BaseException:
            await client.close()
            raise
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        if self._socket is not None:
            await self._socket.close()
        await self._session.close()

    @property
    def connected(self) -> bool:
        """Whether Home Assistant still talks."""
        return self._reader is not None and not self._reader.done()

    # -- HTTP ---------------------------------------------------------------------------------------------------------

    async def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request, with its JSON answer.

        Raises RefusedError with Home Assistant's words.
        """
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with self._session.request(
            method, f"{self.url}{path}", json=body, headers=headers
        ) as response:
            if response.status >= 400:
                raise RefusedError(
                    f"{method} {path}: {response.status} {(await response.text())[:300]}"
                )
            return await response.json(content_type=None)

    async def _make_owner(self) -> None:
        try:
            steps = await self.request("GET", "/api/onboarding")
        except RefusedError:
            return  # gone once everything is set up
        if any(step["step"] == "user" and not step["done"] for step in steps):
            await self.request(
                "POST",
                "/api/onboarding/users",
                {
                    "client_id": f"{self.url}/",
                    "name": _OWNER,
                    "username": "owner",
                    "password": "owner",
                    "language": "en",
                },
            )

    async def _get_token(self) -> None:
        client_id = f"{self.url}/"
        result = await self.request(
            "POST",
            "/auth/login_flow",
            {
                "client_id": client_id,
                "handler": ["trusted_networks", None],
                "redirect_uri": client_id,
            },
        )
        if result["type"] == "form":  # it asks who signs in, once somebody made more users
            users = result["data_schema"][0]["options"]
            owner = next((key for key, name in users if name == _OWNER), users[0][0])
            result = await self.request(
                "POST",
                f"/auth/login_flow/{result['flow_id']}",
                {"client_id": client_id, "user": owner},
            )
        if result["type"] != "create_entry":
            raise DemoError("Home Assistant does not let the owner sign in (start with --fresh)")
        async with self._session.post(
            f"{self.url}/auth/token",
            data={
                "client_id": client_id,
                "grant_type": "authorization_code",
                "code": result["result"],
            },
        ) as response:
            if response.status != 200:
                raise DemoError(f"Home Assistant gave no token: {response.status}")
            self.token = (await response.json())["access_token"]

    # -- WebSocket ----------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        self._socket = await self._session.ws_connect(
            f"{self.url}/api/websocket", max_msg_size=0, heartbeat=30
        )
        await self._socket.receive_json()
        await self._socket.send_json({"type": "auth", "access_token": self.token})
        answer = await self._socket.receive_json()
        if answer["type"] != "auth_ok":
            raise DemoError(f"Home Assistant refused the WebSocket: {answer}")
        self._reader = asyncio.create_task(self._read(self._socket))
        await self.subscribe(self._on_state, "subscribe_events", event_type="state_changed")
        for state in await self.command("get_states"):
            self.states.setdefault(state["entity_id"], State.parse(state))

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            async for received in socket:
                if received.type is not aiohttp.WSMsgType.TEXT:
                    break
                self._handle(received.json())
        finally:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(DemoError("Home Assistant closed the connection"))
            self._notify()

    def _handle(self, message: dict[str, Any]) -> None:
        if message["type"] == "result":
            answer = self._answers.pop(message["id"], None)
            if answer is None or answer.done():
                return
            if message["success"]:
                answer.set_result(message["result"])
            else:
                answer.set_exception(RefusedError(message["error"]["message"]))
        elif message["type"] == "event" and (handler := self._handlers.get(message["id"])):
            handler(message["event"])
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _on_state(self, event: dict[str, Any]) -> None:
        data = event["data"]
        if data["new_state"] is None:
            self.states.pop(data["entity_id"], None)
            return
        state = State.parse(data["new_state"])
        self.states[state.entity_id] = state
        self.published.append(state)

    async def command(self, kind: str, **fields: Any) -> Any:
        """One WebSocket command with its answer.

        Raises RefusedError with Home Assistant's words, DemoError when the connection ends.
        """
        identifier, answer = self._new_command()
        return await self._send(identifier, answer, kind, fields)

    async def subscribe(
        self, handler: Callable[[dict[str, Any]], None], kind: str, **fields: Any
    ) -> None:
        """One WebSocket command that subscribes; `handler` gets each event."""
        identifier, answer = self._new_command()
        self._handlers[identifier] = handler
        await self._send(identifier, answer, kind, fields)

    def _new_command(self) -> tuple[int, asyncio.Future[Any]]:
        identifier = self._next_id
        self._next_id += 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[identifier] = answer
        return identifier, answer

    async def _send(
        self, identifier: int, answer: asyncio.Future[Any], kind: str, fields: dict[str, Any]
    ) -> Any:
        if self._socket is None or self._socket.closed:
            raise DemoError("not connected to Home Assistant")
        await self._socket.send_json({"id": identifier, "type": kind, **fields})
        async with asyncio.timeout(_REQUEST_SECONDS):
            return await answer

    async def call(
        self, domain: str, service: str, entity_id: str | None = None, **data: Any
    ) -> None:
        """Call an action and wait for its end, as a button of the page does."""
        target = {"entity_id": entity_id} if entity_id else {}
        await self.command(
            "call_service", domain=domain, service=service, service_data=data, target=target
        )

    async def ask(
        self, domain: str, service: str, entity_id: str, **data: Any
    ) -> dict[str, dict[str, Any]]:
        """Call an action that answers; the answers by entity id."""
        result = await self.command(
            "call_service",
            domain=domain,
            service=service,
            service_data=data,
            target={"entity_id": entity_id},
            return_response=True,
        )
        answers: dict[str, dict[str, Any]] = result["response"]
        return answers

    async def wait_until(
        self, condition: Callable[[], bool], what: str, seconds: float | None = 30.0
    ) -> None:
        """Wait until a condition on what was published holds.

        Raises DemoError naming `what` when it does not within `seconds`.
        """
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    if not self.connected:
                        raise DemoError(f"Home Assistant closed the connection before {what}")
                    await self._changed.wait()
        except TimeoutError:
            raise DemoError(f"not within {seconds:.0f} s: {what}") from None

    async def wait_for_state(self, entity_id: str, value: str, seconds: float = 30.0) -> State:
        """Wait until the entity's current state is `value`."""

        def reached() -> bool:
            return entity_id in self.states and self.states[entity_id].value == value

        try:
            await self.wait_until(reached, f"{entity_id} {value}", seconds)
        except DemoError as err:
            now = self.states.get(entity_id)
            raise DemoError(f"{err} (it is {now.value if now else 'not there'})") from None
        return self.states[entity_id]

    async def wait_until_running(self, seconds: float = 120.0) -> None:
        """Wait until Home Assistant has finished starting."""
        deadline = asyncio.get_running_loop().time() + seconds
        while (await self.command("get_config"))["state"] != "RUNNING":
            if asyncio.get_running_loop().time() > deadline:
                raise DemoError(f"Home Assistant did not finish starting within {seconds:.0f} s")
            await asyncio.sleep(0.1)

    async def history(self, entity_id: str, since: float) -> list[State]:
        """Every recorded state of an entity from a time (Unix seconds) on, oldest first."""
        start = datetime.fromtimestamp(since, UTC).isoformat()
        found = await self.command(
            "history/history_during_period",
            start_time=start,
            entity_ids=[entity_id],
            include_start_time_state=False,
            significant_changes_only=False,
            minimal_response=False,
            no_attributes=True,
        )
        return [
            State(entity_id, state["s"], {}, state.get("lc", state["lu"]))
            for state in found.get(entity_id, [])
        ]

    # -- Config flows -------------------------------------------------------------------------------------------------

    async def flows(self, handler: str) -> list[dict[str, Any]]:
        """Flows under way of one integration, discovered ones among them."""
        flows: list[dict[str, Any]] = await self.command("config_entries/flow/progress")
        return [flow for flow in flows if flow["handler"] == handler]

    async def start_flow(self, handler: str, entry_id: str | None = None) -> dict[str, Any]:
        """Start a flow as the page does, to add something or, with `entry_id`, to reconfigure it."""
        body: dict[str, Any] = {"handler": handler, "show_advanced_options": False}
        if entry_id is not None:
            body["entry_id"] = entry_id
        return await self._settled(await self.request("POST", _FLOW, body))

    async def show_flow(self, flow_id: str) -> dict[str, Any]:
        """The step at which a flow is."""
        return await self._settled(await self.request("GET", f"{_FLOW}/{flow_id}"))

    async def continue_flow(self, flow_id: str, answer: dict[str, Any]) -> dict[str, Any]:
        """Send a form of a flow, and wait through its progress steps for what comes next."""
        return await self._settled(await self.request("POST", f"{_FLOW}/{flow_id}", answer))

    async def start_subentry_flow(
        self, entry_id: str, kind: str, subentry_id: str | None = None
    ) -> dict[str, Any]:
        """Start adding something that belongs to an entry or, with `subentry_id`, changing it, as the page does."""
        body: dict[str, Any] = {"handler": [entry_id, kind], "show_advanced_options": False}
        if subentry_id is not None:
            body["subentry_id"] = subentry_id
        started: dict[str, Any] = await self.request("POST", _SUBENTRY_FLOW, body)
        return started

    async def continue_subentry_flow(self, flow_id: str, answer: dict[str, Any]) -> dict[str, Any]:
        """Send a form of such a flow."""
        step: dict[str, Any] = await self.request("POST", f"{_SUBENTRY_FLOW}/{flow_id}", answer)
        return step

    async def subentries(self, entry_id: str) -> list[dict[str, Any]]:
        """What belongs to an entry."""
        found: list[dict[str, Any]] = await self.command(
            "config_entries/subentries/list", entry_id=entry_id
        )
        return found

    async def _settled(self, result: dict[str, Any]) -> dict[str, Any]:
        async with asyncio.timeout(_REQUEST_SECONDS):
            while result["type"] in ("progress", "progress_done"):
                await asyncio.sleep(0.1)
                result = await self.request("GET", f"{_FLOW}/{result['flow_id']}")
        return result

    async def entries(self, domain: str) -> list[dict[str, Any]]:
        """Config entries of one integration."""
        found: list[dict[str, Any]] = await self.command("config_entries/get", domain=domain)
        return found


_FLOW = "/api/config/config_entries/flow"
_SUBENTRY_FLOW = "/api/config/config_entries/subentries/flow"
