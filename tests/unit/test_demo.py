"""The demo lets somebody try what the pages tell: automations, blueprints, and a second user."""

import asyncio
import socket
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from simulator.demo import ha_config
from simulator.demo.client import Client
from simulator.demo.errors import DemoError
from simulator.demo.ras import Ras, server_port

if TYPE_CHECKING:
    from pathlib import Path


def test_automations_and_scripts_of_the_page_are_loaded_and_the_blueprints_are_there(
    tmp_path: Path,
) -> None:
    ha_config.write(tmp_path, 8123, [])
    written = (tmp_path / "automations.yaml", tmp_path / "scripts.yaml")
    for file in written:
        file.write_text("[]\n")
    ha_config.write(tmp_path, 8123, [])  # the second start

    configuration = (tmp_path / "configuration.yaml").read_text()
    for file in written:
        assert f"!include {file.name}" in configuration
        assert file.read_text() == "[]\n"
    folder = tmp_path / "blueprints" / "automation" / "igrs_lock"
    assert {file.name for file in folder.iterdir()} == {
        file.name for file in ha_config.BLUEPRINTS.iterdir()
    }
    assert not folder.is_symlink()  # Home Assistant may write there


def test_the_server_keeps_its_port_which_the_home_knows_or_says_who_has_to_go(
    tmp_path: Path,
) -> None:
    port = server_port(tmp_path / "ras", usual=False)
    assert server_port(tmp_path / "ras", usual=True) == port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(DemoError, match=f"port {port}.* is taken: .*--fresh"):
            server_port(tmp_path / "ras", usual=False)
    assert server_port(tmp_path / "ras", usual=False) == port


def test_settings_of_another_server_are_none_of_the_demos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IGRS_RAS_DATABASE_URL", "postgresql+psycopg://somebody@elsewhere/real")
    monkeypatch.setenv("SOMETHING_ELSE", "stays")

    async def started() -> Any:
        with patch.object(asyncio, "create_subprocess_exec") as start:
            await Ras(tmp_path, tmp_path / "log", 1).start()
            return start.call_args.kwargs["env"]

    environment = asyncio.run(started())
    assert "IGRS_RAS_DATABASE_URL" not in environment
    assert environment["IGRS_RAS_DATA"] == str(tmp_path / "data")
    assert environment["SOMETHING_ELSE"] == "stays"


def test_the_demo_signs_in_as_the_owner_also_when_there_is_a_second_user() -> None:
    sent: list[tuple[str, dict[str, Any]]] = []

    async def request(_method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        sent.append((path, body))
        if len(sent) == 1:
            users = {"name": "user", "options": [["kid", "Kid"], ["first", "Owner"]]}
            return {"type": "form", "flow_id": "asks", "data_schema": [users]}
        return {"type": "abort"}

    async def sign_in() -> None:
        async with Client("http://127.0.0.1:1") as client:
            with (
                patch.object(client, "request", request),
                pytest.raises(DemoError, match="does not let the owner sign in"),
            ):
                await client._get_token()

    asyncio.run(sign_in())
    assert sent[1] == (
        "/auth/login_flow/asks",
        {"client_id": "http://127.0.0.1:1/", "user": "first"},
    )
