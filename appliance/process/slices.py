"""JSON and UTF-8 of any size, looked at in slices without making anything of it. Pure.

A parser makes the value, which takes up to thirty times the memory of its text, and holds up everything
else for as long as that takes. Here nothing is made, and between two slices ``give_way`` lets others have
their turn.

What is accepted is what a JSON parser of Python accepts, but for a number longer than a slice. Most of a
text is read by patterns that know values nested three deep, in runs; only what is nested deeper, or larger
than a slice, is read token by token.
"""

import codecs
import re
from collections.abc import Callable
from typing import Any

#: From how many bytes or characters on a text is looked at in slices.
LARGE = 256 * 1024
#: Bytes or characters between two turns of others: a millisecond or two.
SLICE = 64 * 1024
#: Steps between two turns where each makes little way.
_MOST_STEPS = 200
#: How deep values may be nested: what Python's own parser can read, with room for what calls it.
DEEPEST = 900

_CONTROLS = bytes(range(32))
_BLANKS = r"[ \t\r\n]*+"
# Only repeated single characters are possessive: up to Python 3.11.4 repeated groups that are lose the place.
_CHARACTERS = r'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*'
_STRING = f'"{_CHARACTERS}"'
_NUMBER = r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?"
_SCALAR = rf"(?:{_STRING}|{_NUMBER}|true|false|null)"


def _nested(deep: int) -> str:
    """A value with so many lists and objects in each other."""
    if not deep:
        return _SCALAR
    value = _nested(deep - 1)
    member = f"{_STRING}{_BLANKS}:{_BLANKS}{value}"
    # Behind a comma another follows, behind the last one the end.
    lists, objects = (
        rf"{begin}{_BLANKS}(?:{one}{_BLANKS}(?:,{_BLANKS}(?!{end})|(?={end})))*{end}"
        for begin, one, end in ((r"\[", value, r"\]"), (r"\{", member, r"\}"))
    )
    return f"(?:{_SCALAR}|{lists}|{objects})"


class _Patterns:
    """Of texts, or of bytes. Made when needed first: that takes a while, between turns of others."""

    def __init__(self, compiled: Callable[[str], Any], give_way: Callable[[], None]) -> None:
        value = _nested(3)
        self.blanks = compiled(_BLANKS)
        self.characters = compiled(_CHARACTERS)
        self.quote = compiled('"')
        self.colon = compiled(":")
        self.key = compiled(f"{_BLANKS}{_STRING}{_BLANKS}:")
        # Whole for certain where something follows: a number that ends with a slice may go on.
        self.value = compiled(rf"{value}(?={_BLANKS}[,\]}}])")
        give_way()
        self.elements = compiled(f"(?:{_BLANKS}{value}{_BLANKS},)*")
        give_way()
        self.members = compiled(f"(?:{_BLANKS}{_STRING}{_BLANKS}:{_BLANKS}{value}{_BLANKS},)*")
        give_way()
        self.token = compiled(
            rf'(?P<list>\[)|(?P<object>\{{)|(?P<string>")|(?P<number>{_NUMBER})|(?P<word>true|false|null)'
            r"|(?P<constant>NaN|-?Infinity)"
        )
        self.behind = compiled(rf"{_BLANKS}(?:(?P<comma>,)|(?P<list>\])|(?P<object>\}}))")
        self.ends = {"list": compiled(r"\]"), "object": compiled(r"\}")}


_made: dict[bool, _Patterns] = {}


def _patterns_for(text: Any, give_way: Callable[[], None]) -> _Patterns:
    of_text = isinstance(text, str)
    if of_text not in _made:
        compiled = re.compile if of_text else lambda pattern: re.compile(pattern.encode())
        _made[of_text] = _Patterns(compiled, give_way)
    return _made[of_text]


class Scanner:
    """Finds where values end in one text, which is a string or anything with bytes.

    ``constants`` collects NaN and infinities that stand where a value should; without it they are no JSON.
    """

    def __init__(self, text: Any, give_way: Callable[[], None], constants: list[str] | None = None) -> None:
        self._text = text
        self._patterns = _patterns_for(text, give_way)
        self._give_way = give_way
        self._constants = constants
        self._turn_at = 0
        self._steps = 0

    def skip(self, at: int) -> int:
        """The place behind the value that begins at ``at``.

        Raises ValueError where there is none, RecursionError where it is nested deeper than :data:`DEEPEST`.
        """
        within: list[str] = []
        while True:
            if within:
                at = self._run(at, within[-1])
            kind, at = self._begin(at)
            if kind in self._patterns.ends:
                if len(within) >= DEEPEST:
                    raise RecursionError("nested too deeply")
                within.append(kind)
                continue
            while True:
                if not within:
                    return at
                found = self._patterns.behind.match(self._text, at, at + SLICE)
                if found is None:
                    found = self._match(self._patterns.behind, self.blanks(at))
                at = found.end()
                if found.lastgroup == "comma":
                    break
                if found.lastgroup != within.pop():
                    raise ValueError("what ends is not what began")

    def _run(self, at: int, within: str) -> int:
        """Read what is simple of what a list or object has from here on, and the key of what follows then."""
        run = self._patterns.elements if within == "list" else self._patterns.members
        while (end := run.match(self._text, at, at + SLICE).end()) > at:
            at = end
            self._turn(at)
        if within == "list":
            return self.blanks(at)
        if key := self._patterns.key.match(self._text, at, at + SLICE):
            at = self.blanks(key.end())
        else:
            at = self.blanks(at)
            at = self.blanks(self._string(self._match(self._patterns.quote, at).end()))
            at = self.blanks(self._match(self._patterns.colon, at).end())
        return at

    def _begin(self, at: int) -> tuple[str, int]:
        """Read a value, or the beginning of a list or object that is not empty; returns which, and its end.

        Which is ``list`` or ``object`` for a beginning, and something else for a value.
        """
        self._turn(at)
        simple = self._patterns.value.match(self._text, at, at + SLICE)
        if simple:
            return "", simple.end()
        # Twice as far as a number may go: one that is cut off is seen to be too long.
        found = self._match(self._patterns.token, at, at + 2 * SLICE)
        kind, end = found.lastgroup, found.end()
        if kind == "string":
            return kind, self._string(end)
        if kind == "number" and end - at > SLICE:
            raise ValueError("a number of that length")
        if kind == "constant":
            self._constant(found[0])
        if kind in self._patterns.ends:
            end = self.blanks(end)
            if empty := self._patterns.ends[kind].match(self._text, end):
                return "", empty.end()
        return kind, end

    def _string(self, at: int) -> int:
        """The place behind the string whose first character is at ``at``."""
        while (
            end := self._plain(at) or self._patterns.characters.match(self._text, at, at + SLICE).end()
        ) > at:
            at = end
            self._turn(at)
        return int(self._match(self._patterns.quote, at).end())

    def _plain(self, at: int) -> int:
        """The place of the first quote from ``at`` on, or behind a slice without one.

        0 where a backslash or a control character stands before that: then a pattern must look. Several times
        as fast as that.
        """
        if isinstance(self._text, str):
            return 0
        piece = bytes(self._text[at : at + SLICE]).partition(b'"')[0]
        return 0 if b"\\" in piece or len(piece.translate(None, _CONTROLS)) < len(piece) else at + len(piece)

    def blanks(self, at: int) -> int:
        """The place behind the blanks and line breaks from ``at`` on."""
        while (end := self._patterns.blanks.match(self._text, at, at + SLICE).end()) > at:
            at = end
            self._turn(at)
        return at

    def _constant(self, word: Any) -> None:
        if self._constants is None:
            raise ValueError("NaN and infinities are not JSON")
        self._constants.append(word if isinstance(word, str) else bytes(word).decode())

    def _match(self, pattern: Any, *place: int) -> Any:
        found = pattern.match(self._text, *place)
        if found is None:
            raise ValueError("no JSON")
        return found

    def _turn(self, at: int) -> None:
        self._steps += 1
        if at >= self._turn_at or self._steps >= _MOST_STEPS:
            self._turn_at, self._steps = at + SLICE, 0
            self._give_way()


def is_utf8(data: Any, give_way: Callable[[], None]) -> bool:
    """Whether anything with bytes is UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(data)
    try:
        for start in range(0, len(view), SLICE):
            decoder.decode(view[start : start + SLICE])
            give_way()
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
