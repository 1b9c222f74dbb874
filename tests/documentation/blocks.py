"""The fenced blocks of the project's pages, and the commands in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "compose/**/*.md", "examples/**/*.md")
    for page in ROOT.glob(pattern)
)
SHELL = {"sh", "console"}
#: Output and pictures: nothing that anybody would type.
SHOWN = {"", "text"}

_FENCE = re.compile(r"^```(?P<language>.*)$")
_COMMENT = re.compile(r"(^|\s)#\s.*$", re.MULTILINE)
_CONTINUED = re.compile(r"\s*\\\n\s*")


@dataclass(frozen=True)
class Block:
    """``page`` is relative to the project, ``line`` that of the opening fence."""

    page: str
    line: int
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """One a line, continued lines joined, comments and a console's output and prompts left out."""
        text = self.text
        if self.language == "console":
            text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
        joined = _CONTINUED.sub(" ", _COMMENT.sub("", text))
        return [line.strip() for line in joined.splitlines() if line.strip()]

    @property
    def claims(self) -> list[str]:
        """What somebody has to claim: each command, or code by where it stands; not what is only shown."""
        if self.language in SHELL:
            return self.commands
        if self.language in SHOWN:
            return []
        return [f"{self.page}: {self.language}: {self.text.partition(chr(10))[0]}"]


def blocks_of(text: str, page: str) -> list[Block]:
    """The blocks of a page's text. Raises ValueError for a fence that is not closed."""
    found: list[Block] = []
    opened: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line.strip())
        if fence is None:
            lines.append(line)
        elif opened is None:
            opened, lines = (number, fence["language"].strip()), []
        else:
            found.append(Block(page, *opened, "\n".join(lines) + "\n"))
            opened = None
    if opened is not None:
        raise ValueError(f"{page}:{opened[0]}: the block is not closed")
    return found


def every() -> list[Block]:
    """All blocks of all pages."""
    return [block for page in PAGES for block in blocks_of(page.read_text(), str(page.relative_to(ROOT)))]


def command(page: str, beginning: str) -> str:
    """The page's one command that begins so, as it is written there."""
    (found,) = {
        each
        for block in every()
        if block.page == page and block.language in SHELL
        for each in block.commands
        if each.startswith(beginning)
    }
    return found


def code(page: str, language: str) -> str:
    """The text of the page's one block in that language."""
    (found,) = (block.text for block in every() if block.page == page and block.language == language)
    return found
