"""The form of a file of ILP1 vectors: which parts and keys there are, and of what sort.

Nothing may be left out and nothing may be added: a part or key that no implementation knows would
otherwise pass without a look.
"""

import json
from pathlib import Path
from typing import Any, Final

HEX: Final = "hex"
TEXT: Final = "text"
NUMBER: Final = "number"

ACCOUNT: Final = (NUMBER, HEX, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER)


class PossiblyEmpty(list[Any]):
    """A list that may have no entries; all others need one."""


NAMED_PLAIN: Final = [{"name": TEXT, "plain": HEX}]
FORM: Final[dict[str, Any]] = {
    "profile": TEXT,
    "note": TEXT,
    "setup_code": [{"text": TEXT, "bytes": HEX}],
    "device_id": {"bytes": HEX, "text": TEXT},
    "pairing": {
        "client_private": HEX,
        "lock_private": HEX,
        "client_public": HEX,
        "lock_public": HEX,
        "shared": HEX,
        "prk": HEX,
        "lock_key": HEX,
        "lock_confirm": HEX,
        "client_confirm": HEX,
        "messages": (HEX, HEX, HEX, HEX),
    },
    "keys": {
        "lock_key": HEX,
        "controller": HEX,
        "advert": [{"epoch": NUMBER, "key": HEX}],
        "accounts": [{"id": HEX, "text": TEXT, "key": HEX}],
    },
    "advertisements": {
        "paired": [
            {
                "epoch": NUMBER,
                "flags": NUMBER,
                "state": NUMBER,
                "battery": NUMBER,
                "counter": NUMBER,
                "data": HEX,
                "lock_nonce": HEX,
            }
        ],
        "setup_mode": HEX,
        "name": TEXT,
        "advertising_payload": HEX,
        "scan_response": HEX,
        "wrong_tag": HEX,
        "seen": {"data": HEX, "epoch": NUMBER, "time": NUMBER, "seen": HEX},
    },
    "digest": [{"slots": PossiblyEmpty([ACCOUNT]), "digest": HEX}],
    "join": {
        "id": HEX,
        "secret": HEX,
        "client_private": HEX,
        "home_private": HEX,
        "done_key": HEX,
        "done": HEX,
        "update_key": HEX,
        "update_number": HEX,
        "update_person": HEX,
        "update_sealed": HEX,
        "client_public": HEX,
        "home_public": HEX,
        "proof": HEX,
        "shared": HEX,
        "key": HEX,
        "sealed": HEX,
        "box": TEXT,
    },
    "messages": {"challenge_request": HEX, "challenge": HEX, "error_retry": HEX},
    "frames": NAMED_PLAIN,
    "bad_frames": NAMED_PLAIN,
    "sessions": [
        {
            "name": TEXT,
            "account_key": HEX,
            "slot": NUMBER,
            "nonce_source": NUMBER,
            "lock_nonce": HEX,
            "client_nonce": HEX,
            "enc_key": HEX,
            "mac_key": HEX,
            "client_messages": [HEX],
            "lock_messages": [HEX],
            "client_frames": [[HEX]],
            "lock_frames": [[HEX]],
        }
    ],
    "refused": [{"name": TEXT, "message": HEX, "as": TEXT}],
    "fragments": [{"mtu": NUMBER, "message": HEX, "writes": [HEX]}],
}

# `seen` stands inside the advertisements but is a part of its own: locks never make it.
PARTS: Final = (*(key for key in FORM if key not in {"profile", "note"}), "seen")


class FormError(Exception):
    """The file is no file of ILP1 vectors; the text names the place."""


def load(path: Path) -> dict[str, Any]:
    """Read a file of vectors; FormError when it has not exactly the form above."""
    try:
        vectors = json.loads(path.read_text("utf-8"), object_pairs_hook=_no_key_twice)
    except OSError as error:
        raise FormError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise FormError(f"{path}: no JSON: {error}") from None
    _check(vectors, FORM, "file")
    if vectors["profile"] != "ILP1":
        raise FormError("profile is not ILP1")
    return dict(vectors)


def entries(vectors: dict[str, Any], part: str) -> int:
    """Return how many checks a part asks for at least."""
    value = vectors.get(part)
    return len(value) if isinstance(value, list) else 1


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise FormError("a key is there twice")
    return result


def _check(value: Any, form: Any, place: str) -> None:
    if isinstance(form, dict):
        _check_object(value, form, place)
    elif isinstance(form, list):
        if not isinstance(value, list):
            raise FormError(f"{place} is no list")
        if not value and not isinstance(form, PossiblyEmpty):
            raise FormError(f"{place} is empty")
        for number, item in enumerate(value):
            _check(item, form[0], f"{place}[{number}]")
    elif isinstance(form, tuple):
        if not isinstance(value, list) or len(value) != len(form):
            raise FormError(f"{place} is no list of {len(form)}")
        for number, (item, item_form) in enumerate(zip(value, form, strict=True)):
            _check(item, item_form, f"{place}[{number}]")
    elif form == NUMBER:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise FormError(f"{place} is no number")
    elif not isinstance(value, str):
        raise FormError(f"{place} is no text")
    elif form == HEX and not _is_hex(value):
        raise FormError(f"{place} is no lower-case hex")


def _check_object(value: Any, form: dict[str, Any], place: str) -> None:
    if not isinstance(value, dict):
        raise FormError(f"{place} is no object")
    for unknown in value.keys() - form.keys():
        raise FormError(f"{place} has {unknown!r}, which no implementation knows")
    for missing in form.keys() - value.keys():
        raise FormError(f"{place} lacks {missing!r}")
    for key, key_form in form.items():
        _check(value[key], key_form, key if place == "file" else f"{place}.{key}")


def _is_hex(text: str) -> bool:
    return len(text) % 2 == 0 and all(digit in "0123456789abcdef" for digit in text)
