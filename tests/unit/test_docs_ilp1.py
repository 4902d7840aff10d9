"""The worked example of docs/ilp1.md holds: its bytes are the vectors' and follow from one another."""

import json
import re
from pathlib import Path
from typing import Any

from ilp.keys import mac

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "tests/vectors/ilp1.json").read_text("utf-8"))


def documented() -> dict[str, bytes]:
    """All `name = bytes` of the document's `ilp1` blocks; a line that is indented goes on."""
    text = (ROOT / "docs/ilp1.md").read_text("utf-8")
    found: dict[str, str] = {}
    for block in re.findall(r"^```ilp1\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        name = ""
        for raw in block.splitlines():
            line = raw.split("#")[0].rstrip()
            if line.startswith("  "):
                found[name] += line
            elif line:
                name, _, start = line.partition("=")
                name = name.strip()
                assert name not in found, f"{name} stands twice"
                found[name] = start
    return {name: bytes.fromhex(value) for name, value in found.items()}


def vector(path: str) -> bytes:
    """The bytes in the vectors' file at a path such as `sessions[0].enc_key`."""
    data: Any = VECTORS
    for key, index in re.findall(r"([a-z_]+)|\[(\d+)\]", path):
        data = data[key] if key else data[int(index)]
    return bytes.fromhex(data)


def test_every_value_of_the_document_is_the_vectors() -> None:
    values = {name: value for name, value in documented().items() if "derived" not in name}
    assert len(values) > 30
    assert values == {name: vector(name) for name in values}


def test_the_steps_between_follow_from_the_formulas() -> None:
    values = documented()
    device_id, key = values["device_id.bytes"], values["keys.advert[0].key"]
    plain = values["derived.advertisement_plain"]
    tag = mac(key, device_id, plain)[:4]
    mask = mac(key, b"mask", device_id, plain[3:], tag)[:2]
    prk = mac(
        values["sessions[0].account_key"],
        b"ILP1 session",
        device_id,
        b"\x04\x00",
        values["sessions[0].lock_nonce"],
        values["sessions[0].client_nonce"],
    )
    ivs = mac(prk, b"\x02")
    derived = {name: value for name, value in values.items() if name.startswith("derived.")}
    assert derived == {
        "derived.advertisement_plain": plain,
        "derived.advertisement_tag": tag,
        "derived.advertisement_mask": mask,
        "derived.session_prk": prk,
        "derived.iv_to_lock": ivs[:16],
        "derived.iv_from_lock": ivs[16:],
    }
    masked = bytes((plain[0], plain[1] ^ mask[0], plain[2] ^ mask[1])) + plain[3:] + tag
    assert masked == values["advertisements.paired[0].data"]
    assert mac(prk, b"\x01") == values["sessions[0].enc_key"] + values["sessions[0].mac_key"]
