"""Shapes of files, and what a text may be."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Any, Final

import homeassistant.helpers.config_validation as cv
import voluptuous as vol

from . import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY: Final = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
"""A translation key: no two of - and _ in a row, none at the ends."""

_ADDRESS: Final = re.compile(r"(?:\b[a-z0-9]+://|\bwww\.)\S", re.IGNORECASE)
_QUOTED: Final = re.compile(r"'\{\w+\}'")
_REFERENCE: Final = re.compile(r"\[%|%\]")

_HINTS: Final = {
    "not a valid option": "is not known here: remove it, or spell it as Home Assistant does",
    "extra keys not allowed": "is not known here: remove it, or spell it as Home Assistant does",
    "required key not provided": "is missing: add it",
}


def findings(file: str, shape: vol.Schema, data: Any) -> Iterator[Finding]:
    """Yield where data does not have the shape."""
    try:
        shape(data)
    except vol.MultipleInvalid as err:
        for one in err.errors:
            yield Finding(file, _path(one), _HINTS.get(one.msg, one.msg))
    except vol.Invalid as err:
        yield Finding(file, _path(err), err.msg)


def _path(err: vol.Invalid) -> str:
    return ".".join(str(part) for part in err.path)


def key(value: Any) -> str:
    """Take a translation key."""
    if not isinstance(value, str) or not KEY.fullmatch(value):
        raise vol.Invalid("is no translation key: use a-z, 0-9 and single - or _ between them")
    return value


def keyed(value: Any, *, by: Any = key) -> vol.Schema:
    """Return the shape of an object whose keys are translation keys."""
    return vol.Schema({by: value})


def text(value: Any) -> str:
    """Take a text that people read; placeholders are allowed."""
    if not isinstance(value, str):
        raise vol.Invalid("must be a text")
    try:
        cv.string_with_no_html(value)
    except vol.Invalid as err:
        raise vol.Invalid("has HTML in it: use Markdown") from err
    if not value:
        raise vol.Invalid("is empty: write it, or remove the key")
    if value != value.strip():
        raise vol.Invalid("begins or ends with a blank: take it away")
    if _ADDRESS.search(value):
        raise vol.Invalid("has an address in it: give it as a placeholder")
    if _QUOTED.search(value):
        raise vol.Invalid("has a placeholder in single quotes: use no or other quotes")
    if _REFERENCE.search(value):
        raise vol.Invalid("refers to another text: custom integrations have to write it out")
    for name in placeholders(value):
        if not name.isidentifier():
            raise vol.Invalid(f"has the placeholder {{{name}}}, which is no name")
    return value


def plain(value: Any) -> str:
    """Take a text without placeholders."""
    taken = text(value)
    if placeholders(taken):
        raise vol.Invalid("has a placeholder, and nothing fills it here: write it without")
    return taken


def placeholders(value: str) -> set[str]:
    """Return the names in braces; vol.Invalid when the braces do not match."""
    try:
        return {name for _, name, _, _ in string.Formatter().parse(value) if name is not None}
    except ValueError as err:
        raise vol.Invalid(f"has unmatched braces ({err}): double one that is meant") from err


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield the path and the text of every text under a node."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from leaves(value, (*path, str(name)))
    elif isinstance(node, str):
        yield ".".join(path), node


def order(file: str, node: Any, path: tuple[str, ...] = ()) -> Iterator[Finding]:
    """Yield the objects whose keys are not in order."""
    if not isinstance(node, dict):
        return
    names = list(node)
    wrong = next(
        (name for name, right in zip(names, sorted(names), strict=True) if name != right), None
    )
    if wrong is not None:
        yield Finding(file, ".".join((*path, wrong)), "is out of order: sort the keys")
    for name, value in node.items():
        yield from order(file, value, (*path, name))
