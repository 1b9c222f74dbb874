"""Everything that the pages tell people to type is claimed by somebody, and nothing else is."""

import re
from pathlib import Path

import pytest

from tests.documentation import blocks
from tests.documentation.ledger import NOT_RUN, RUN

TESTS = Path(__file__).parents[1]
#: How something begins that is meant to be typed.
_TYPED = re.compile(r"^(\$ |make |docker|kubectl |runqy-|pip |git |curl |RUNQY_\w+=)", re.MULTILINE)


def test_every_command_and_every_piece_of_code_is_claimed_once() -> None:
    written = {claim for block in blocks.every() for claim in block.claims}

    assert written - {*RUN, *NOT_RUN} == set(), "nobody claims these: see ledger.py"
    assert {*RUN, *NOT_RUN} - written == set(), "no page has these any more"
    assert set(RUN) & set(NOT_RUN) == set()


def test_who_claims_to_run_something_is_a_test() -> None:
    sources = "".join(path.read_text() for path in TESTS.rglob("test_*.py"))

    assert [name for name in set(RUN.values()) if f"def {name}(" not in sources] == []


def test_what_is_only_shown_is_nothing_to_type() -> None:
    shown = [block for block in blocks.every() if block.language in blocks.SHOWN]

    assert shown
    assert [block for block in shown if _TYPED.search(block.text)] == []


@pytest.mark.parametrize("page", blocks.PAGES, ids=lambda page: str(page.relative_to(blocks.ROOT)))
def test_nothing_to_type_is_indented_instead_of_fenced(page: Path) -> None:
    indented = re.findall(r"\n\n((?: {4}|\t)\S.*)", page.read_text())

    assert [line for line in indented if _TYPED.search(line.strip())] == []


def test_commands_are_found_as_a_shell_would_take_them() -> None:
    text = "```sh\nmake demo    # see it\n# nothing\nrun -a \\\n    -b 'x#y'\n```\n"
    text += "\n```console\n$ ls\nfile\n```\n"

    first, second = blocks.blocks_of(text, "page.md")

    assert (first.line, first.claims, second.claims) == (1, ["make demo", "run -a -b 'x#y'"], ["ls"])


def test_a_block_in_a_language_of_its_own_has_to_be_claimed() -> None:
    (block,) = blocks.blocks_of("```yaml\nkind: Pod\n```\n", "page.md")

    assert block.claims == ["page.md: yaml: kind: Pod"]


def test_a_block_that_is_not_closed_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"page\.md:1"):
        blocks.blocks_of("```sh\nls\n", "page.md")
