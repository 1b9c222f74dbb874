"""What the pages point to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/*.md", "compose/**/*.md", "examples/**/*.md")
    for page in ROOT.glob(pattern)
)
_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
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


def test_every_page_of_docs_is_linked_from_the_readme() -> None:
    linked = {path.resolve() for path in references(ROOT / "README.md")}

    assert not {page for page in PAGES if page.parent == ROOT / "docs"} - linked


def test_a_reference_to_nothing_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a page](nowhere.md), `tests/unit/test_nothing.py` and [the web](https://example.com)")

    assert {path.name for path in references(page)} == {"nowhere.md", "test_nothing.py"}
