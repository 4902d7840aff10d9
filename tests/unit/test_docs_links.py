"""Every relative link in every Markdown file leads somewhere, also to the heading that it names; no module is left out."""

import re
import subprocess
from collections import Counter
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^(?P<fence>```+|~~~+).*?^(?P=fence)\s*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_HEADING = re.compile(r"^#{1,6} +(?P<text>.+?)(?: +#+)?$", re.MULTILINE)
_LINK = re.compile(
    r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\((?P<target>[^()\s]+(?:\([^()\s]*\))?)(?: \"[^\"]*\")?\)"
)


def documents() -> list[Path]:
    """Return the Markdown files of the checkout: those that git has or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.finditer(_FENCE.sub("", path.read_text("utf-8"))):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading["text"])
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return frozenset(found)


def links(path: Path) -> list[str]:
    """Return the targets of a document's links, without code."""
    text = _CODE.sub("`x`", _FENCE.sub("", path.read_text("utf-8")))
    return [link["target"] for link in _LINK.finditer(text)]


def is_broken(path: Path, target: str) -> bool:
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return False
    name, _, anchor = target.partition("#")
    there = (path.parent / name).resolve() if name else path
    if not there.is_relative_to(ROOT) or not there.exists():
        return True
    return bool(anchor) and (there.suffix != ".md" or anchor not in anchors(there))


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    assert [target for target in links(path) if is_broken(path, target)] == []


def test_links_are_found_at_all() -> None:
    assert len(links(ROOT / "README.md")) > 10
    assert "install-in-home-assistant" in anchors(ROOT / "README.md")


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    path = ROOT / "README.md"
    assert is_broken(path, "docs/nothing.md")
    assert is_broken(path, "docs/limits.md#nothing")
    assert is_broken(path, "#nothing")
    assert is_broken(path, "../elsewhere.md")
    assert not is_broken(path, "https://example.com/nothing")


_STATEMENT = re.compile(
    r"(?:participant|actor) \w+ as .+|Note over \w+(?:,\w+)?: .+|\w+-?->>\w+: .+|(?P<opens>alt|loop|opt) .+|else .+|(?P<ends>end)"
)


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_sequence_is_drawn(path: Path) -> None:
    """What Mermaid refuses most often: a semicolon ends a statement there, and blocks are closed."""
    for drawn in re.findall(
        r"^```mermaid\nsequenceDiagram\n(.*?)^```$",
        path.read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    ):
        depth = 0
        for line in drawn.splitlines():
            statement = _STATEMENT.fullmatch(line.strip())
            assert statement, line
            assert ";" not in line, line
            depth += bool(statement["opens"]) - bool(statement["ends"])
            assert depth >= 0, line
        assert depth == 0


def test_every_module_of_the_integration_is_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    text = text.partition("\n## Inside the integration\n")[2].partition("\n## ")[0]
    own, _, remote = text.partition("\n**The link to a server**")
    package = ROOT / "custom_components" / "igrs_lock"
    for part, folder in ((own, package), (remote, package / "remote")):
        rows = re.findall(r"^\| (`[a-z_*`, ]+`) \|", part, re.MULTILINE)
        names = [name for row in rows for name in re.findall(r"`([a-z_*]+)`", row)]
        modules = [path.stem for path in folder.glob("[!_]*.py")]
        assert [one for one in modules if not any(fnmatch(one, name) for name in names)] == []
        assert [name for name in names if not any(fnmatch(one, name) for one in modules)] == []


def test_every_module_of_the_server_is_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    text = text.partition("\n## Inside the server\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[a-z_*/`, ]+`) \|", text, re.MULTILINE)
    names = [name.rstrip("/") for row in rows for name in re.findall(r"`([a-z_*/]+)`", row)]
    package = ROOT / "addon" / "igrs_ras"
    folders = [path.name for path in package.glob("[!_]*/")]
    modules = [path.stem for path in package.glob("[!_]*.py") if path.stem != "ras"]
    of_api = [f"api/{path.stem}" for path in (package / "api").glob("[!_]*.py")]
    for one in [*modules, *folders]:
        assert any(fnmatch(one, name.partition("/")[0]) for name in names), one
    for name in names:
        assert any(fnmatch(one, name) for one in [*modules, *folders, *of_api]), name


def test_every_document_is_reached_from_the_readme() -> None:
    start = ROOT / "README.md"
    reached, todo = {start}, [start]
    while todo:
        path = todo.pop()
        for target in links(path):
            there = (path.parent / target.partition("#")[0]).resolve()
            if there.suffix == ".md" and there.is_file() and there not in reached:
                reached.add(there)
                todo.append(there)
    docs = {path for path in documents() if path.parent == ROOT / "docs"}
    assert docs - reached == set()
