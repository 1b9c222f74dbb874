"""Text from outside as text and nothing else: no terminal obeys it, no reader is misled by it. Pure.

Outside is all that is not the worker: tasks, their processes, Redis, the server, git, a program on a port.
What people read of it passes here, in the log and in what commands print. Escaped are controls (C0 with line
breaks, C1, DEL), what changes the direction of text (bidi), what has no width, halves of surrogate pairs, and
what Unicode has not assigned: as Python writes them in a string, so that what stood there can be read.
"""

import json
import re
import unicodedata
from collections.abc import Iterable

#: The characters of JSON that are not ASCII; those inside are all in its texts.
_NOT_ASCII = re.compile(r"[^\x20-\x7e]+")


def plain(text: str) -> str:
    """``text`` on one line, each character of it visible."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_visible(char) else _escaped(char) for char in text)


def plain_lines(lines: Iterable[str]) -> str:
    """``lines``, each of them made :func:`plain`, as one text."""
    return "\n".join(map(plain, lines))


def plain_json(text: str) -> str:
    """JSON without line breaks, with the same escapes as JSON has them: it means what it did."""

    def escaped(match: re.Match[str]) -> str:
        return "".join(char if _is_visible(char) else json.dumps(char)[1:-1] for char in match[0])

    return text if text.isascii() and text.isprintable() else _NOT_ASCII.sub(escaped, text)


def _is_visible(char: str) -> bool:
    # Blanks other than the common one are not printable to Python, and harmless.
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _escaped(char: str) -> str:
    return ascii(char)[1:-1]
