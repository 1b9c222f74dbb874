"""One task as the line that the process reads (wire §4). Pure."""

import json
from collections.abc import Callable, Iterator
from functools import lru_cache

from appliance.process.runner import Request
from appliance.process.slices import LARGE, SLICE, Scanner, is_utf8


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_REQUEST = b'{"task_id": %b, "type": %b, "payload": %b, "retry_count": %d, "max_retry": %d, "queue": %b}\n'
_LINE_BREAKS = b"\r\n"
# In ASCII: a process that reads its input in another encoding than UTF-8 still gets the id right.
_quoted = json.encoder.encode_basestring_ascii
# Numbers stay text: only their shape matters here, and int() refuses more than 4,300 digits.
_STRICT = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)
_strict_scan = _STRICT.scan_once  # type: ignore[attr-defined]

GiveWay = Callable[[], None]
#: A line, or the pieces of a large one, to be asked for where ``give_way`` may wait.
Line = bytes | Iterator[bytes]


def encode_request(request: Request, give_way: GiveWay) -> Line:
    """One task as the line the process reads, newline included.

    The payload is spliced in as it came, without its line breaks; ``null`` stands for one that is not
    strict JSON in UTF-8, or is nested deeper than a JSON parser of Python can read.
    """
    if len(request.payload) >= LARGE:
        return _pieces(request, give_way)
    return _line(request, _payload(bytes(request.payload)))


def _line(request: Request, payload: bytes) -> bytes:
    return _REQUEST % (
        _quoted(request.task_id).encode(),
        _known(request.type),
        payload,
        request.retry_count,
        request.max_retry,
        _known(request.queue),
    )


@lru_cache(maxsize=256)
def _known(text: str) -> bytes:
    """The same for texts of which most tasks have one of few."""
    return _quoted(text).encode()


def _payload(payload: bytes) -> bytes:
    try:
        text = payload.decode()
        # Most payloads are one value without blanks around it, and a decoder looks for those twice.
        if not text.startswith("{") or _strict_scan(text, 0)[1] != len(text):
            _STRICT.decode(text)
    except (ValueError, RecursionError, StopIteration):
        return b"null"
    # In valid JSON a raw line break can only stand between tokens, where it means nothing.
    return payload.translate(None, _LINE_BREAKS).strip()


def _pieces(request: Request, give_way: GiveWay) -> Iterator[bytes]:
    """The same of a large payload, of which nothing is made but one slice after the other."""
    if not _is_json(request.payload, give_way):
        yield _line(request, b"null")
        return
    before, after = _line(request, b"\0").split(b"\0")
    yield before
    payload = memoryview(request.payload)
    for start in range(0, len(payload), SLICE):
        yield bytes(payload[start : start + SLICE]).translate(None, _LINE_BREAKS)
    yield after


def _is_json(payload: bytes | memoryview, give_way: GiveWay) -> bool:
    if not is_utf8(payload, give_way):
        return False
    scanner = Scanner(payload, give_way)
    try:
        return scanner.blanks(scanner.skip(scanner.blanks(0))) == len(payload)
    except (ValueError, RecursionError):
        return False
