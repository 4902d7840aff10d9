"""docs/ras.md says what is so: Table 1, calls, types of messages, close codes, labels, limits, and what code cites."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import igrs_ras
from igrs_ras import (
    audit,
    frames,
    gateways,
    joins,
    keys,
    link,
    locks,
    members,
    proof,
    relay_parts,
    sites,
    socket,
    states,
)
from igrs_ras.accounts import passwords, sessions
from igrs_ras.api.routes import ROUTES
from igrs_ras.settings import Settings
from igrs_ras.status import Status
from igrs_ras.storage import heads

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/ras.md").read_text("utf-8")
PACKAGE = Path(igrs_ras.__file__).parent
SOURCES = {path: path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}
HEADINGS = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)


def section(heading: str) -> str:
    return re.split(r"\n##+ ", TEXT.partition(f"# {heading}\n")[2])[0]


def table(text: str, first: str) -> list[list[str]]:
    """The rows of the table whose head begins with a cell."""
    lines = text.partition(f"\n| {first} |")[2].partition("\n")[2].splitlines()
    rows = []
    for line in lines[1:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def calls(name: str) -> list[ast.Call]:
    """Every call of a method of this name in the package."""
    return [
        node
        for source in SOURCES.values()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == name
    ]


def text_of(call: ast.Call, place: int) -> str:
    argument = call.args[place] if len(call.args) > place else None
    value = argument.value if isinstance(argument, ast.Constant) else None
    return value if isinstance(value, str) else ""


def test_table_1_is_that_of_the_code() -> None:
    rows = table(section("The HTTP interface"), "status")
    assert [
        (int(number), re.sub(r" \[S\]$", "", text), int(http)) for number, text, http in rows
    ] == [
        (int(status), "the server failed" if status is Status.FAILED else status.text, status.http)
        for status in Status
    ]


def test_every_call_that_the_page_names_is_there_with_its_clause() -> None:
    real = {(route.method, route.path): route.clause for route in ROUTES}
    named = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^` ]+)", TEXT)
    assert len(named) > 10
    for method, path in named:
        assert (method, path) in real, path
    for clause, text in table(section("The HTTP interface"), "clause"):
        for method, path in re.findall(r"`([A-Z]+) (/[^`]+)`", text):
            assert real[method, path] == clause.partition(" ")[0], path


def test_every_message_of_a_gateway_is_in_the_table() -> None:
    documented = {
        name
        for row in table(section("The gateway's socket"), "type")
        for name in re.findall(r"`([a-z._]+)`", row[0])
    }
    handled = set(link._HANDLERS) | {"relay.state", "relay.data", "relay.end"}
    assert documented == handled | {"lock.state", "lock.event"}


def test_the_fields_of_a_gateways_messages_are_named() -> None:
    for row in table(section("The gateway's socket"), "type"):
        kind = row[0].strip("`")
        if kind not in link._HANDLERS:
            continue
        fields = set(link._HANDLERS[kind].body.__struct_fields__)
        # The list of site.sync stands in a section of its own.
        said = row[1] if kind != "site.sync" else row[1] + section("The home is the root")
        missing = {
            field for field in fields if f"`{field}`" not in said and f'"{field}"' not in said
        }
        assert missing == set(), kind


def test_every_message_to_a_gateway_or_client_is_named() -> None:
    sent = {text_of(call, 0) for call in calls("send")} | {
        text_of(call, 0) for call in calls("ask")
    }
    durable = {text_of(call, 1) for call in calls("push")}
    assert len(sent) > 10
    assert len(durable) > 5
    for kind in sent | durable:
        if re.fullmatch(r"[a-z]+([._][a-z]+)*", kind):
            assert re.search(rf"`{re.escape(kind)}[` ]", TEXT), kind


def test_what_the_page_says_is_sent_is_sent() -> None:
    part = section("The gateway's socket").partition("**To the gateway, durable**")[2]
    named = set(re.findall(r"`([a-z]+\.[a-z]+)\b", part))
    sent = {text_of(call, 0) for name in ("send", "ask") for call in calls(name)}
    sent |= {text_of(call, 1) for call in calls("push")}
    assert named - sent == set()


def test_every_account_event_is_named() -> None:
    whats = {
        str(value.value)
        for call in calls("push")
        if text_of(call, 1) == "account"
        and len(call.args) > 2
        and isinstance(call.args[2], ast.Dict)
        for key, value in zip(call.args[2].keys, call.args[2].values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "what" and isinstance(value, ast.Constant)
    }
    assert whats
    for what in whats:
        assert f"`{what}`" in TEXT


def test_close_codes_are_those_of_the_code() -> None:
    documented = {int(code) for code, _ in table(section("The gateway's socket"), "code")}
    real = {
        value
        for name, value in vars(socket).items()
        if name.isupper() and isinstance(value, int) and 1000 <= value < 5000
    }
    assert documented == real | {1011}


def test_the_labels_of_what_is_signed_are_those_of_the_code() -> None:
    joined = "".join(SOURCES.values())
    labels = set(re.findall(r'`[^`]*?"(IGRS [a-z]+ 1(?:\\0)?)"', TEXT))
    assert labels == {
        "IGRS enrol 1\\0", "IGRS gateway 1\\0", "IGRS server 1\\0", "IGRS key 1\\0", "IGRS audit 1", "IGRS checkpoint 1\\0"
    }  # fmt: skip
    for label in labels:
        assert f'b"{label}"' in joined, label


def test_what_the_code_cites_of_the_page_is_a_heading_there() -> None:
    cited = {
        name
        for path in (ROOT / "addon").rglob("*")
        if path.is_file() and path.suffix in (".py", ".yaml", ".md", ".txt")
        for name in re.findall(r'docs/ras\.md, "([^"]+)"', path.read_text("utf-8"))
    }
    assert len(cited) > 4
    assert cited <= set(HEADINGS)


def test_the_example_list_has_the_digest_form_that_the_code_reads() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", section("The home is the root"), re.DOTALL)
    read = json.loads(example)
    fields = {
        "members": sites.ListedMember,
        "invitations": sites.ListedInvitation,
        "locks": sites.ListedLock,
    }
    assert read.keys() == fields.keys()
    for name, kind in fields.items():
        assert set(read[name][0]) == set(kind.__struct_fields__)


def limits() -> dict[str, str]:
    return {row[0]: row[1] for row in table(section("Limits"), "what")}


def test_the_limits_are_those_of_the_code() -> None:
    settings = Settings()
    said = limits()
    expected: dict[str, list[Any]] = {
        "message of a relay": [relay_parts.DATA, relay_parts.MESSAGES],
        "relays a minute": [
            settings.relays_per_minute,
            settings.relays_per_minute * relay_parts.SITE_FACTOR,
        ],
        "relays at once": [relay_parts.OPEN_OF_USER, relay_parts.OPEN_OF_SITE],
        "messages a second on a socket": [settings.messages_per_second],
        "sockets of a user": [settings.sockets_per_user],
        "waiting for a slow reader": [socket.QUEUE // 1024, socket.SLOW],
        "followed locks of a socket": [states.FOLLOWED],
        "connections of a gateway a minute": [gateways.CONNECTIONS[0]],
        "a gateway's messages of one type that change something, in ten minutes": [
            gateways.CHANGES[0]
        ],
        "lists (`site.sync`) of a home in ten minutes": [sites.SYNCS[0]],
        "durable events of a home to one user in a day": [sites.PUSHES[0]],
        "remote rights of a site's members together": [members.GRANTS],
        "tag checks of 7.3 a minute, for each caller and for each lock": [locks.A_MINUTE[0]],
        "members, locks, open invitations of a site": [
            members.MEMBERS,
            members.LOCKS,
            members.INVITATIONS,
        ],
        "life of a guest invitation, of an owner code": [
            sites.GUEST_LIFE_MS // sites.DAY_MS,
            sites.OWNER_LIFE_MS // 3_600_000,
        ],
        "pending joins of an invitation; wrong proofs": [joins.PENDING, joins.WRONG],
        "box of a join; sealed keys": [joins.BOX // 1024, keys.SEALED // 1024],
        "durable events of a user": [heads.EVENT_LIFE_MS // sites.DAY_MS, 1000],
        "audit": [audit.KEPT_MS // sites.DAY_MS],
        "body of a request; message on a socket": [frames.MESSAGE // 1024],
    }
    assert said.keys() == expected.keys()
    for what, numbers in expected.items():
        assert [
            int(one.replace(",", "")) for one in re.findall(r"\d[\d,]*", said[what])
        ] == numbers, what


def test_what_auth_welcome_and_a_checkpoint_carry_is_named() -> None:
    rows = {row[1].strip("`"): row[2] for row in table(section("The gateway's socket"), "from")}
    for field in link.Auth.__struct_fields__:
        assert f"`{field}`" in rows["auth"]
    (sent,) = [
        call.args[1]
        for call in calls("send")
        if text_of(call, 0) == "welcome" and isinstance(call.args[1], ast.Dict)
    ]
    said = {str(key.value) for key in sent.keys if isinstance(key, ast.Constant)}
    assert set(re.findall(r"`([a-z_]+)`", rows["welcome"])) == said
    fields = proof.KnownCheckpoint.__struct_fields__
    assert "{" + ", ".join(fields) + "}" in section("Restore")
    assert "{" + ", ".join((*fields[:-1], "entries", fields[-1])) + "}" in section("Audit").replace(
        "\n", " "
    )


def test_the_page_says_in_its_text_what_the_code_has() -> None:
    assert sites.WANTED == (1, 3600.0)
    assert gateways.HANDSHAKE_SECONDS == 10
    assert gateways.ADMINS_SECONDS == 300
    assert link.TOKEN_SECONDS == 600
    assert socket.SILENCE == 30
    assert (audit.ENTRIES, audit.SECONDS) == (100, 600)
    assert (passwords.SHORTEST, passwords.SHORTEST_ALONE, passwords.LONGEST) == (8, 15, 256)
    assert sessions.COOKIE_IDLE == 12 * 3_600_000
    assert joins.LIFE_MS == 7 * sites.DAY_MS
