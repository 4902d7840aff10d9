"""The simulator's HTTP interface: what can be done at a door, and who may not do it."""

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest
import segno
from bumble import hci
from bumble.device import Device, DeviceConfiguration
from bumble.host import Host
from bumble.transport.tcp_client import open_tcp_client_transport
from control import Control, Json

from simulator.web import serve
from simulator.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("socket_enabled")


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Control]:
    async with World(tmp_path, 1, motor_seconds=0.1) as world:
        runner, port = await serve(world, 0)
        identity = next(iter(world.locks.values())).identity
        lock = {"id": identity.id, "address": identity.address, "setup_code": identity.setup_code}
        async with Control({"http": port, "hci": [world.hci_port], "locks": [lock]}) as control:
            yield control
        world.hub.close()
        await runner.cleanup()


# --- what can be done at a door -------------------------------------------------------------------


async def test_the_lock_senses_what_is_done_at_the_door(simulator: Control) -> None:
    assert (await simulator.lock())["bolt"] == "locked"
    assert await simulator.act("door", open=True) == (
        409,
        {"error": "The bolt holds the door: unlock it first."},
    )
    status, state = await simulator.act("turn", bolt="unlocked")
    assert (status, state["bolt"]) == (200, "unlocked")
    _, state = await simulator.act("door", open=True)
    assert state["door"] == "open"
    state = await simulator.lock()
    assert [event["text"] for event in state["events"]][-2:] == ["Unlocked by hand", "Door opened"]


async def test_the_inner_button_moves_the_bolt_and_a_jam_is_told(simulator: Control) -> None:
    status, answer = await simulator.act("press_button")
    assert (status, answer["accepted"], answer["meaning"]) == (200, True, "accepted")
    await simulator.until(bolt="unlocked")
    await simulator.act("jam", on=True)
    await simulator.act("press_button")
    state = await simulator.until(bolt="jammed")
    assert state["physical"]["jam"] is True


async def test_battery_cover_and_keypad(simulator: Control) -> None:
    _, state = await simulator.act("battery", percent=9)
    assert state["battery"] == {"percent": 9, "low": True}
    await simulator.act("tamper", on=True)
    state = await simulator.lock()
    assert {"Battery low", "Cover opened"} <= {event["text"] for event in state["events"]}
    status, answer = await simulator.act("pin", digits="1234")
    assert status == 200
    assert (answer["accepted"], answer["meaning"]) == (False, "not paired yet, it knows no PINs")


async def test_pulling_the_power_silences_the_lock_and_the_bolt_still_turns_by_hand(
    simulator: Control,
) -> None:
    _, state = await simulator.act("power", on=False)
    assert state["powered"] is False
    assert state["advertising_ms"] is None
    for action in ("press_button", "hold_button"):
        assert await simulator.act(action) == (409, {"error": "The lock has no power."})
    assert (await simulator.act("pin", digits="1234"))[0] == 409
    await simulator.act("turn", bolt="unlocked")
    _, state = await simulator.act("power", on=True)
    assert state["powered"] is True
    assert (await simulator.until(bolt="unlocked"))["advertising_ms"] is not None


async def test_a_power_cut_in_the_middle_of_a_write_leaves_a_lock_that_starts(
    simulator: Control,
) -> None:
    counter = (await simulator.lock())["counter"]
    for cut in range(0, 24, 3):
        assert (await simulator.act("power", on=False, after_bytes=cut))[0] == 200
        await simulator.act("turn", bolt="unlocked")
        await simulator.act("turn", bolt="locked")
        await simulator.act("press_button")
        await simulator.until(powered=False)
        _, state = await simulator.act("power", on=True)
        assert state["powered"] is True
        assert state["counter"] > counter
        counter = state["counter"]


async def test_a_forgotten_clock_restarts_the_lock_without_the_time(simulator: Control) -> None:
    _, state = await simulator.act("forget_clock")
    assert state["powered"] is True
    assert state["clock"] is None
    assert state["clock_trusted"] is False


async def test_a_trace_says_when_what_happened_and_can_be_cleared(simulator: Control) -> None:
    trace_url = f"/api/locks/{simulator.lock_id}/trace"
    async with simulator.http.delete(simulator.url + trace_url) as answer:
        assert answer.status == 200
    await simulator.act("press_button")
    await simulator.until(bolt="unlocked")
    _, trace = await simulator.get(trace_url)
    assert [entry["what"] for entry in trace] == ["operate", "bolt"]
    assert trace[0]["operation"] == 2
    assert trace[0]["t_monotonic_ns"] < trace[1]["t_monotonic_ns"]


async def test_the_radio_can_be_set_and_says_who_is_on_it(simulator: Control) -> None:
    status, radio = await simulator.post("/api/radio", {"interval_ms": 7.5, "loss": 0.25})
    assert (status, radio["interval_ms"], radio["loss"]) == (200, 7.5, 0.25)
    _reader, writer = await asyncio.open_connection("127.0.0.1", simulator.ready["hci"][0])
    gateways: list[str] = []
    while not gateways:
        gateways = (await simulator.get("/api/radio"))[1]["gateways"]
    assert gateways == ["adapter-1"]
    await simulator.act("distance", gateway="adapter-1", rssi=-88)
    assert (await simulator.lock())["rssi"] == {"adapter-1": -88}
    await simulator.act("distance", gateway=None, rssi=None)
    assert (await simulator.lock())["rssi"] == {"adapter-1": None}
    writer.close()


async def test_a_gateway_that_dies_leaves_the_lock_free(simulator: Control) -> None:
    transport = await open_tcp_client_transport(f"127.0.0.1:{simulator.ready['hci'][0]}")
    host = Host(transport.source, transport.sink)
    address = hci.Address("C8:00:00:00:00:01")
    device = Device(config=DeviceConfiguration(address=address), host=host)
    await device.power_on()
    await device.connect_le(hci.Address(simulator.ready["locks"][0]["address"]))
    await simulator.until(connections=1)
    await transport.close()
    await simulator.until(connections=0)


async def test_junk_instead_of_hci_unplugs_the_adapter_and_hurts_nobody(
    simulator: Control,
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.ready["hci"][0])
    writer.write(b"\xff" * 100)
    with contextlib.suppress(ConnectionResetError):  # an orderly end is as good
        await reader.read()
    writer.close()
    assert (await simulator.lock())["powered"] is True


async def test_events_are_streamed_as_they_happen(simulator: Control) -> None:
    async with simulator.http.get(simulator.url + "/api/events") as answer:
        assert answer.content_type == "text/event-stream"
        kinds: list[str] = []
        bolt = None
        async for raw in answer.content:
            line = raw.decode().strip()
            if line.startswith("event: "):
                kinds.append(line[7:])
            elif line.startswith("data: ") and kinds[-1] == "lock":
                bolt = json.loads(line[6:])["bolt"]
                if len(kinds) == 2:
                    await simulator.act("turn", bolt="unlocked")
            if bolt == "unlocked":
                break
        assert kinds[:2] == ["radio", "lock"]


# --- bad input and strangers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "body", "complaint"),
    [
        ("turn", {"bolt": "sideways"}, '"bolt" must be'),
        ("turn", {}, '"bolt" must be'),
        ("turn", {"bolt": "locked", "quickly": 1}, 'unknown name "quickly"'),
        ("turn", [], "JSON object"),
        ("door", {"open": "yes"}, "true or false"),
        ("pin", {"digits": 1234}, "1 to 16 digits"),
        ("pin", {"digits": ""}, "1 to 16 digits"),
        ("pin", {"digits": "12a4"}, "1 to 16 digits"),
        ("pin", {"digits": "\u0661\u0662"}, "1 to 16 digits"),
        ("jam", {"on": 1}, "true or false"),
        ("battery", {"percent": 101}, "0 to 100"),
        ("battery", {"percent": True}, "0 to 100"),
        ("battery", {"percent": None}, "0 to 100"),
        ("forget_clock", {"now": True}, "nothing is expected"),
        ("hold_button", {"seconds": -1}, "0 to 60"),
        ("power", {"on": True, "after_bytes": 3}, "after_bytes"),
        ("distance", {"gateway": 5, "rssi": -60}, "gateway"),
        ("distance", {"gateway": None}, "rssi"),
        ("distance", {"gateway": None, "rssi": -500}, "-127 to 20"),
        ("motor", {"seconds": 1e9}, "0 to 30"),
    ],
)
async def test_bad_input_is_refused_with_a_reason(
    simulator: Control, action: str, body: object, complaint: str
) -> None:
    path = f"/api/locks/{simulator.lock_id}/{action}"
    status, answer = await simulator.post(path, body)
    assert status == 400
    assert complaint in answer["error"]


async def test_what_is_not_json_or_far_too_long_is_refused(simulator: Control) -> None:
    url = f"{simulator.url}/api/locks/{simulator.lock_id}/turn"
    json_type = {"Content-Type": "application/json"}
    for data, headers, expected in (
        ("{", json_type, 400),
        ("NaN", json_type, 400),
        ("[" * 4000, json_type, 400),
        ('{"bolt": "locked"}', {"Content-Type": "text/plain"}, 400),
        ('{"bolt": "' + "x" * 10_000 + '"}', json_type, 413),
    ):
        async with simulator.http.post(url, data=data, headers=headers) as answer:
            assert answer.status == expected
            assert "error" in await answer.json()


@pytest.mark.parametrize("body", [{"loss": 2}, {"interval_ms": 3}, {"interval_ms": "x"}, {"x": 1}])
async def test_a_bad_radio_setting_changes_nothing(simulator: Control, body: Json) -> None:
    _, before = await simulator.get("/api/radio")
    assert (await simulator.post("/api/radio", body))[0] == 400
    assert (await simulator.get("/api/radio"))[1] == before


async def test_what_is_not_there_is_not_found(simulator: Control) -> None:
    known = simulator.lock_id
    for path in ("/api/locks/C00000000000", "/nothing", "/static/../web.py", "/locks/x/qr.svg"):
        assert (await simulator.get(path))[0] == 404
    assert (await simulator.post(f"/api/locks/{known}/explode", {}))[0] == 404
    assert (await simulator.post("/api/locks/C00000000000/turn", {"bolt": "locked"}))[0] == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "lock.example"},
        {"Host": "lock.example:80"},
        {"Host": "127.0.0.1.example"},
        {"Origin": "http://lock.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_page_from_elsewhere_can_neither_read_nor_act(
    simulator: Control, headers: Json
) -> None:
    assert (await simulator.get("/api/locks", headers=headers))[0] == 403
    known = simulator.lock_id
    status, _ = await simulator.post(
        f"/api/locks/{known}/turn", {"bolt": "unlocked"}, headers=headers
    )
    assert status == 403
    assert (await simulator.lock())["bolt"] == "locked"


async def test_the_page_itself_is_allowed_and_strict(simulator: Control) -> None:
    own = {"Origin": simulator.url, "Sec-Fetch-Site": "same-origin"}
    assert (await simulator.get("/api/locks", headers=own))[0] == 200
    async with simulator.http.get(
        f"{simulator.url}/", headers={"Sec-Fetch-Site": "cross-site"}
    ) as answer:
        assert answer.status == 200
        page = await answer.text()
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert simulator.ready["locks"][0]["address"] in page
    assert simulator.ready["locks"][0]["setup_code"] not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert " style=" not in page
    assert " onclick=" not in page


async def test_the_setup_code_is_there_as_a_qr_code(simulator: Control) -> None:
    lock = simulator.ready["locks"][0]
    async with simulator.http.get(f"{simulator.url}/locks/{lock['id']}/qr.svg") as answer:
        assert answer.content_type == "image/svg+xml"
        drawn = await answer.text()
    expected = segno.make_qr(lock["setup_code"], error="m")
    path = expected.svg_inline(border=2, omitsize=True, dark="#000", light="#fff")
    assert path.split("<path", 1)[1] in drawn
