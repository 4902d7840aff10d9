"""quality_scale.yaml, and the table in the documents that says where each rule is met."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import voluptuous as vol

from . import Finding, shapes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from . import Files

FILE: Final = "quality_scale.yaml"
TABLE: Final = "docs/quality-scale.md"

RULES: Final = {
    "bronze": (
        "action-setup", "appropriate-polling", "brands", "common-modules", "config-flow",
        "config-flow-test-coverage", "dependency-transparency", "docs-actions", "docs-conditions",
        "docs-high-level-description", "docs-installation-instructions", "docs-removal-instructions",
        "docs-triggers", "entity-event-setup", "entity-unique-id", "has-entity-name", "runtime-data",
        "test-before-configure", "test-before-setup", "unique-config-entry",
    ),
    "silver": (
        "action-exceptions", "config-entry-unloading", "docs-configuration-parameters",
        "docs-installation-parameters", "entity-unavailable", "integration-owner", "log-when-unavailable",
        "parallel-updates", "reauthentication-flow", "test-coverage",
    ),
    "gold": (
        "devices", "diagnostics", "discovery", "discovery-update-info", "docs-data-update", "docs-examples",
        "docs-known-limitations", "docs-supported-devices", "docs-supported-functions", "docs-troubleshooting",
        "docs-use-cases", "dynamic-devices", "entity-category", "entity-device-class",
        "entity-disabled-by-default", "entity-translations", "exception-translations", "icon-translations",
        "reconfiguration-flow", "repair-issues", "stale-devices",
    ),
    "platinum": ("async-dependency", "inject-websession", "strict-typing"),
}  # fmt: skip
"""The rules of Home Assistant's integration quality scale, by tier."""


def _status(value: Any) -> Any:
    if value == "done":
        return value
    if value == "todo" or (isinstance(value, dict) and value.get("status") == "todo"):
        raise vol.Invalid("is to be done: do it, or say why it does not apply")
    shape = vol.Schema({vol.Required("status"): vol.In(["done", "exempt"]), "comment": str})
    if isinstance(value, dict) and value.get("status") == "exempt":
        shape = shape.extend({vol.Required("comment"): vol.All(str, vol.Length(min=20))})
    return shape(value)


_SHAPE: Final = vol.Schema(
    {
        vol.Required("rules"): {
            vol.Required(rule): _status for tier in RULES.values() for rule in tier
        }
    }
)
_ROW: Final = re.compile(
    r"\| `(?P<rule>[a-z-]+)` \| (?P<tier>\w+) \| (?P<status>\w+) \| (?P<where>.+) \|"
)
_LINK: Final = re.compile(r"\[[^\]]+\]\((?P<target>[^)]+)\)")


def check(files: Files) -> Iterator[Finding]:
    """Check that every rule is there, done or exempt with a reason."""
    yield from shapes.findings(FILE, _SHAPE, files.scale)


def status(files: Files, rule: str) -> str:
    """Return the status of a rule as the file has it."""
    value = files.scale.get("rules", {}).get(rule, "todo")
    return str(value["status"]) if isinstance(value, dict) else str(value)


def check_table(files: Files, root: Path) -> Iterator[Finding]:
    """Check that the table has every rule once, with its tier, its status and a place."""
    path = root / TABLE
    rows = list(_ROW.finditer(path.read_text("utf-8"))) if path.is_file() else []
    seen = [row["rule"] for row in rows]
    tiers = {rule: tier for tier, rules in RULES.items() for rule in rules}
    for rule in sorted(set(tiers) - set(seen)):
        yield Finding(TABLE, rule, "is missing: add a row")
    for row in rows:
        rule = row["rule"]
        if rule not in tiers:
            yield Finding(TABLE, rule, "is no rule of the quality scale: remove the row")
            continue
        if seen.count(rule) > 1:
            yield Finding(TABLE, rule, "is there twice: leave one row")
        if row["tier"] != tiers[rule]:
            yield Finding(TABLE, rule, f"is of the tier {tiers[rule]}")
        if row["status"] != status(files, rule):
            yield Finding(TABLE, rule, f"is {status(files, rule)} in {FILE}")
        targets = [link["target"] for link in _LINK.finditer(row["where"])]
        if row["status"] == "done" and not targets:
            yield Finding(TABLE, rule, "is done: link the file or section where")
        for target in targets:
            if (
                "://" not in target
                and not (path.parent / target.partition("#")[0]).resolve().exists()
            ):
                yield Finding(TABLE, rule, f"links {target}, which does not exist")
