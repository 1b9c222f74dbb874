"""Every change of every task, in order and without a gap, from Redis's own append-only file.

Redis writes down what scripts do, command by command, in the order in which it happened: a history no
observer could take from outside, of any worker. A :class:`Clock` that writes the time into Redis
all the while says when.
"""

import contextlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import redis

from harness.background import Background
from harness.evidence.history import Transition
from harness.queue.asynq import PLACES

#: Options of a persistent redis-server whose file is complete: never rewritten.
OPTIONS = ("--auto-aof-rewrite-percentage", "0")
#: Seconds between two notes of the time.
TICK_S = 0.02
#: Seconds without one that are more than a busy machine's everyday lateness.
PAUSE_S = 0.5
#: What was waiting when Redis goes on may be written before the next note of the time: one thing or two of
#: each connection. More than that, and it was the clock that was late.
_BURST = 50

_CLOCK = "harness:clock"
_TICK = """
local now = redis.call('TIME')
redis.call('SET', KEYS[1], now[1] .. '.' .. string.format('%06d', now[2]))
"""
_TASK, _WORKER = "t:", "asynq:workers:"
_STRUCTURES = frozenset({*PLACES, "lease"})
# A blocking move is written down as the plain one it came to.
_MOVES = frozenset({"LMOVE", "RPOPLPUSH"})
_POPS = _MOVES | {"RPOP", "LPOP"}
_ZADD_OPTIONS = frozenset({b"NX", b"XX", b"GT", b"LT", b"CH"})


class Clock(Background):
    """A context manager: inside it, Redis's own time is noted in Redis. Rides out any trouble."""

    def __init__(self, db: redis.Redis) -> None:
        super().__init__("ledger-clock", 10)
        self._db = db

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            with contextlib.suppress(redis.RedisError, OSError):
                self._db.eval(_TICK, 1, _CLOCK)


@dataclass(frozen=True)
class _Seen:
    """A task before something happened to it."""

    fields: Mapping[str, bytes]
    lease_until_s: float | None

    @property
    def state(self) -> str:
        return _text(self.fields.get("state", b""))

    def number(self, name: str) -> int:
        return int(self.fields.get(name) or 0)


class _Queue:
    """One queue's structures, as the commands leave them."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[str, bytes]] = {}
        self.lists: dict[str, list[str]] = {"pending": [], "active": []}
        self.scores: defaultdict[str, dict[str, float]] = defaultdict(dict)

    def seen(self, task_id: str) -> _Seen:
        return _Seen(dict(self.hashes.get(task_id, {})), self.scores["lease"].get(task_id))

    def places(self, task_id: str) -> list[str]:
        found = [place for place in self.lists for entry in self.lists[place] if entry == task_id]
        return found + [place for place in PLACES if task_id in self.scores.get(place, {})]

    def ids(self, name: str, key: str, words: Sequence[bytes]) -> list[str]:
        """The tasks this command is about to change."""
        if key.startswith(_TASK):
            return [key.removeprefix(_TASK)]
        if name in _POPS:
            entries = self.lists[key]
            return entries[-1:] if _from_right(name, words) else entries[:1]
        if name in {"LPUSH", "RPUSH", "ZREM"}:
            return [_text(word) for word in words]
        if name == "LREM":
            return [_text(words[1])]
        if name == "LTRIM":
            kept = set(_trimmed(self.lists[key], words))
            return [entry for entry in self.lists[key] if entry not in kept]
        return [member for member, _ in _scored(words)] if name == "ZADD" else []

    def do(self, name: str, key: str, words: Sequence[bytes]) -> None:
        if key.startswith(_TASK):
            self._change_hash(name, key.removeprefix(_TASK), words)
        elif name in _POPS:
            entry = self.lists[key].pop(-1 if _from_right(name, words) else 0)
            if name in _MOVES:
                target = self.lists[_text(words[0]).partition("}:")[2]]
                target.insert(0 if name != "LMOVE" or words[2].upper() == b"LEFT" else len(target), entry)
        elif name == "LPUSH":
            self.lists[key][:0] = [_text(word) for word in reversed(words)]
        elif name == "RPUSH":
            self.lists[key] += [_text(word) for word in words]
        elif name == "LREM":
            # All the same where in the list it stood: nothing but its being there is judged.
            for _ in range(int(words[0]) or self.lists[key].count(_text(words[1]))):
                self.lists[key].remove(_text(words[1]))
        elif name == "LTRIM":
            self.lists[key] = _trimmed(self.lists[key], words)
        elif name == "ZADD":
            self.scores[key].update(_scored(words))
        elif name == "ZREM":
            for word in words:
                self.scores[key].pop(_text(word), None)

    def _change_hash(self, name: str, task_id: str, words: Sequence[bytes]) -> None:
        fields = self.hashes.setdefault(task_id, {})
        if name in {"HSET", "HMSET"}:
            fields.update(_pairs(words))
        elif name == "HINCRBY":
            fields[_text(words[0])] = b"%d" % (int(fields.get(_text(words[0])) or 0) + int(words[1]))
        elif name == "HDEL":
            for word in words:
                fields.pop(_text(word), None)
        elif name in {"DEL", "UNLINK"}:
            fields.clear()


class Ledger:
    """What :func:`read` found."""

    def __init__(self) -> None:
        self.transitions: list[Transition] = []
        #: Task and places, of tasks that were in none or several of them after a command or script.
        self.misplaced: list[tuple[str, str]] = []
        #: From when until when no time was noted, and next to nothing else: Redis did nothing then, or was
        #: not reached.
        self.pauses: list[tuple[float, float]] = []
        #: When everything was wiped (FLUSHALL), if it was.
        self.wiped_s: list[float] = []
        self._queues: defaultdict[str, _Queue] = defaultdict(_Queue)
        self._workers: dict[str, str] = {}
        self._now_s = 0.0
        self._since_note = 0
        self._undated = 0

    def close(self) -> None:
        """Nothing more comes: put the names workers gave in place of their ids (none: they gave no name).

        Not earlier, since a heartbeat may come later than the first task that is taken.
        """
        named = (replace(each, worker=self._workers.get(each.worker, "")) for each in self.transitions)
        self.transitions = list(named)

    def apply(self, commands: Sequence[Sequence[bytes]]) -> None:
        """Take in what happened at once: a command, or those of one transaction."""
        touched: dict[tuple[str, str], _Seen] = {}
        self._since_note += 1
        for command in commands:
            name = _text(command[0]).upper()
            if name == "FLUSHALL":
                self._queues.clear()
                self.wiped_s.append(self._now_s)
                touched.clear()
            elif len(command) > 1:
                self._effect(name, _text(command[1]), command[2:], touched)
        for (queue, task_id), before in touched.items():
            self._close(queue, task_id, before)

    def _effect(
        self, name: str, key: str, words: Sequence[bytes], touched: dict[tuple[str, str], _Seen]
    ) -> None:
        if key == _CLOCK:
            self._date(float(words[0]))
        elif key.startswith(_WORKER) and name == "HSET":
            instance = _pairs(words).get("instance_id")
            if instance is not None:
                self._workers[key.removeprefix(_WORKER)] = _text(instance)
        name_of_queue, mark, rest = key.removeprefix("asynq:{").partition("}:")
        if not mark or not (rest.startswith(_TASK) or rest in _STRUCTURES):
            return
        queue = self._queues[name_of_queue]
        for task_id in queue.ids(name, rest, words):
            touched.setdefault((name_of_queue, task_id), queue.seen(task_id))
        queue.do(name, rest, words)

    def _date(self, now_s: float) -> None:
        for at in range(self._undated, len(self.transitions)):
            self.transitions[at] = replace(self.transitions[at], before_s=now_s)
        self._undated = len(self.transitions)
        if self._now_s and now_s - self._now_s >= PAUSE_S and self._since_note <= _BURST:
            self.pauses.append((self._now_s, now_s))
        self._now_s, self._since_note = now_s, 0

    def _close(self, queue: str, task_id: str, before: _Seen) -> None:
        task, places = self._queues[queue].seen(task_id), self._queues[queue].places(task_id)
        if not task.state and not before.state:
            return
        if task.state and len(places) != 1:
            self.misplaced.append((task_id, "+".join(places) or "nowhere"))
        if (task.state, task.number("attempt")) == (before.state, before.number("attempt")):
            return
        owner = _text(task.fields.get("owner") or before.fields.get("owner") or b"")
        ends_badly = task.state == "archived" or task.number("retried") > before.number("retried")
        result = _result(task.fields.get("result", b"")) if task.state == "completed" else {}
        self.transitions.append(
            Transition(
                task_id=task_id,
                queue=queue,
                was=before.state,
                state=task.state,
                after_s=self._now_s,
                before_s=math.inf,
                worker=owner,
                attempt=task.number("attempt"),
                lease_until_s=before.lease_until_s,
                charged=before.state == "active" and ends_badly,
                retried=task.number("retried"),
                error=_text(task.fields.get("error_msg", b"")),
                run_id=str(result.get("run", "")),
                digest=str(result.get("digest", "")),
            )
        )


def read(folder: Path) -> Ledger:
    """Read the file of a Redis that was started in ``folder`` with :data:`OPTIONS`, persistent.

    A torn end, as a power cut leaves it, is left out, as Redis does.
    """
    ledger = Ledger()
    transaction: list[list[bytes]] | None = None
    for path in files(folder):
        for command in _commands(path.read_bytes()):
            word = command[0].upper()
            if word == b"MULTI":
                transaction = []
            elif word == b"EXEC":
                ledger.apply(transaction or [])
                transaction = None
            elif transaction is not None:
                transaction.append(command)
            else:
                ledger.apply([command])
    ledger.close()
    return ledger


def files(folder: Path) -> list[Path]:
    """The parts of the append-only file, in order; Redis before 7 has one."""
    parts = [*folder.glob("appendonlydir/*.incr.aof"), *folder.glob("appendonly.aof")]
    return sorted(parts, key=lambda path: [int(word) for word in path.name.split(".") if word.isdigit()])


def _commands(data: bytes) -> Iterator[list[bytes]]:
    at = 0
    while at < len(data):
        if data[at : at + 1] == b"#":  # a note of Redis's own
            at = data.index(b"\n", at) + 1
            continue
        try:
            count, at = _number(data, at)
            words = []
            for _ in range(count):
                length, at = _number(data, at)
                words.append(data[at : at + length])
                at += length + 2
        except ValueError:
            return  # torn
        if at > len(data):
            return
        yield words


def _number(data: bytes, at: int) -> tuple[int, int]:
    end = data.index(b"\r\n", at)
    return int(data[at + 1 : end]), end + 2


def _pairs(words: Sequence[bytes]) -> dict[str, bytes]:
    return {_text(name): value for name, value in zip(words[::2], words[1::2], strict=True)}


def _scored(words: Sequence[bytes]) -> list[tuple[str, float]]:
    rest = list(words)
    while rest and rest[0].upper() in _ZADD_OPTIONS:
        rest.pop(0)
    return [(_text(member), float(score)) for score, member in zip(rest[::2], rest[1::2], strict=True)]


def _from_right(name: str, words: Sequence[bytes]) -> bool:
    return words[1].upper() == b"RIGHT" if name == "LMOVE" else name != "LPOP"


def _trimmed(entries: Sequence[str], words: Sequence[bytes]) -> list[str]:
    """What LTRIM leaves: from one place to another, that included; below zero they count from the end."""
    first, last = (int(word) + (len(entries) if int(word) < 0 else 0) for word in words)
    # A last one that lies before the list leaves nothing of it.
    return list(entries[max(0, first) : max(0, last + 1)])


def _text(word: bytes) -> str:
    return word.decode(errors="surrogateescape")


def _result(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
