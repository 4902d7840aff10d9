"""The app tells Home Assistant of itself: against a double that keeps the rules of the Supervisor's interface."""

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from igrs_ras.supervisor import Discovery, Supervisor, SupervisorError
from supervisor_double import TOKEN, Double

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "pVvCSGFuH0bWq3PSGx8hHT7vlrJm1Xl6G3o9CqUW4nI="


class Desk:
    """Stands for the server's enrolment codes."""

    def __init__(self, *codes: str | None) -> None:
        self.codes = deque(codes)

    async def code(self) -> str | None:
        return self.codes.popleft() if len(self.codes) > 1 else self.codes[0]


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    double = Double()
    async with double.server:
        yield double


@pytest.fixture
async def supervisor(double: Double) -> AsyncIterator[Supervisor]:
    async with Supervisor(TOKEN, double.address) as supervisor:
        yield supervisor


@contextlib.asynccontextmanager
async def running(discovery: Discovery) -> AsyncIterator[None]:
    task = asyncio.create_task(discovery.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Pauses(list[float]):
    """Pauses that end at once and are noted."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


async def test_home_assistant_is_told_the_apps_own_name_port_key_and_code(
    double: Double, supervisor: Supervisor
) -> None:
    discovery = Discovery(supervisor, port=8098, server_key=KEY, code=Desk("0123-4567").code)
    async with running(discovery):
        assert await double.heard() == {
            "host": "1a2b3c4d-igrs-ras",
            "port": 8098,
            "server_key": KEY,
            "code": "0123-4567",
        }


async def test_a_code_that_was_used_leaves_the_supervisors_file(
    double: Double, supervisor: Supervisor
) -> None:
    discovery = Discovery(supervisor, port=8098, server_key=KEY, code=Desk("0123-4567", None).code)
    async with running(discovery):
        first = await double.heard()
        discovery.used()
        second = await double.heard()
    assert "code" in first
    assert second == {key: value for key, value in first.items() if key != "code"}
    assert double.message == second


async def test_a_code_used_while_its_message_is_on_the_way_is_taken_back_too(
    double: Double, supervisor: Supervisor
) -> None:
    used: list[Discovery] = []

    class Hasty(Desk):
        async def code(self) -> str | None:
            code = await super().code()
            if code is not None:
                used[0].used()
            return code

    used.append(
        discovery := Discovery(supervisor, port=8098, server_key=KEY, code=Hasty("a", None).code)
    )
    async with running(discovery):
        while "code" in await double.heard():
            pass
    assert [one.get("code") for one in double.told] == ["a", None]


async def test_a_server_that_starts_again_with_the_same_code_disturbs_nobody(
    double: Double, supervisor: Supervisor
) -> None:
    for _ in range(2):
        discovery = Discovery(supervisor, port=8098, server_key=KEY, code=Desk("0123-4567").code)
        async with running(discovery):
            await double.heard()
    assert len(double.told) == 1


async def test_a_supervisor_that_is_not_ready_is_asked_again_ever_more_slowly(
    double: Double, supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    starting = {"result": "error", "message": "System is not ready with state: setup"}
    double.faults.extend(
        [
            *(web.json_response(starting, status=400) for _ in range(6)),
            *(None, None),  # aiohttp itself asks once more when a connection breaks
            web.Response(text="<html>"),
            web.json_response(starting),
            web.json_response({"result": "ok", "data": {"hostname": ""}}),
            web.json_response({"result": "ok", "data": []}),
        ]
    )
    pauses = Pauses()
    discovery = Discovery(supervisor, port=8098, server_key=KEY, code=Desk("x").code, pause=pauses)
    with caplog.at_level(logging.INFO):
        async with running(discovery):
            await double.heard()
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.getMessage().endswith("the Supervisor answered 400 to /addons/self/info")


async def test_a_refused_token_is_said_without_the_token(
    double: Double, caplog: pytest.LogCaptureFixture
) -> None:
    async with Supervisor("5ec2e7" * 10, double.address) as supervisor:
        with pytest.raises(SupervisorError, match="403") as refused:
            await supervisor.hostname()
        said = f"{refused.value!r} {refused.value.__cause__!r} {supervisor!r} {caplog.text}"
    assert "5ec2e7" not in said


async def test_case_46_neither_code_nor_token_is_logged(
    double: Double, supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    double.faults.append(web.Response(status=502, text=f"{TOKEN} 0123-4567"))
    discovery = Discovery(
        supervisor, port=8098, server_key=KEY, code=Desk("0123-4567").code, pause=Pauses()
    )
    with caplog.at_level(logging.DEBUG):
        async with running(discovery):
            await double.heard()
    assert "Home Assistant" in caplog.text
    assert TOKEN not in caplog.text
    assert "0123-4567" not in caplog.text


async def test_a_redirect_does_not_carry_the_token_elsewhere(
    double: Double, supervisor: Supervisor
) -> None:
    elsewhere = Double()
    async with elsewhere.server:
        target = str(elsewhere.server.make_url("/addons/self/info"))
        double.faults.append(web.Response(status=307, headers={"Location": target}))
        with pytest.raises(SupervisorError, match="307"):
            await supervisor.hostname()


async def test_a_service_that_the_app_does_not_list_is_refused(supervisor: Supervisor) -> None:
    with pytest.raises(SupervisorError, match="403"):
        await supervisor.discover("mqtt", {"host": "here"})
