"""Finds many secrets in a line at once, at a cost that does not grow with their number. Pure.

Each form of a secret is known by its first four characters. A line without any of those, which is nearly
every line, is passed by one look at its runs of four. A long form is also known by windows along it: printed
in part, wrapped, or cut by a reader, as much of it is masked as stands there.
"""

from collections.abc import Iterable, Iterator

from appliance.masking.parts import SHORTEST

#: What stands where a secret stood.
MASK = "********"
#: Characters of a window: of an opaque value, whose every piece tells, and of text, which repeats other text.
_WINDOW = 16
_TEXT_WINDOW = 64
#: Windows of one form at most: a longer form has them further apart.
_MOST_WINDOWS = 256
#: Places with the same window that are remembered, each with its own text around it.
_MOST_PLACES = 8

_Start = tuple[str, ...]


class Matcher:
    """Masks the forms it was given; see the module."""

    def __init__(self) -> None:
        # What a text that begins so may be: the lengths, and what of which form stands there.
        self._lengths: dict[_Start, list[int]] = {}
        self._known: dict[str, list[tuple[str, int]]] = {}

    def add(self, forms: Iterable[str]) -> None:
        """Mask these from now on; each has at least :data:`~appliance.masking.parts.SHORTEST` characters."""
        for form in forms:
            for offset, length in _windows(form):
                self._learn(form, offset, length)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where secrets are: begin and end, in order, apart from one another."""
        if not self._lengths or self._lengths.keys().isdisjoint(_starts(text)):
            return []
        found: list[tuple[int, int]] = []
        for at, start in enumerate(_starts(text)):
            for length in self._lengths.get(start, ()):
                # Inside what is masked already nothing more is learned, and growing it again would cost.
                if found and at + length <= found[-1][1]:
                    continue
                for form, offset in self._known.get(text[at : at + length], ()):
                    _join(found, _grown(text, at, length, form, offset))
        return found

    def _learn(self, form: str, offset: int, length: int) -> None:
        window = form[offset : offset + length]
        places = self._known.setdefault(window, [])
        if (form, offset) not in places and len(places) < _MOST_PLACES:
            places.append((form, offset))
        lengths = self._lengths.setdefault(tuple(window[:SHORTEST]), [])
        if length not in lengths:
            lengths.append(length)
            lengths.sort(reverse=True)


def masked(text: str, matchers: Iterable[Matcher]) -> str:
    """``text`` with a mask where any of ``matchers`` finds a secret."""
    spans: list[tuple[int, int]] = []
    for matcher in matchers:
        spans += matcher.spans(text)
    if not spans:
        return text
    joined: list[tuple[int, int]] = []
    for span in sorted(spans):
        _join(joined, span)
    pieces, at = [], 0
    for begin, end in joined:
        pieces += [text[at:begin], MASK]
        at = end
    return "".join((*pieces, text[at:]))


def _starts(text: str) -> Iterator[_Start]:
    return zip(text, text[1:], text[2:], text[3:], strict=False)


def _windows(form: str) -> Iterator[tuple[int, int]]:
    """Offsets and lengths by which ``form`` is known: one for all of it where it is short."""
    is_text = "://" in form or any(map(str.isspace, form))
    width = _TEXT_WINDOW if is_text else _WINDOW
    if len(form) < 2 * width:
        yield 0, len(form)
        return
    last = len(form) - width
    for offset in range(0, last, max(width, last // _MOST_WINDOWS)):
        yield offset, width
    yield last, width


def _grown(text: str, at: int, length: int, form: str, offset: int) -> tuple[int, int]:
    """The span around a window that goes on as the form does."""
    begin, end, behind = at, at + length, offset + length
    while begin and offset and text[begin - 1] == form[offset - 1]:
        begin, offset = begin - 1, offset - 1
    while end < len(text) and behind < len(form) and text[end] == form[behind]:
        end, behind = end + 1, behind + 1
    return begin, end


def _join(spans: list[tuple[int, int]], span: tuple[int, int]) -> None:
    """Add a span, in one with those it touches; it ends behind or begins behind each of them."""
    begin, end = span
    while spans and begin <= spans[-1][1]:
        before = spans.pop()
        begin, end = min(begin, before[0]), max(end, before[1])
    spans.append((begin, end))
