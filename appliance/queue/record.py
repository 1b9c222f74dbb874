"""Outcomes as they stand in a journal: one sealed line each, whole or worthless. Pure.

A line holds (see :mod:`appliance.queue.seal`) a JSON object without line breaks, of exactly one shape. A
damaged line costs itself only; a last one without its line break was being written when its writer died.
A line may also take outcomes back that stand before it: Redis has answered for them.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any, NamedTuple

from appliance.queue.message import Lease
from appliance.queue.seal import Broken, Seal
from appliance.queue.settlement import Archive, Complete, Defer, Retry, Return, Settlement
from appliance.shape import FINITE, TEXT, Kind, Shape, misfit, whole
from appliance.values import value_class

#: Damaged lines of which it is said what is wrong: the first ones.
MOST_REASONS = 5


#: Characters that are encoded or decoded in one go: nothing else runs in Python meanwhile, in no thread.
_PIECE = 3 * 4 * 65_536


def _is_base64(value: Any) -> bool:
    try:
        return isinstance(value, str) and (bool(_bytes(value)) or not value)
    except ValueError:
        return False


def _bytes(text: str) -> bytes:
    pieces = (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
    return b"".join(b64decode(piece, validate=True) for piece in pieces)


_BLOB = Kind("base64", _is_base64)
_COUNT = whole(2**31 - 1)
#: What is kept of each kind beside its lease.
_FIELDS: dict[type[Settlement], dict[str, Shape]] = {
    Complete: {"result": _BLOB, "ttl_s": FINITE, "unique_key": TEXT},
    Retry: {"delay_s": FINITE, "retried": _COUNT, "error_msg": TEXT, "message": _BLOB, "crashes": _COUNT},
    Archive: {"ttl_s": FINITE, "error_msg": TEXT, "message": _BLOB, "crashes": _COUNT},
    Return: {"reason": TEXT},
    Defer: {"delay_s": FINITE, "reason": TEXT},
}
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in _FIELDS}
_LEASE = Kind(
    "a list of four texts",
    lambda value: isinstance(value, list) and len(value) == 4 and all(isinstance(one, str) for one in value),
)
_KIND = Kind(f"one of {', '.join(_KINDS)}", lambda value: isinstance(value, str) and value in _KINDS)
_OUTCOME: Shape = {
    "kind": _KIND,
    "redis": TEXT,
    "since": FINITE,
    "lease": _LEASE,
    "fields": Kind("an object", lambda value: isinstance(value, dict)),
}
_DONE: Shape = {"done": [_LEASE]}


class Kept(NamedTuple):
    """One outcome, the Redis it is for (see ``RedisEndpoint.identity``), and since when it waits."""

    redis: str
    settlement: Settlement
    since_wall_s: float


@value_class
class Contents:
    """What a journal holds.

    ``damaged`` counts lines that no worker can read, ``reasons`` says what is wrong with the first of them;
    ``other_key`` counts lines of workers with another API key. ``torn_bytes`` is the length of a last
    line that was never finished. ``places`` are where the lines of ``kept`` are, by lease, and ``unread``
    where lines are that are damaged or of another key: the first byte, and the one behind.
    """

    kept: tuple[Kept, ...] = ()
    damaged: int = 0
    reasons: tuple[str, ...] = ()
    other_key: int = 0
    torn_bytes: int = 0
    places: Mapping[Lease, tuple[int, int]] = field(default_factory=dict, compare=False)
    unread: tuple[tuple[int, int], ...] = field(default=(), compare=False)


def least_bytes(kept: Kept) -> int:
    """How many bytes the line of an outcome has at least."""
    blobs = [name for name, shape in _FIELDS[type(kept.settlement)].items() if shape is _BLOB]
    return sum(4 * len(getattr(kept.settlement, name)) // 3 for name in blobs)


def encode(kept: Kept, seal: Seal) -> bytes:
    """The line that keeps this outcome."""
    settlement = kept.settlement
    fields = {
        name: _text(getattr(settlement, name)) if shape is _BLOB else getattr(settlement, name)
        for name, shape in _FIELDS[type(settlement)].items()
    }
    about = {"kind": type(settlement).__name__, "redis": kept.redis, "since": kept.since_wall_s}
    return _line({**about, "lease": settlement.lease, "fields": fields}, seal)


def encode_done(leases: Iterable[Lease], seal: Seal) -> bytes:
    """The line that takes the outcomes of these leases back."""
    return _line({"done": list(leases)}, seal)


def decode(lines: Iterable[bytes], seal: Seal) -> Contents:
    """Read a journal by its lines, each with its line break, whatever has happened to it."""
    kept: dict[Lease, Kept] = {}
    damaged = other_key = torn_bytes = 0
    reasons: list[str] = []
    places: dict[Lease, tuple[int, int]] = {}
    unread: list[tuple[int, int]] = []
    end = 0
    for position, line in enumerate(lines, 1):
        start, end = end, end + len(line)
        if not line.endswith(b"\n"):
            torn_bytes = len(line)
            break
        opened = seal.open(line[:-1])
        if opened is Broken.OTHER_KEY:
            other_key += 1
            unread.append((start, end))
            continue
        problem = "it is damaged, or no worker has written it"
        if isinstance(opened, bytes):
            before = len(kept)
            problem = _take(opened, kept)
            if len(kept) > before:
                places[next(reversed(kept))] = (start, end)
        if problem:
            damaged += 1
            unread.append((start, end))
            reasons += [f"line {position}: {problem}"][: MOST_REASONS - len(reasons)]
    return Contents(
        tuple(kept.values()), damaged, tuple(reasons), other_key, torn_bytes, places, tuple(unread)
    )


def _line(body: dict[str, Any], seal: Seal) -> bytes:
    # Escaped to ASCII, ids that are not UTF-8 survive as they are.
    return seal.close(json.dumps(body).encode())


def _take(text: bytes, kept: dict[Lease, Kept]) -> str:
    """Do what the line says to ``kept``; returns what is wrong with it, empty where nothing is."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as exc:
        return f"it is not JSON: {exc}"
    if isinstance(body, dict) and "done" in body:
        if problem := misfit(body, _DONE, exact=True):
            return problem
        for lease in body["done"]:
            kept.pop(Lease(*lease), None)
        return ""
    if problem := misfit(body, _OUTCOME, exact=True):
        return problem
    kind, fields = _KINDS[body["kind"]], body["fields"]
    if problem := misfit(fields, _FIELDS[kind], "it.fields", exact=True):
        return problem
    values = {
        name: _bytes(fields[name]) if shape is _BLOB else fields[name]
        for name, shape in _FIELDS[kind].items()
    }
    lease = Lease(*body["lease"])
    kept[lease] = Kept(body["redis"], kind(lease=lease, **values), body["since"])
    return ""


def _text(data: bytes) -> str:
    pieces = (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
    return b"".join(map(b64encode, pieces)).decode()
