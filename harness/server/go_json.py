"""JSON as the server, a Go program, reads and writes it. Pure.

Two things differ from Python and reach a task: a job of a batch stays the very bytes it was sent as,
and the payload of a single task is parsed and written again: keys sorted, every number a double,
``<``, ``>`` and ``&`` escaped.
"""

import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

_BLANKS = re.compile(r"[ \t\r\n]*")
_ESCAPED = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})
#: Numbers from this on, and those below the second, are written with an exponent.
_LARGE, _SMALL = 1e21, 1e-6


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_READ = json.JSONDecoder(parse_constant=_refuse)
_READ_DOUBLES = json.JSONDecoder(parse_int=float, parse_constant=_refuse)


def parse(body: bytes) -> Any:
    """The value. Raises ValueError where it is no JSON; bytes that are no UTF-8 are replaced, as Go does."""
    return _READ.decode(body.decode(errors="replace"))


def members(body: bytes) -> dict[str, bytes]:
    """The members of the object ``body``, each as it was sent."""
    found: dict[str, bytes] = {}

    def member(text: str, at: int) -> int:
        name, at = _READ.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, end = _READ.raw_decode(text, start)
        found[name] = _bytes(text[start:end])
        return end

    _walk(body, member)
    return found


def elements(body: bytes) -> list[bytes]:
    """The elements of the list ``body``, each as it was sent."""
    found: list[bytes] = []

    def element(text: str, at: int) -> int:
        _, end = _READ.raw_decode(text, at)
        found.append(_bytes(text[at:end]))
        return end

    _walk(body, element)
    return found


def text(value: str) -> bytes:
    """A text as JSON."""
    return _utf8(_written(value))


def rewritten(body: bytes) -> bytes:
    """The JSON ``body`` as an object that went through the server; anything else stays as it was sent."""
    value = _READ_DOUBLES.decode(body.decode(errors="replace"))
    if not isinstance(value, dict) or not _representable(value):
        return body
    return _utf8(_written(value))


def _walk(body: bytes, one: Callable[[str, int], int]) -> None:
    """Call ``one`` with the place of each entry of the list or object; it returns where the entry ends."""
    # What is no UTF-8 must come out as it went in.
    text = body.decode(errors="surrogateescape")
    at = _skip(text, _skip(text, 0) + 1)
    while text[at] not in "]}":
        at = _skip(text, one(text, at))
        at = _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _utf8(text: str) -> bytes:
    # Half a surrogate pair has no UTF-8; Go writes the replacement character for it.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _representable(value: Any) -> bool:
    """Whether every number is a finite double; Go refuses others, and the server then sends the text on."""
    if isinstance(value, dict):
        return all(map(_representable, value.values()))
    if isinstance(value, list):
        return all(map(_representable, value))
    return not isinstance(value, float) or math.isfinite(value)


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_written(name)}:{_written(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value, ensure_ascii=False).translate(_ESCAPED)


def _number(value: float) -> str:
    if value and not _SMALL <= abs(value) < _LARGE:
        return re.sub(r"e-0(\d)$", r"e-\1", repr(value))
    digits = format(Decimal(repr(value)), "f")
    return digits.removesuffix(".0")
