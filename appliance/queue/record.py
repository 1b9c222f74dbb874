"""Outcomes as they stand in a journal: one line each, whole or worthless. Pure.

A line is a checksum (CRC-32, eight hexadecimal digits), a blank, and a JSON object without line breaks. A
damaged line costs itself only; a last one without its line break was being written when its writer died.
A line may also take outcomes back that stand before it: Redis has answered for them.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any, NamedTuple
from zlib import crc32

from appliance.queue.message import Lease
from appliance.queue.settlement import Archive, Complete, Defer, GiveBack, Retry, Settlement

#: Of the format; a line of another one is not guessed at.
_VERSION = 1
#: What is kept of each kind beside its lease.
_FIELDS: dict[type[Settlement], tuple[str, ...]] = {
    Complete: ("result", "ttl_s", "unique_key"),
    Retry: ("delay_s", "retried", "error_msg", "message"),
    Archive: ("ttl_s", "error_msg", "message"),
    GiveBack: ("reason",),
    Defer: ("delay_s", "reason"),
}
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in _FIELDS}
_BYTES = frozenset({"result", "message"})


class Kept(NamedTuple):
    """One outcome, the Redis it is for (see ``RedisEndpoint.identity``), and since when it waits."""

    redis: str
    settlement: Settlement
    since_wall_s: float


class Contents(NamedTuple):
    """What a journal holds: ``unreadable`` are its damaged lines, ``torn`` a last one never finished."""

    kept: tuple[Kept, ...]
    unreadable: tuple[bytes, ...]
    torn: bytes


def encode(kept: Kept) -> bytes:
    """The line that keeps this outcome."""
    settlement = kept.settlement
    fields = {
        name: _text(getattr(settlement, name)) if name in _BYTES else getattr(settlement, name)
        for name in _FIELDS[type(settlement)]
    }
    about = {"kind": type(settlement).__name__, "redis": kept.redis, "since": kept.since_wall_s}
    return _line({**about, "lease": settlement.lease, "fields": fields})


def encode_done(leases: Iterable[Lease]) -> bytes:
    """The line that takes the outcomes of these leases back."""
    return _line({"done": list(leases)})


def decode(data: bytes) -> Contents:
    """Read a journal, whatever has happened to it."""
    *lines, torn = data.split(b"\n")
    kept: dict[Lease, Kept] = {}
    unreadable = []
    for line in lines:
        try:
            body = _body(line)
            if "done" in body:
                for lease in body["done"]:
                    kept.pop(Lease(*lease), None)
            else:
                read = _kept(body)
                kept[read.settlement.lease] = read
        except (ValueError, KeyError, TypeError):
            unreadable.append(line)
    return Contents(tuple(kept.values()), tuple(unreadable), torn)


def _line(body: dict[str, Any]) -> bytes:
    # Escaped to ASCII, ids that are not UTF-8 survive as they are.
    text = json.dumps({"v": _VERSION, **body}).encode()
    return b"%08x %s\n" % (crc32(text), text)


def _body(line: bytes) -> dict[str, Any]:
    checksum, text = line[:8], line[9:]
    if line[8:9] != b" " or checksum != b"%08x" % crc32(text):
        raise ValueError("the checksum does not match")
    body: dict[str, Any] = json.loads(text)
    if body["v"] != _VERSION:
        raise ValueError("of another version")
    return body


def _kept(body: dict[str, Any]) -> Kept:
    kind = _KINDS[body["kind"]]
    fields = {name: b64decode(value) if name in _BYTES else value for name, value in body["fields"].items()}
    return Kept(body["redis"], kind(lease=Lease(*body["lease"]), **fields), body["since"])


def _text(data: bytes) -> str:
    return b64encode(data).decode()
