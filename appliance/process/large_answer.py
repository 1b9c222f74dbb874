"""An answer of many megabytes, read in slices: nothing is made of it but the bytes of its result. Pure."""

import re
from collections.abc import Callable

from appliance.process.answers import Answer, Members, outcome_of, string_of
from appliance.process.outcome import Succeeded
from appliance.process.slices import Scanner, is_utf8

#: Members of a large answer, at most; the protocol knows five.
MAX_MEMBERS = 1_000
#: How much of a large answer's text that is no result is read, in bytes.
LARGE_TEXT_BYTES = 512 * 1024

#: Members that are read as text.
_SMALL = ("task_id", "error", "retry")
_STRING_BEGINNING = re.compile(r'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')


def large_answer(line: bytearray, give_way: Callable[[], None]) -> Answer | None:
    """The answer that a large line is and nothing else, without a copy of it but the result.

    None where it is anything else: it is then to be read as all kinds of lines are.
    """
    constants: list[str] = []
    try:
        places, constant = _members(line, Scanner(line, give_way, constants), constants)
    except (ValueError, RecursionError):
        return None
    return _answer(line, places, constant, give_way)


def _members(
    line: bytearray, scanner: Scanner, constants: list[str]
) -> tuple[dict[str, tuple[int, int]], str | None]:
    """Where the members of the object are that a line consists of, and NaN or an infinity in its result.

    Raises ValueError where it consists of something else.
    """
    places: dict[str, tuple[int, int]] = {}
    constant = None
    at = scanner.blanks(_behind(line, b"{", scanner.blanks(0)))
    while True:
        start, at = at, scanner.skip(at)
        key = string_of(line[start:at].decode())
        start = scanner.blanks(_behind(line, b":", scanner.blanks(at)))
        constants.clear()
        at = scanner.skip(start)
        places[key] = (start, at)
        if key == "result":
            constant = constants[0] if constants else None
        at = scanner.blanks(at)
        if line[at : at + 1] != b"," or len(places) >= MAX_MEMBERS:
            break
        at = scanner.blanks(at + 1)
    if scanner.blanks(_behind(line, b"}", at)) != len(line):
        raise ValueError("something stands behind it")
    return places, constant


def _behind(line: bytearray, mark: bytes, at: int) -> int:
    if line[at : at + 1] != mark:
        raise ValueError(f"{mark!r} is not there")
    return at + 1


def _answer(
    line: bytearray, places: dict[str, tuple[int, int]], constant: str | None, give_way: Callable[[], None]
) -> Answer | None:
    def text(member: str) -> str:
        start, end = places[member]
        if end - start <= LARGE_TEXT_BYTES:
            return line[start:end].decode(errors="replace")
        # Of a long string the beginning, up to the last character that is whole.
        beginning = line[start : start + LARGE_TEXT_BYTES].decode(errors="ignore")
        whole = _STRING_BEGINNING.match(beginning)
        return f'{whole[0]}"' if whole else beginning

    if "progress" in places and places.keys().isdisjoint(("result", "error")):
        return None
    texts = {member: text(member) for member in places if member in _SMALL}
    if not texts.get("task_id", "").startswith('"'):
        return None
    outcome = outcome_of(Members(texts, constant), is_utf8(line, give_way))
    if isinstance(outcome, Succeeded) and "result" in places:
        start, end = places["result"]
        outcome = Succeeded(bytes(memoryview(line)[start:end]))
    return Answer(string_of(texts["task_id"]), outcome)
