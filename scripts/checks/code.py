"""Texts, icons and manifest against the code, which is read and not run.

*Named* by the code is what stands there as a literal or a constant where Home Assistant looks a text up. *Known* is
every word that occurs in it: a text whose key is no word of the code is of no use. Which of the flows needs a text that
several have is left to the integration's own tests.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import voluptuous as vol
from homeassistant.const import Platform

from . import Finding, icons, manifest, shapes, texts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from . import Files

_ERRORS: Final = {"HomeAssistantError", "ServiceValidationError", "refusal"}
_SHOWS: Final[dict[str, tuple[str, ...]]] = {
    "_change": ("abort",),
    "_form": ("step",),
    "_show": ("step",),
    "_async_progress": ("progress",),
}
"""Functions of the integration's flows that show what their first argument names."""
_TELLS: Final = {"async_raise_issue", "_show"}
_BY_HOME_ASSISTANT: Final = {
    # Steps, reasons and texts that its own base classes and dialogs have.
    "already_configured", "already_in_progress", "confirm", "create_entry", "default", "init", "reauth_successful",
    "reconfigure", "reconfigure_successful", "user",
}  # fmt: skip
_LOADED_ANYWAY: Final = {
    # Integrations whose code may be imported without being named in the manifest.
    *(platform.value for platform in Platform), "alert", "automation", "conversation", "default_config",
    "device_automation", "frontend", "group", "homeassistant", "media_source", "persistent_notification",
    "person", "script", "sun", "system_health", "system_log", "timer", "webhook", "websocket_api", "zone",
}  # fmt: skip


@dataclass(frozen=True)
class Named:
    """A text that the code wants: of which kind, its key, and where it is wanted."""

    kind: str
    key: str
    where: str


@dataclass
class Source:
    """What the code says."""

    known: set[str] = field(default_factory=set)
    patterns: list[re.Pattern[str]] = field(default_factory=list)
    named: list[Named] = field(default_factory=list)
    imported: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Integrations of Home Assistant that are imported while it runs, and the modules that do."""

    @classmethod
    def read(cls, folder: Path) -> Source:
        """Read all modules of an integration."""
        source = cls()
        modules = {
            path.relative_to(folder).as_posix(): ast.parse(path.read_text("utf-8"))
            for path in sorted(folder.rglob("*.py"))
        }
        constants: dict[str, set[str]] = defaultdict(set)
        for module in modules.values():
            for node in ast.walk(module):
                match node:
                    case (
                        ast.Assign(
                            targets=[ast.Name(id=name)], value=ast.Constant(value=str(value))
                        )
                        | ast.AnnAssign(
                            target=ast.Name(id=name), value=ast.Constant(value=str(value))
                        )
                    ):
                        constants[name].add(value)
        for name, module in modules.items():
            _Reader(source, name, constants).visit(module)
        return source

    def knows(self, key: str) -> bool:
        """Whether a key is a word of the code, or may be put together there."""
        return (
            key in self.known
            or key in _BY_HOME_ASSISTANT
            or any(pattern.fullmatch(key) for pattern in self.patterns)
        )

    def composes(self, key: str) -> bool:
        """Whether a key consists of parts that the code has, with _ between them."""
        parts = {part for word in self.known if " " not in word for part in _parts(word)}
        ends = [0]  # where a part may begin: behind another one and its _
        for end in range(1, len(key) + 1):
            if (end == len(key) or key[end] == "_") and any(
                key[start:end] in parts for start in ends
            ):
                ends.append(end + 1)
        return ends[-1] == len(key) + 1


def _parts(word: str) -> list[str]:
    return [part.strip("_") for part in re.findall(r"\w+", word)]


class _Reader(ast.NodeVisitor):
    """Collects from one module."""

    def __init__(self, source: Source, module: str, constants: dict[str, set[str]]) -> None:
        self._source = source
        self._module = module
        self._constants = constants

    def _words(self, node: ast.AST | None) -> Iterator[tuple[str, int]]:
        """Yield the texts that an expression may be, as far as they stand there."""
        match node:
            case ast.Constant(value=str(value)):
                yield value, node.lineno
            case ast.Name(id=name) | ast.Attribute(attr=name) if name.isupper():
                for value in sorted(self._constants.get(name, ())):
                    yield value, node.lineno
            case ast.IfExp(body=body, orelse=orelse):
                yield from self._words(body)
                yield from self._words(orelse)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                for item in items:
                    yield from self._words(item)

    def _name(self, kind: str, node: ast.AST | None) -> None:
        for key, line in self._words(node):
            self._source.named.append(Named(kind, key, f"{self._module}:{line}"))

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._source.known.add(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Take what a key may be put together of: a word and something that is not known here."""
        pattern, has_word = "", False
        for part in node.values:
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            words = [word for word, _ in self._words(inner)]
            pattern += (
                "|".join(re.escape(word) for word in words).join(("(?:", ")")) if words else r"\w+"
            )
            has_word |= any(re.fullmatch(r"\w*[a-z]{2}\w*", word) for word in words)
        if has_word:
            self._source.patterns.append(re.compile(pattern))
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring names nothing
            self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for name in node.names:
            self._import(name.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for name in node.names:
            self._import(f"{node.module}.{name.name}")

    def _import(self, name: str) -> None:
        if name.startswith("homeassistant.components."):
            self._source.imported[name.split(".")[2]].add(self._module)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._source.known.add(node.name.removeprefix("async_step_"))
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        known = node.args.args[len(node.args.args) - len(node.args.defaults) :]
        for argument, default in zip(known, node.args.defaults, strict=True):
            if argument.arg == "reason":
                self._name("abort", default)
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for line in node.body:
            match line:
                case ast.Assign(targets=[ast.Name(id="key")], value=value) if node.bases:
                    self._name("exceptions", value)
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant()) if (
                    name.isupper()
                ):
                    self._source.known.add(name.lower())  # a member of an enumeration, told by name
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            match target, node.value:
                case ast.Subscript(value=ast.Name(id="errors")), value:
                    self._name("error", value)
                case ast.Name(id="errors"), ast.Dict(values=values):
                    for value in values:
                        self._name("error", value)
                case (
                    (
                        ast.Name(id="_attr_translation_key")
                        | ast.Attribute(attr="_attr_translation_key")
                    ),
                    value,
                ):
                    self._name("entity", value)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        for keyword in node.keywords:
            self._source.known.add(keyword.arg or "")
            match keyword.arg:
                case "translation_key":
                    self._name(_kind(called), keyword.value)
                case "reason":
                    self._name("abort", keyword.value)
                case "step_id":
                    self._name("step", keyword.value)
                case "progress_action":
                    self._name("progress", keyword.value)
                case "menu_options":
                    self._name("menu_options", keyword.value)
        if called == "refusal" and node.args and isinstance(node.args[0], ast.Constant):
            # Others of the name take a result of the lock's.
            self._name("exceptions", node.args[0])
        if called in _SHOWS and node.args:
            for kind in _SHOWS[called]:
                self._name(kind, node.args[0] if isinstance(node.args[0], ast.Constant) else None)
        for argument in node.args:
            if (
                isinstance(argument, ast.Name)
                and argument.id.startswith("ISSUE_")
                and called in _TELLS
            ):
                self._name("issues", argument)
        if called in {"_register", "async_register"} and len(node.args) > 1:
            self._name("services", node.args[1])
        self.generic_visit(node)


def _kind(called: str) -> str:
    """Return what a translation key in a call is of."""
    if called in _ERRORS or called.endswith("Error"):
        return "exceptions"
    if called.endswith("SelectorConfig"):
        return "selector"
    return "issues" if "issue" in called else "entity"


def check(files: Files, source: Source) -> Iterator[Finding]:
    """Check texts, icons and manifest against the code."""
    yield from _imports(files, source)
    yield from _missing(files, source)
    yield from _idle(files, source)
    named = {one.key for one in source.named if one.kind == "entity"}
    for domain, entities in files.icons.get("entity", {}).items():
        for key in sorted(set(entities) - named):
            yield Finding(
                icons.FILE, f"entity.{domain}.{key}", "is no entity of the code: remove it"
            )


def _imports(files: Files, source: Source) -> Iterator[Finding]:
    depends = {
        *files.manifest.get("dependencies", ()),
        *files.manifest.get("after_dependencies", ()),
    }
    allowed = {*_LOADED_ANYWAY, *depends, str(files.manifest.get("domain"))}
    if "bluetooth_adapters" in depends:
        allowed.add("bluetooth")
    for domain, modules in sorted(source.imported.items()):
        # A platform for another integration is loaded by that one.
        if domain in allowed or (files.folder / f"{domain}.py").is_file():
            continue
        yield Finding(
            manifest.FILE,
            "after_dependencies",
            f"add {domain}, which {', '.join(sorted(modules))} import, here or to the dependencies",
        )


def _have(all_texts: dict[str, Any]) -> dict[str, set[str]]:
    """Return the keys of texts by kind; of flows those of all flows together."""
    have: dict[str, set[str]] = defaultdict(set)
    for kind in ("exceptions", "issues", "services", "selector"):
        have[kind] = set(all_texts.get(kind, {}))
    for _, flow in texts.flows(all_texts):
        for kind in ("abort", "error", "step", "progress"):
            have[kind] |= set(flow.get(kind, {}))
        for step in flow["step"].values():
            have["menu_options"] |= set(step.get("menu_options", {}))
    for entities in all_texts.get("entity", {}).values():
        have["entity"] |= set(entities)
    return have


def _missing(files: Files, source: Source) -> Iterator[Finding]:
    have = _have(files.texts)
    # An entity needs no text when its name is that of its device or its device class.
    drawn = {key for entities in files.icons.get("entity", {}).values() for key in entities}
    have["entity"] |= drawn
    for one in source.named:
        if one.key not in have[one.kind]:
            yield Finding(texts.FILE, f"{one.kind}.{one.key}", f"is missing: {one.where} wants it")


def _idle(files: Files, source: Source) -> Iterator[Finding]:
    for path, value in shapes.leaves(files.texts):
        *_, last = keys = path.split(".")
        # Sentences are put together of more parts than can be followed.
        knows = source.composes if keys[0] == "common" else source.knows
        for key in _keys(keys) if keys[0] != "common" else (last,):
            if not knows(key):
                yield Finding(texts.FILE, path, f"is of no use: the code does not have {key}")
        try:
            names = shapes.placeholders(value)
        except vol.Invalid:
            continue  # told with the texts
        for name in sorted(names):
            if not source.knows(name):
                yield Finding(
                    texts.FILE,
                    path,
                    f"has the placeholder {{{name}}}, which the code does not give",
                )


_OWN_WORDS: Final = {
    # Words of the files' form, and fields of actions, which services.yaml has.
    "abort", "config", "config_subentries", "data", "data_description", "description", "entity", "entry_type",
    "error", "exceptions", "fields", "fix_flow", "flow_title", "initiate_flow", "issues", "menu_options",
    "menu_option_descriptions", "message", "name", "options", "progress", "sections", "selector", "services",
    "state", "state_attributes", "event_type", "step", "submit", "title", "unit_of_measurement", "common", "device",
}  # fmt: skip


def _keys(path: list[str]) -> Iterator[str]:
    """Yield the keys of a path that the code has to know: not those of the file's form."""
    if path[0] == "services":
        return  # services.yaml has them
    for key in path[2:] if path[0] == "entity" else path:
        if key not in _OWN_WORDS:
            yield key
