"""The project's own check finds what Home Assistant's would: each kind of mistake, made in a copy."""

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from homeassistant.util.yaml import dump, load_yaml_dict

from scripts.checks import INTEGRATION, ROOT, Files, blueprints, scale
from scripts.checks.__main__ import findings, main
from scripts.checks.code import Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXTS = "translations/en.json"
SOURCE = Source.read(INTEGRATION)
type Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the integration's own files and code."""
    folder = tmp_path / INTEGRATION.name
    shutil.copytree(INTEGRATION, folder, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    return folder


def change(folder: Path, name: str, how: Change) -> set[str]:
    """Change a JSON or YAML file, check, and return what is found: file and key."""
    path = folder / name
    if path.suffix == ".json":
        data = json.loads(path.read_text("utf-8"))
        how(data)
        path.write_text(json.dumps(data), "utf-8")
    else:
        data = load_yaml_dict(str(path))
        how(data)
        path.write_text(dump(data), "utf-8")
    return {f"{one.file}: {one.key}" for one in findings(folder, SOURCE)}


def test_the_integration_is_as_hassfest_wants_it() -> None:
    assert [str(one) for one in findings(INTEGRATION)] == []


def test_a_copy_is_as_right_as_the_original(copy: Path) -> None:
    assert findings(copy) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("quality_scale", "gold"),
        ("connectivity", "bluetooth"),
        ("is_built_in", True),
        ("disabled", "too new"),
        ("version", "first"),
        ("documentation", "https://www.home-assistant.io/integrations/igrs_lock"),
        ("documentation", "http://example.com"),
        ("iot_class", "local"),
        ("integration_type", "virtual"),
        ("codeowners", []),
        ("codeowners", ["igrs-lock"]),
        ("domain", "igrs"),
        ("bluetooth", [{"service_data_uuid": "DBB0F1BF"}]),
    ],
)
def test_a_wrong_manifest_is_found(copy: Path, key: str, value: object) -> None:
    found = change(copy, "manifest.json", lambda data: data.update({key: value}))
    assert any(one.startswith(f"manifest.json: {key}") for one in found)


@pytest.mark.parametrize("key", ["version", "iot_class", "issue_tracker", "name", "codeowners"])
def test_a_manifest_that_lacks_something_is_found(copy: Path, key: str) -> None:
    assert f"manifest.json: {key}" in change(copy, "manifest.json", lambda data: data.pop(key))


def test_a_manifest_out_of_order_is_found(copy: Path) -> None:
    def name_last(data: dict[str, Any]) -> None:
        data["name"] = data.pop("name")

    assert any("manifest.json" in one for one in change(copy, "manifest.json", name_last))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("get_log.fields.count.selector", {"numbers": {}}),
        ("get_log.fields.count.selector", {"number": {"min": "one"}}),
        ("get_log.fields.count.description", "How many"),
        ("get_log.fields.count.example", None),
        ("get_log.fields.count.filter", {"supported_features": ["lock.NOTHING"]}),
        ("get_log.fields.extra", {"selector": {"text": None}}),
        ("get_log.fields.more", {"fields": {"count": {"selector": {"text": None}}}}),
        ("get_log.name", "Get log"),
        ("get_log.target", {"entities": []}),
        ("get_nothing", None),
    ],
)
def test_a_wrong_action_is_found(copy: Path, path: str, value: object) -> None:
    assert change(copy, "services.yaml", lambda data: put(data, path, value))


def test_an_action_without_its_description_is_found(copy: Path) -> None:
    path = "services.get_log.fields.count"
    assert f"{TEXTS}: {path}" in change(copy, TEXTS, lambda data: take(data, path))
    assert f"{TEXTS}: services.get_log" in change(
        copy, TEXTS, lambda data: take(data, "services.get_log")
    )


def test_a_word_that_an_action_offers_must_be_translated(copy: Path) -> None:
    path = "selector.kind.options.guest"
    assert f"{TEXTS}: {path}" in change(copy, TEXTS, lambda data: take(data, path))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("config.step.user.description", "See https://example.com/help"),
        ("config.step.user.description", "Look at www.example.com"),
        ("config.step.user.description", "This is <b>bold</b>"),
        ("config.step.user.description", " blank"),
        ("config.step.user.description", ""),
        ("config.step.user.description", "[%key:common::x%]"),
        ("config.step.user.description", "Here is '{name}'"),
        ("config.step.user.description", "Here is {0}"),
        ("config.step.user.description", "Here is {nobody_gives_this}"),
        ("config.step.user.description", "Here is {name"),
        ("config.step.user.help", "Help"),
        ("config.step.reconfigure.title", "What shall be done with {name}?"),
        ("config.step.user.data.nobody_has_this", "Field"),
        ("config.step.user.data_description.nobody_has_this", "Field"),
        ("config.step.nobody_shows_this", {"title": "Step"}),
        ("config.error.nobody_raises_this", "Error"),
        ("config.abort.Loud", "Abort"),
        ("config.abort.two__in_a_row", "Abort"),
        ("config_subentries.person.initiate_flow", {"reconfigure": "Change"}),
        ("config_subentries.person.entry_type", 1),
        ("entity.sensor.signal.state", {"good": "Good {name}"}),
        ("entity.sensor.nobody_has_this", {"name": "Sensor"}),
        ("exceptions.jammed", {}),
        ("exceptions.nobody_raises_this", {"message": "Error"}),
        ("issues.low_battery.fix_flow", {"step": {"confirm": {"title": "Confirm"}}}),
        ("issues.nobody_raises_this", {"title": "Issue", "description": "Issue"}),
        ("issues.log_gap", {"title": "Issue"}),
        ("issues.people_gone.fix_flow.step.init.menu_option_descriptions.nothing", "Nothing"),
        ("services.get_log.fields.count.selector", "Number"),
        ("selector.kind.options.nobody_offers_this", "Word"),
        ("common.nobody_says_this", "Word"),
        ("nonsense", {}),
        ("title", 1),
    ],
)
def test_a_wrong_text_is_found(copy: Path, path: str, value: object) -> None:
    found = change(copy, TEXTS, lambda data: put(data, path, value))
    assert any(one.startswith(f"{TEXTS}: ") for one in found)


@pytest.mark.parametrize(
    "path",
    [
        "config.step.user.data_description.address",
        "config.step.reconfigure.menu_option_descriptions.who",
        "config.step.rename",
        "config.abort.renamed",
        "config.progress.releasing",
        "config_subentries.person.step.pin.menu_options.pin_make",
        "entity.switch.keypad",
        "exceptions.jammed",
        "exceptions.user_not_found",
        "issues.log_gap",
        "issues.removal_pending.title",
        "services.get_log",
    ],
)
def test_a_missing_text_is_found(copy: Path, path: str) -> None:
    (copy / "icons.json").write_text('{"services": {}}', "utf-8")
    before = {str(one) for one in findings(copy, SOURCE)}
    change(copy, TEXTS, lambda data: take(data, path))
    assert {str(one) for one in findings(copy, SOURCE)} - before


def test_another_language_has_the_same_keys_and_placeholders(copy: Path) -> None:
    texts = json.loads((copy / TEXTS).read_text("utf-8"))
    (copy / "translations" / "eo.json").write_text(json.dumps(texts), "utf-8")
    assert findings(copy) == []
    put(texts, "exceptions.jammed.message", "Blokita")
    put(texts, "exceptions.zero", {"message": "Iu"})
    found = change(copy, "translations/eo.json", lambda data: data.update(texts))
    assert found == {
        "translations/eo.json: exceptions.jammed.message",
        "translations/eo.json: exceptions.zero.message",
    }


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("entity.lock.lock.default", "lock"),
        ("entity.lock.lock.default", "mdi:Lock"),
        ("entity.lock.lock.state.locked", "mdi:lock"),
        ("entity.lock.lock.state.nowhere", "mdi:lock-alert"),
        ("entity.sensor.nobody_has_this", {"default": "mdi:lock"}),
        ("entity.lock.lock.icon", "mdi:lock"),
        ("entity.lock.lock.state_attributes", {"changed_by": {"state": {"x": "mdi:lock"}}}),
        ("services.get_nothing", {"service": "mdi:lock"}),
        ("services.get_log", {"service": "mdi:lock", "sections": {"x": "mdi:lock"}}),
    ],
)
def test_a_wrong_icon_is_found(copy: Path, path: str, value: object) -> None:
    found = change(copy, "icons.json", lambda data: put(data, path, value))
    assert any(one.startswith("icons.json: ") for one in found)


def test_an_action_without_an_icon_is_found(copy: Path) -> None:
    found = change(copy, "icons.json", lambda data: take(data, "services.get_log"))
    assert found == {"icons.json: services.get_log"}


@pytest.mark.parametrize(
    "line",
    [
        "from homeassistant.components import history",
        "from homeassistant.components.recorder import get_instance",
        "import homeassistant.components.cloud",
    ],
)
def test_an_integration_that_the_manifest_does_not_name_is_found(copy: Path, line: str) -> None:
    (copy / "sound.py").write_text(f"{line}\n", "utf-8")
    assert [one.key for one in findings(copy)] == ["after_dependencies"]


def test_what_is_imported_for_types_only_needs_no_manifest(copy: Path) -> None:
    (copy / "sound.py").write_text(
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n"
        "    from homeassistant.components import history\n",
        "utf-8",
    )
    assert findings(copy) == []


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("brands", "todo"),
        ("brands", "perfect"),
        ("brands", {"status": "exempt"}),
        ("brands", {"status": "exempt", "comment": "no"}),
        ("brands", {"status": "todo", "comment": "There is no logo yet, it is being drawn."}),
        ("beauty", "done"),
    ],
)
def test_a_rule_without_a_good_status_is_found(copy: Path, rule: str, value: object) -> None:
    found = change(copy, "quality_scale.yaml", lambda data: put(data, f"rules.{rule}", value))
    assert any(one.startswith(f"quality_scale.yaml: rules.{rule}") for one in found)


def test_a_rule_that_is_not_there_is_found(copy: Path) -> None:
    found = change(copy, "quality_scale.yaml", lambda data: take(data, "rules.brands"))
    assert found == {"quality_scale.yaml: rules.brands"}


def test_there_are_fifty_four_rules() -> None:
    assert {tier: len(rules) for tier, rules in scale.RULES.items()} == {
        "bronze": 20,
        "silver": 10,
        "gold": 21,
        "platinum": 3,
    }


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("| `brands` | bronze |", "| `brands` | gold |", "brands"),
        ("| `brands` | bronze | done |", "| `brands` | bronze | exempt |", "brands"),
        ("| `brands` |", "| `beauty` |", "beauty"),
        ("| `brands` |", "| `devices` |", "devices"),
        ("../custom_components/igrs_lock/brand/icon.png", "../no/icon.png", "brands"),
    ],
)
def test_a_wrong_table_of_the_rules_is_found(tmp_path: Path, old: str, new: str, rule: str) -> None:
    (tmp_path / "docs").mkdir()
    for name in (
        "custom_components",
        "README.md",
        "tests",
        "SECURITY.md",
        "scripts",
        "bench",
        "pyproject.toml",
    ):
        (tmp_path / name).symlink_to(ROOT / name)
    for path in (ROOT / "docs").iterdir():
        if path.name != "quality-scale.md":
            (tmp_path / "docs" / path.name).symlink_to(path)
    table = (ROOT / scale.TABLE).read_text("utf-8")
    (tmp_path / scale.TABLE).write_text(table, "utf-8")
    assert list(scale.check_table(Files(INTEGRATION), tmp_path)) == []
    assert old in table
    (tmp_path / scale.TABLE).write_text(table.replace(old, new), "utf-8")
    assert rule in {one.key for one in scale.check_table(Files(INTEGRATION), tmp_path)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  domain: automation", "  domain: script"),
        ("  author: IGRS Lock\n", ""),
        ("min_version: 2026.10.0", "min_version: soon"),
        ("!input guest", "Anna"),
        ("      name: Locks\n", ""),
        ("blob/main/blueprints", "blob/main/other"),
    ],
)
def test_a_wrong_blueprint_is_found(tmp_path: Path, old: str, new: str) -> None:
    folder = tmp_path / "blueprints"
    shutil.copytree(ROOT / "blueprints", folder)
    assert list(blueprints.check(folder)) == []
    path = folder / "automation" / "igrs_lock" / "let_a_guest_in.yaml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    assert list(blueprints.check(folder))


@pytest.mark.parametrize("name", ["manifest.json", TEXTS, "icons.json", "services.yaml"])
def test_a_file_that_cannot_be_read_is_found(copy: Path, name: str) -> None:
    (copy / name).write_text("{", "utf-8")
    assert name in {one.file for one in findings(copy)}


def test_the_command_says_what_is_wrong_and_fails(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["checks", str(copy)])
    assert main() == 0
    (copy / "icons.json").write_text('{"services": {}}', "utf-8")
    assert main() == 1
    assert (
        "icons.json: services.get_log: is missing: give the action an icon"
        in capsys.readouterr().err
    )


def put(data: dict[str, Any], path: str, value: object) -> None:
    """Set a value, by the path to it."""
    *parents, last = path.split(".")
    for key in parents:
        data = data.setdefault(key, {})
    data[last] = value


def take(data: dict[str, Any], path: str) -> None:
    """Remove a value, by the path to it."""
    *parents, last = path.split(".")
    for key in parents:
        data = data[key]
    del data[last]
