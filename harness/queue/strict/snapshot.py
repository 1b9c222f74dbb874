"""Every key of asynq's layout at one instant, as a strict tool is given it. Reads, judges nothing.

One script reads a whole node: nothing moves between two looks, and scores arrive as the text that a Lua
script of asynq's inspector is given, not as a float a client made of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import redis

#: ARGV[1] is a pattern. Returns Redis's time, and for each key: name, type, milliseconds to live, value.
_READ = """
local found = {redis.call('TIME')}
local read = {
    string = function(key) return redis.call('GET', key) end,
    list = function(key) return redis.call('LRANGE', key, 0, -1) end,
    set = function(key) return redis.call('SMEMBERS', key) end,
    zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
    hash = function(key) return redis.call('HGETALL', key) end,
}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
    local kind = redis.call('TYPE', key).ok
    if kind ~= 'none' then
        found[#found + 1] = {key, kind, redis.call('PTTL', key), read[kind] and read[kind](key) or false}
    end
end
return found
"""
PATTERN = "asynq:*"


@dataclass(frozen=True)
class Entry:
    """One key. What its ``kind`` has is set: ``text``, ``items`` (lists and sets), ``scores`` or ``fields``.

    ``ttl_s`` is None for one that lives for ever.
    """

    kind: str
    ttl_s: float | None = None
    text: bytes = b""
    items: tuple[str, ...] = ()
    scores: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """All keys, and Redis's time (unix seconds) when they were read."""

    now_s: float
    keys: Mapping[str, Entry]


def take(db: Any) -> Snapshot:
    """Read ``db``, a client that answers in bytes; of a cluster each master, at an instant for each."""
    answers = [node.eval(_READ, 0, PATTERN) for node in _nodes(db)]
    times = [int(seconds) + int(micros) / 1e6 for (seconds, micros), *_ in answers]
    keys = {
        _text(name): _entry(_text(kind), ttl_ms, value)
        for _, *found in answers
        for name, kind, ttl_ms, value in found
    }
    return Snapshot(max(times), keys)


def _nodes(db: Any) -> Iterable[Any]:
    if not isinstance(db, redis.RedisCluster):
        return [db]
    cluster: Any = db  # whose methods have no types
    return [cluster.get_redis_connection(node) for node in cluster.get_primaries()]


def _entry(kind: str, ttl_ms: int, value: Any) -> Entry:
    ttl_s = ttl_ms / 1000 if ttl_ms >= 0 else None
    match kind:
        case "string":
            return Entry(kind, ttl_s, text=value)
        case "list" | "set":
            return Entry(kind, ttl_s, items=tuple(map(_text, value)))
        case "zset":
            return Entry(kind, ttl_s, scores={_text(item): _text(score) for item, score in _pairs(value)})
        case "hash":
            return Entry(kind, ttl_s, fields={_text(name): each for name, each in _pairs(value)})
        case _:
            return Entry(kind, ttl_s)


def _pairs(flat: list[bytes]) -> Iterable[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")
