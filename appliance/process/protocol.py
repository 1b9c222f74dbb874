"""The lines of the task process (wire §4): bytes to events. Pure.

Rules, each of which costs a misbehaving process at most one line and never the channel:

- An answer is a JSON object with a string ``task_id``; a greeting is one with a ``status``. All else
  is output for the log (:class:`Noise`), a ``progress`` without ``result`` and ``error`` too.
- Several objects may share a line, and other output may stand before or behind them: another thread
  printed, or a library that colours lines did. What cannot be seen (escape sequences, control characters,
  blanks) is as good as nothing. Visible output on *both* sides makes an object noise, unless it is glued to
  both: a log line that quotes an answer must not become one. So does what only stands behind a part of a
  larger JSON text.
- What names its task but cannot be a result (NaN, invalid UTF-8, nested or long beyond the bounds)
  fails that task, at once and for good: the process believes it answered and will not do so again.
- ``result`` is passed on byte for byte, so numbers keep the digits they came with.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from appliance.process.answers import Answer, Event, Members, Noise, event_of, string_of
from appliance.process.large_answer import large_answer
from appliance.process.outcome import Failed, Succeeded
from appliance.process.slices import LARGE, SLICE, Scanner

#: Longest line that is read unless told otherwise, in bytes; of a longer one only the beginning is looked at.
MAX_LINE_BYTES = 64 * 1024 * 1024
#: How much of an over-long line is kept, in bytes.
HEAD_BYTES = 4096
#: Places in a line at which an answer behind other output is looked for; each may cost a pass over
#: the line, and a hostile one offers millions.
MAX_CANDIDATES = 16
#: Longest beginning of an object that is looked for, where blanks may stand in it.
_MOST_START_CHARS = 1_000

_SPACE = re.compile(r"[ \t\r]*")
_OBJECT_START = re.compile(r'\{[ \t\r]*"(?:task_id|result|error|retry|status)"[ \t\r]*:')
_ID_FIRST = re.compile(r'[ \t\r]*\{[ \t\r]*"task_id"[ \t\r]*:[ \t\r]*("(?:[^"\\]|\\.)*")')
#: An answer as JSON encoders write it, up to its result and behind that: all that most lines are.
_PLAIN_HEAD = re.compile(r'\{"task_id": ?"([^"\\\x00-\x1f]*)", ?"result": ?')
_PLAIN_TAIL = re.compile(r'(?:, ?"error": ?null)?(?:, ?"retry": ?false)?\}\r?')
#: Any run of what no terminal shows: escape sequences, control characters, blanks, marks without a width.
_INVISIBLE = re.compile(
    r"(?:\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\^_]"
    r"|[\s\x00-\x1a\x7f-\x9f\u200b-\u200f\u2060\ufeff]++|\x1b)*+"
)
#: What stands right before and behind an object that is quoted, or a part of something larger.
_OPENING, _CLOSING = frozenset("[{(<,:;='\"`"), frozenset("]})>,:;='\"`")


class Decoder:
    """The standard output of one process, as events. Linear in its input, bounded in memory."""

    def __init__(
        self, max_line_bytes: int = MAX_LINE_BYTES, give_way: Callable[[], None] = lambda: None
    ) -> None:
        self._max_line_bytes = max_line_bytes
        self._give_way = give_way
        self._line = bytearray()
        #: Length of the line so far once it is over-long; ``_line`` is then only its head.
        self._dropped_bytes = 0
        self._constants: list[str] = []
        self._json = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=self._constants.append)
        # What raw_decode calls, but with StopIteration where there is no value.
        self._scan = self._json.scan_once  # type: ignore[attr-defined]

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes; returns what they complete."""
        events: list[Event] = []
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            # What began in an earlier chunk is rare: a pipe mostly has whole lines.
            answer = None if self._line or self._dropped_bytes else self._plain_answer(line)
            if answer is not None:
                events.append(answer)
            else:
                self._extend(line)
                events += self._finish_line()
        if rest:
            self._extend(rest)
        return events

    def end(self) -> list[Event]:
        """The output has ended: what is left is read as a line."""
        return self._finish_line()

    def _plain_answer(self, line: bytes) -> Answer | None:
        """What :meth:`_read` would say, where that takes no closer look; else None."""
        try:
            text = line.decode()
            head = _PLAIN_HEAD.match(text)
            if head is None or len(line) > self._max_line_bytes:
                return None
            start = head.end()
            self._constants.clear()
            _, end = self._scan(text, start)
        except (ValueError, RecursionError, StopIteration):
            return None
        if self._constants or not _PLAIN_TAIL.fullmatch(text, end):
            return None
        return Answer(head[1], Succeeded(text[start:end].encode()))

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
        if len(line) >= LARGE and (answer := large_answer(line, self._give_way)):
            return [answer]
        try:
            text, valid_utf8 = line.decode(), True
        except UnicodeDecodeError:
            text, valid_utf8 = line.decode(errors="replace"), False
        return self._read(text, valid_utf8)

    def _over_long(self, head: str, length: int) -> Event:
        what = (
            f"a line of {length} bytes was dropped: at most {self._max_line_bytes} are read "
            "(RUNQY_MAX_RESULT)"
        )
        # The SDK writes the id first, so the head is enough to fail the right task.
        match = _ID_FIRST.match(head)
        if match:
            try:
                return Answer(string_of(match[1]), Failed(what, retry=False))
            except ValueError:
                pass  # not a JSON string after all, so it names no task
        return Noise(f"{what}; it began with {head[:200]!r}")

    def _read(self, text: str, valid_utf8: bool) -> list[Event]:
        text = text.strip(" \t\r")
        if not text:
            return []
        if text.startswith("{"):
            group = self._objects(text, 0, valid_utf8)
            # Most lines are an answer and nothing else.
            if group.events and group.end == len(text):
                return group.events
        return self._search(text, valid_utf8)

    def _search(self, text: str, valid_utf8: bool) -> list[Event]:
        """Tell objects from what stands around them."""
        events: list[Event] = []
        start = at = failures = 0
        while failures < MAX_CANDIDATES and (at := self._next_candidate(text, at)) >= 0:
            group = self._objects(text, at, valid_utf8)
            if group.events and _stands_free(text, start, at, group):
                events += [*_noise(text[start:at]), *group.events]
                start = group.end
            else:
                failures += 1
            at = max(group.end, at + 1)
        return [*events, *_noise(text[start:])]

    def _objects(self, text: str, at: int, valid_utf8: bool) -> "_Group":
        """The events that stand in ``text`` one after the other from ``at`` on."""
        group = _Group([], at, True)
        while (at := _skip(text, at)) < len(text) and text[at] == "{":
            start = at
            try:
                members, at = self._members(text, at)
            except _TooDeep as exc:
                group.events.append(
                    Answer(exc.task_id, Failed("the answer is nested too deeply", retry=False))
                )
                group.end = len(text)
                break
            except (ValueError, RecursionError):
                break
            # What else the line holds may be of another program, in another encoding.
            event = event_of(members, valid_utf8 or "\ufffd" not in text[start:at])
            if event is None:
                break
            group.end = at
            group.events.append(event)
            group.says_something &= not members.text.keys().isdisjoint(("result", "error", "status"))
        return group

    def _members(self, text: str, at: int) -> tuple["Members", int]:
        """Read one object; returns its members as JSON text and the place behind it."""
        members = Members({}, None)
        at = _skip(text, at + 1)
        if text.startswith("}", at):
            return members, at + 1
        while True:
            if not text.startswith('"', at):
                raise ValueError("a key must be a string")
            key, at = self._key(text, at)
            at = _skip(text, at)
            if not text.startswith(":", at):
                raise ValueError("a colon must follow a key")
            start = _skip(text, at + 1)
            self._constants.clear()
            try:
                at = self._skip_value(text, start)
            except RecursionError as exc:
                if "task_id" in members.text and key == "result":
                    raise _TooDeep(string_of(members.text["task_id"])) from exc
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

    def _key(self, text: str, at: int) -> tuple[str, int]:
        if len(text) - at < LARGE:
            key, end = self._json.raw_decode(text, at)
            return key, end
        end = self._skip_value(text, at)
        return string_of(text[at:end]), end

    def _skip_value(self, text: str, at: int) -> int:
        """The place behind the value that begins at ``at``."""
        # Of a value in a large text it is not known how large it is.
        if len(text) - at >= LARGE:
            return Scanner(text, self._give_way, self._constants).skip(at)
        return self._json.raw_decode(text, at)[1]

    def _next_candidate(self, text: str, at: int) -> int:
        """Where the next object may begin; -1 for nowhere."""
        if at == 0 and text.startswith("{"):
            return 0
        # With some of the next slice: a beginning may lie across.
        for start in range(at, len(text), SLICE):
            if match := _OBJECT_START.search(text, start, start + SLICE + _MOST_START_CHARS):
                return match.start()
            if len(text) >= LARGE:
                self._give_way()
        return -1


class _TooDeep(Exception):
    """A result nested beyond what can be read, of a task we know."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(task_id)


@dataclass(slots=True)
class _Group:
    """Events that stand one after the other, up to ``end``; ``says_something``: each has more than an id."""

    events: list[Event]
    end: int
    says_something: bool


def _stands_free(text: str, start: int, at: int, group: _Group) -> bool:
    """Whether a group of objects is what it seems, given the rest of ``text`` (from ``start`` on)."""
    end = group.end
    if _INVISIBLE.fullmatch(text, end):
        return True
    if text[_end_of_invisible(text, end)] in _CLOSING or not group.says_something:
        return False
    if _INVISIBLE.fullmatch(text, start, at):
        return True
    # Two other threads printed, one just before and one just behind: a quotation looks different.
    return not (text[at - 1].isspace() or text[at - 1] in _OPENING or text[end].isspace())


def _end_of_invisible(text: str, at: int) -> int:
    match = _INVISIBLE.match(text, at)
    return match.end() if match else at


def _noise(text: str) -> list[Event]:
    return [] if _INVISIBLE.fullmatch(text) else [Noise(text.strip(" \t\r"))]


def _skip(text: str, at: int) -> int:
    if not text.startswith((" ", "\t", "\r"), at):
        return at
    match = _SPACE.match(text, at)
    return match.end() if match else at
