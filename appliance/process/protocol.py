"""The lines between worker and task process (wire §4): requests to bytes, bytes to events.

Rules, each of which costs a misbehaving process at most one line and never the channel:

- An answer is a JSON object with a string ``task_id``; a greeting is one with a ``status``. All else
  is output for people (:class:`Noise`).
- Several objects may share a line, and output may stand glued before them. Output behind them makes
  the whole line noise: a log line that quotes an answer must not become one.
- What names its task but cannot be a result (NaN, invalid UTF-8, nested or long beyond the bounds)
  fails that task, at once and for good: the process believes it answered and will not do so again.
- ``result`` is passed on byte for byte, so numbers keep the digits they came with.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from appliance.process.work import Failed, Request, Succeeded

#: Longest line that is read, in bytes; of a longer one only the beginning is looked at.
MAX_LINE_BYTES = 64 * 1024 * 1024
#: How much of an over-long line is kept, in bytes.
HEAD_BYTES = 4096
#: Places in a line at which an answer behind other output is looked for; each may cost a pass over
#: the line, and a hostile one offers millions.
MAX_CANDIDATES = 16

_SPACE = re.compile(r"[ \t\r]*")
_OBJECT_START = re.compile(r'\{[ \t\r]*"(?:task_id|result|error|retry|status)"[ \t\r]*:')
_ID_FIRST = re.compile(r'[ \t\r]*\{[ \t\r]*"task_id"[ \t\r]*:[ \t\r]*("(?:[^"\\]|\\.)*")')
_FALSE = frozenset(("false", "null", "0", "0.0", '""', "[]", "{}"))


@dataclass(frozen=True, slots=True)
class Ready:
    """The process can take tasks."""


@dataclass(frozen=True, slots=True)
class StartError:
    """The process says that it cannot start."""

    text: str


# A tuple, as is whatever is made for every task: a frozen dataclass takes several times as long.
class Answer(NamedTuple):
    """What became of one task."""

    task_id: str
    outcome: Succeeded | Failed


@dataclass(frozen=True, slots=True)
class Noise:
    """Output that is no part of the protocol."""

    text: str


Event = Ready | StartError | Answer | Noise


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_REQUEST = b'{"task_id": %b, "type": %b, "payload": %b, "retry_count": %d, "max_retry": %d, "queue": %b}\n'
_quoted = json.encoder.encode_basestring_ascii
# Numbers stay text: only their shape matters here, and int() refuses more than 4,300 digits.
_STRICT = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)


def encode_request(request: Request) -> bytes:
    """One task as the line the process reads, newline included.

    The payload is spliced in as it came, without its line breaks; ``null`` stands for one that is not
    strict JSON in UTF-8, or is nested deeper than a JSON parser of Python can read.
    """
    return _REQUEST % (
        _quoted(request.task_id).encode(),
        _quoted(request.type).encode(),
        _payload(request.payload),
        request.retry_count,
        request.max_retry,
        _quoted(request.queue).encode(),
    )


def _payload(payload: bytes) -> bytes:
    try:
        text = payload.decode()
        _STRICT.decode(text)
    except (ValueError, RecursionError):
        return b"null"
    # In valid JSON a raw line break can only stand between tokens, where it means nothing.
    return payload.translate(None, b"\r\n").strip()


class Decoder:
    """The standard output of one process, as events. Linear in its input, bounded in memory."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._line = bytearray()
        #: Length of the line so far once it is over-long; ``_line`` is then only its head.
        self._dropped_bytes = 0
        self._constants: list[str] = []
        self._json = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=self._constants.append)

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes; returns what they complete."""
        events: list[Event] = []
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._extend(chunk[start:end])
            events += self._finish_line()
            start = end + 1
        self._extend(chunk[start:])
        return events

    def end(self) -> list[Event]:
        """The output has ended: what is left is a line too."""
        return self._finish_line()

    def _extend(self, piece: bytes) -> None:
        if self._dropped_bytes:
            self._dropped_bytes += len(piece)
            return
        length = len(self._line) + len(piece)
        if length <= self._max_line_bytes:
            self._line += piece
            return
        head_bytes = min(HEAD_BYTES, self._max_line_bytes)
        self._line = self._line[:head_bytes] + piece[: max(0, head_bytes - len(self._line))]
        self._dropped_bytes = length

    def _finish_line(self) -> list[Event]:
        line, dropped_bytes = self._line, self._dropped_bytes
        self._line, self._dropped_bytes = bytearray(), 0
        if dropped_bytes:
            return [self._over_long(line.decode(errors="replace"), dropped_bytes)]
        try:
            text, valid_utf8 = line.decode(), True
        except UnicodeDecodeError:
            text, valid_utf8 = line.decode(errors="replace"), False
        return self._read(text, valid_utf8)

    def _over_long(self, head: str, length: int) -> Event:
        what = f"a line of {length} bytes was dropped: at most {self._max_line_bytes} are read"
        match = _ID_FIRST.match(head)
        if match:
            try:
                return Answer(_string(match[1]), Failed(what, retry=False))
            except ValueError:
                pass  # not a JSON string after all, so nobody's answer
        return Noise(f"{what}; it began with {head[:200]!r}")

    def _read(self, text: str, valid_utf8: bool) -> list[Event]:
        text = text.strip(" \t\r")
        if not text:
            return []
        for start in self._candidates(text):
            found = self._objects(text, start, valid_utf8)
            if found is not None:
                before = text[:start].rstrip(" \t\r")
                return [Noise(before), *found] if before else found
        return [Noise(text)]

    def _candidates(self, text: str) -> Iterator[int]:
        if text.startswith("{"):
            yield 0
        # Looked for only when the one before was none: most lines are an answer and nothing else.
        matches = _OBJECT_START.finditer(text, 1)
        yield from (match.start() for match in islice(matches, MAX_CANDIDATES - text.startswith("{")))

    def _objects(self, text: str, at: int, valid_utf8: bool) -> list[Event] | None:
        """The objects that fill ``text`` from ``at`` to its end; None where anything else stands there."""
        found: list[Event] = []
        while at < len(text):
            if text[at] != "{":
                return None
            try:
                members, at = self._members(text, at)
            except _TooDeep as exc:
                found.append(Answer(exc.task_id, Failed("the answer is nested too deeply", retry=False)))
                return found
            except (ValueError, RecursionError):
                return None
            event = _event(members, valid_utf8)
            if event is None:
                return None
            found.append(event)
            at = _skip(text, at)
        return found

    def _members(self, text: str, at: int) -> tuple["_Members", int]:
        """Read one object; returns its members as JSON text and the place behind it."""
        members = _Members({}, None)
        at = _skip(text, at + 1)
        if text.startswith("}", at):
            return members, at + 1
        while True:
            if not text.startswith('"', at):
                raise ValueError("a key must be a string")
            key, at = self._json.raw_decode(text, at)
            at = _skip(text, at)
            if not text.startswith(":", at):
                raise ValueError("a colon must follow a key")
            start = _skip(text, at + 1)
            self._constants.clear()
            try:
                _, at = self._json.raw_decode(text, start)
            except RecursionError as exc:
                if "task_id" in members.text and key == "result":
                    raise _TooDeep(_string(members.text["task_id"])) from exc
                raise
            if key == "result":
                members.constant = self._constants[0] if self._constants else None
            members.text[key] = text[start:at]
            at = _skip(text, at)
            if text.startswith("}", at):
                return members, at + 1
            if not text.startswith(",", at):
                raise ValueError("a comma must follow a member")
            at = _skip(text, at + 1)


class _TooDeep(Exception):
    """A result nested beyond what can be read, of a task we know."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(task_id)


@dataclass(slots=True)
class _Members:
    """An object's members as JSON text; ``constant`` is NaN or an infinity found in ``result``."""

    text: dict[str, str]
    constant: str | None


def _event(members: _Members, valid_utf8: bool) -> Event | None:
    if members.text.get("task_id", "").startswith('"'):
        return Answer(_string(members.text["task_id"]), _outcome(members, valid_utf8))
    match members.text.get("status"):
        case '"ready"':
            return Ready()
        case '"error"':
            return StartError(_error(members.text) or "no reason given")
    return None


def _outcome(members: _Members, valid_utf8: bool) -> Succeeded | Failed:
    error = _error(members.text)
    if error:
        # Any value counts as its truth would in Python: absent, null, false, 0 and empty are false.
        return Failed(error, retry=members.text.get("retry", "false") not in _FALSE)
    if not valid_utf8:
        return Failed("the answer is not valid UTF-8", retry=False)
    if members.constant is not None:
        return Failed(f"the result holds {members.constant}, which JSON does not have", retry=False)
    return Succeeded(members.text.get("result", "null").encode())


def _error(members: dict[str, str]) -> str:
    """The error as text; empty where there is none. Other JSON than a string is shown as it is."""
    text = members.get("error", "null")
    if text.startswith('"'):
        return _string(text)
    return "" if text == "null" else text


def _string(text: str) -> str:
    """The value of a JSON string; raises ValueError for anything else."""
    if text.startswith('"') and "\\" not in text:
        return text[1:-1]
    value = json.loads(text)
    if not isinstance(value, str):
        raise ValueError(f"{text!r} is not a JSON string")  # noqa: TRY004  bad JSON like any other
    # A lone half of a surrogate pair is a legal escape, but no text: it could not be logged or stored.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _skip(text: str, at: int) -> int:
    if not text.startswith((" ", "\t", "\r"), at):
        return at
    match = _SPACE.match(text, at)
    return match.end() if match else at
