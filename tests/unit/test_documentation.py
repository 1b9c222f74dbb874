"""What the pages point to is there."""

import re
from pathlib import Path

import pytest

from harness.scenarios import catalogue

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/*.md", "compose/**/*.md", "examples/**/*.md")
    for page in ROOT.glob(pattern)
)
_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
_ANCHOR = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)#([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
#: Files and folders of ours, as text in backquotes names them.
_NAMED = re.compile(r"`((?:appliance|harness|tests|docs|compose|examples)/[\w./-]*[\w/])(?:::\w+)?`")


def references(page: Path) -> set[Path]:
    text = page.read_text()
    links = {page.parent / target for target in _LINK.findall(text)}
    # A name in backquotes is one of the project, or one beside the page.
    named = {page.parent / name for name in _NAMED.findall(text)}
    return links | {path if path.exists() else ROOT / path.relative_to(page.parent) for path in named}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_files_that_exist(page: Path) -> None:
    missing = [str(path) for path in references(page) if not path.exists()]

    assert not missing


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, as forges make it of them."""
    headings = _HEADING.findall(_CODE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_to_a_heading_finds_it(page: Path) -> None:
    lost = [
        f"{target}#{anchor}"
        for target, anchor in _ANCHOR.findall(page.read_text())
        if (found := page.parent / target if target else page).suffix == ".md"
        and anchor not in anchors(found)
    ]

    assert not lost


def test_a_link_to_no_heading_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Who's `it`, 2?\n\n```\n# none\n```\n")

    assert anchors(page) == {"whos-it-2"}


def test_every_page_of_docs_is_linked_from_the_readme() -> None:
    linked = {path.resolve() for path in references(ROOT / "README.md")}

    assert not {page for page in PAGES if page.parent == ROOT / "docs"} - linked


def test_every_drill_names_the_scenario_that_plays_it() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    drills = re.findall(r"^### Drill: (.+?)$(.+?)(?=^##)", page, re.MULTILINE | re.DOTALL)
    named = {title: re.findall(r"Scenario: `([\w/]+)`", text) for title, text in drills}
    known = {scenario.name for scenario in catalogue.every()}

    assert len(named) >= 4
    assert all(len(names) == 1 and names[0] in known for names in named.values()), named
    played = {name for names in named.values() for name in names}
    assert {name for name in known if name.startswith("drills/")} <= played


def test_a_reference_to_nothing_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a page](nowhere.md), `tests/unit/test_nothing.py` and [the web](https://example.com)")

    assert {path.name for path in references(page)} == {"nowhere.md", "test_nothing.py"}
