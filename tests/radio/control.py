"""A client for the simulator's HTTP interface."""

import asyncio
from typing import Any, Self

import aiohttp

type Json = dict[str, Any]


class Control:
    """Does things to the first lock of a simulator and looks at it. `async with` opens it."""

    def __init__(self, ready: Json) -> None:
        """Take what the simulator says when it is ready."""
        self.ready = ready
        self.lock_id: str = ready["locks"][0]["id"]
        self.url = f"http://127.0.0.1:{ready['http']}"
        self.http = aiohttp.ClientSession()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.http.close()

    async def get(self, path: str, **kwargs: Any) -> tuple[int, Any]:
        """Status and JSON."""
        async with self.http.get(self.url + path, **kwargs) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, body: object, **kwargs: Any) -> tuple[int, Any]:
        """Status and JSON."""
        async with self.http.post(self.url + path, json=body, **kwargs) as answer:
            return answer.status, await answer.json()

    async def act(self, action: str, /, **body: object) -> tuple[int, Any]:
        """Do something to the first lock."""
        return await self.post(f"/api/locks/{self.lock_id}/{action}", body)

    async def lock(self) -> Json:
        """State of the first lock."""
        _, state = await self.get(f"/api/locks/{self.lock_id}")
        return dict(state)

    async def until(self, **wanted: object) -> Json:
        """Wait until the first lock's state has these values; the test's time-out is the limit."""
        while True:
            state = await self.lock()
            if all(state[name] == value for name, value in wanted.items()):
                return state
            await asyncio.sleep(0.05)
