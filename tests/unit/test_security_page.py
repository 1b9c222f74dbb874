"""Every protection that the security page claims is told in one form, and names tests that exist."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
#: The lines of each protection, in this order.
LABELS = ["From whom", "By what", "Does not hold", "Tests"]
_PROTECTION = re.compile(r"^### (.+)\n((?:(?!^##).*\n?)*)", re.MULTILINE)
_LABEL = re.compile(r"^- \*\*([^*]+):\*\* ?((?:(?!^- \*\*|\n\n)[\s\S])*)", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def protections(text: str) -> dict[str, dict[str, str]]:
    """Title → label → what it says."""
    return {title: dict(_LABEL.findall(body)) for title, body in _PROTECTION.findall(text)}


@cache
def named_in(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def problems(title: str, lines: dict[str, str]) -> Iterator[str]:
    if list(lines) != LABELS:
        yield f"{title}: has the lines {list(lines)}, not {LABELS}"
    yield from (f"{title}: {label} says nothing" for label, said in lines.items() if not said.strip())
    named = _TEST.findall(lines.get("Tests", ""))
    if not named:
        yield f"{title}: names no test as `tests/…/test_x.py::test_y`"
    if _TEST.sub("", lines.get("Tests", "")).strip(" \n,"):
        yield f"{title}: there is more than tests in its last line"
    for file, test in named:
        if test not in named_in(ROOT / file):
            yield f"{title}: {file} has no {test}"


CLAIMED = protections(PAGE.read_text())


@pytest.mark.parametrize("title", CLAIMED)
def test_a_protection_is_told_in_four_lines_and_its_tests_exist(title: str) -> None:
    assert not list(problems(title, CLAIMED[title]))


def test_the_page_has_protections() -> None:
    assert len(CLAIMED) > 10


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("- **From whom:** a\n- **By what:** b\n- **Tests:** `tests/unit/test_words.py`\n", "has the lines"),
        (
            "- **From whom:** a\n- **By what:** b\n- **Does not hold:** c\n"
            "- **Tests:** `tests/unit/test_words.py::test_nothing`\n",
            "tests/unit/test_words.py has no test_nothing",
        ),
        (
            "- **From whom:** a\n- **By what:** b\n- **Does not hold:** c\n- **Tests:** see the folder\n",
            "names no test",
        ),
        (
            "- **From whom:** a\n- **By what:**\n- **Does not hold:** c\n- **Tests:** x\n",
            "By what says nothing",
        ),
    ],
)
def test_a_protection_without_its_lines_or_tests_is_found(body: str, why: str) -> None:
    (lines,) = protections(f"### Something\n\n{body}\n## Next\n").values()

    assert any(why in problem for problem in problems("Something", lines))
