"""Finds a task in the Redis servers of the configured queues and reads all that is known of it."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from appliance.commands.explain.facts import TaskFacts, WorkerFacts
from appliance.config.settings import Settings
from appliance.control.contract import RedisEndpoint, Registration
from appliance.control.contracts import read_contracts
from appliance.errors import QueueRejected, TaskUndecodable
from appliance.queue import keys, scripts
from appliance.queue.connection import Connection, check
from appliance.queue.message import Task, parse
from appliance.queue.opening import open_connection
from appliance.queue.settlement import Policy
from appliance.values import value_class

#: Entries of a list that are looked through for the task; Redis takes about a millisecond for so many.
SEARCHED = 100_000
#: Most workers that are looked at, the most recent first.
MOST_WORKERS = 1_000
#: Seconds without a beat after which a worker counts as dead (wire §6).
STALE_S = 30
#: How much of a value that does not fit is shown.
_SHOWN_CHARS = 60

#: What the hash's fields are called in the order in which ``inspect.lua`` returns them.
_FIELDS = [
    "state",
    "attempt",
    "owner",
    "msg",
    "retried",
    "pending_since",
    "ttl_completed",
    "ttl_archived",
    "pending_timeout",
    "active_timeout",
    "type",
    "payload",
    "retry",
    "max_retry",
    "timeout",
    "deadline",
    "error_msg",
    "last_failed_at",
    "completed_at",
    "crashes",
]
_PLACES = ("pending", "active", "scheduled", "retry", "completed", "archived")


@value_class
class Found:
    """The task in every queue that has one of that id, the queues that were looked in, and what in Redis
    could not be read because it is of another kind than it should be, a line each."""

    tasks: tuple[TaskFacts, ...]
    searched: tuple[str, ...]
    unreadable: tuple[str, ...] = ()


def find(settings: Settings, task_id: str) -> Found:
    """Look for the task; reads only.

    Raises :class:`~appliance.errors.RegistrationError` where the server does not tell where Redis is, and
    :class:`~appliance.errors.QueueError` where that does not answer.
    """
    contracts: dict[RedisEndpoint, list[Registration]] = {}
    for contract in read_contracts(settings):
        contracts.setdefault(contract.redis, []).append(contract)
    tasks: list[TaskFacts] = []
    searched: list[str] = []
    unreadable: list[str] = []
    for endpoint, registrations in contracts.items():
        with closing(open_connection(endpoint, "runqy-appliance:explain")) as connection:
            reader = _Reader(connection, settings, registrations)
            searched += (queues := reader.queues(task_id))
            tasks += reader.read(task_id, queues)
            unreadable += reader.unreadable
    return Found(tuple(tasks), tuple(dict.fromkeys(searched)), tuple(unreadable))


class _Reader:
    """Reads from one Redis."""

    def __init__(
        self, connection: Connection, settings: Settings, registrations: Sequence[Registration]
    ) -> None:
        self._connection = connection
        #: What Redis refused to read, a line each.
        self.unreadable: list[str] = []
        self._strict = settings.worker.queue_strategy == "strict"
        self._policy = Policy(settings.retry, settings.tasks)
        self._sub_queues = [sub for contract in registrations for sub in contract.sub_queues]

    def queues(self, task_id: str) -> list[str]:
        """Where to look: what the reverse lookup says first, then our queues, then all there are."""
        said, names = self._all(("HGET", keys.lookup(_raw(task_id)), "queue"), ("SMEMBERS", keys.QUEUES))
        known = sorted(name.decode(errors="replace") for name in names or ())
        ours = [sub.name for sub in self._sub_queues]
        return list(dict.fromkeys([*([said.decode(errors="replace")] if said else []), *ours, *known]))

    def read(self, task_id: str, queues: Sequence[str]) -> Iterator[TaskFacts]:
        """The facts for each queue that has the task in a hash or a list."""
        inspect = ("EVAL", scripts.INSPECT.source, 1)
        for queue in queues:
            (seen,) = self._all((*inspect, keys.prefix(queue), _raw(task_id), SEARCHED), about=queue)
            if seen is None:
                continue
            facts = self._facts(task_id, queue, seen)
            if seen[1] is not None or facts.places:
                yield self._with_surroundings(facts)

    def _facts(self, task_id: str, queue: str, seen: Sequence[Any]) -> TaskFacts:
        now, values, result_bytes, pending, ahead, is_active, lease, *scores, paused = seen
        is_hash = isinstance(values, list)
        fields = dict(zip(_FIELDS, values if is_hash else [None] * len(_FIELDS), strict=True))
        waiting = dict(zip(_PLACES[2:], scores, strict=True))
        places = [place for place in _PLACES[2:] if waiting[place] is not None]
        places = ["active"] * bool(is_active) + places
        state = _text(fields["state"])
        # One that is too far back to be found is where its hash says.
        if ahead is not None or (state == "pending" and pending > SEARCHED):
            places.insert(0, "pending")
        facts = TaskFacts(
            task_id=task_id,
            queue=queue,
            now_wall_s=float(now),
            state=state,
            places=tuple(places),
            ahead=ahead,
            pending=pending,
            paused=paused is not None,
            lease_until_wall_s=_number(lease),
            due_wall_s=_number(waiting["scheduled"] or waiting["retry"]),
            purge_wall_s=_number(waiting["completed"] or waiting["archived"]),
            completed_wall_s=_number(fields["completed_at"]),
            failed_wall_s=_number(fields["last_failed_at"]),
            owner=_text(fields["owner"]),
            attempt=_text(fields["attempt"]),
            error=_text(fields["error_msg"]),
            result_bytes=result_bytes or None,
        )
        if not is_hash:
            broken = f"what stands at its key is a {_text(values)}, no hash" if values else "its hash is gone"
            return replace(facts, broken=broken)
        try:
            task = parse(queue, self._claimed(task_id, fields))
        except TaskUndecodable as exc:
            return replace(facts, broken=str(exc))
        return self._with_task(facts, task)

    def _claimed(self, task_id: str, fields: Mapping[str, bytes | None]) -> list[Any]:
        """The task as a claim would bring it."""
        names = ("msg", "retried", "pending_since", "ttl_completed", "ttl_archived")
        legacy = [fields[name] for name in ("type", "payload", "retry", "max_retry", "timeout", "deadline")]
        return [
            _raw(task_id),
            fields["attempt"] or b"",
            fields["owner"] or b"",
            *(fields[name] for name in names),
            fields["pending_timeout"],
            fields["active_timeout"],
            fields["crashes"],
            None if fields["msg"] else legacy,
        ]

    def _with_task(self, facts: TaskFacts, task: Task) -> TaskFacts:
        stamp_s = task.stamps.pending_timeout_s
        facts = replace(
            facts,
            type=task.type,
            pending_since_wall_s=task.pending_since_wall_s,
            retried=task.retried,
            crashes=task.crashes,
            max_retry=self._policy.max_retry(task),
            run_limit_s=self._policy.run_limit_s(task),
            deadline_wall_s=task.deadline_wall_s,
            pending_timeout_s=(self._policy.tasks.pending_timeout_s if stamp_s is None else stamp_s) or None,
            payload_bytes=len(task.payload),
            unique_key=task.unique_key,
        )
        if not task.unique_key:
            return facts
        holder, left_ms = self._all(("GET", task.unique_key), ("PTTL", task.unique_key))
        left_s = left_ms / 1000 if left_ms and left_ms > 0 else None
        return replace(facts, unique_holder=_text(holder), unique_for_s=left_s)

    def _with_surroundings(self, facts: TaskFacts) -> TaskFacts:
        return replace(facts, first=self._first(facts.queue), workers=tuple(self._workers(facts)))

    def _first(self, queue: str) -> dict[str, int]:
        """Waiting tasks of the sub-queues that strictly go before this one."""
        parent = queue.partition(".")[0]
        family = [sub for sub in self._sub_queues if sub.name.startswith(f"{parent}.")]
        own = next((sub.priority for sub in family if sub.name == queue), None)
        if not self._strict or own is None:
            return {}
        rivals = [sub.name for sub in family if sub.priority > own]
        counts = self._all(*(("LLEN", keys.pending(name)) for name in rivals))
        return dict(zip(rivals, (count or 0 for count in counts), strict=True))

    def _workers(self, facts: TaskFacts) -> Iterator[WorkerFacts]:
        """Those that serve its queue, and the one that has it."""
        (listed,) = self._all(("ZREVRANGE", keys.WORKERS, 0, MOST_WORKERS - 1))
        names = dict.fromkeys(name.decode(errors="replace") for name in listed or ())
        if facts.owner:
            names[facts.owner] = None
        fields = ("status", "quiet", "healthy", "queues", "last_beat", "recovery", "concurrency")
        answers = self._all(*(("HMGET", keys.worker(name), *fields) for name in names))
        for name, answer in zip(names, answers, strict=True):
            if answer is None:
                yield WorkerFacts(name, False, broken="it is no hash")
                continue
            worker = _worker(name, dict(zip(fields, answer, strict=True)), facts)
            if facts.queue in worker.queues or name == facts.owner:
                yield worker

    def _all(self, *commands: tuple[str | bytes | int, ...], about: str = "") -> list[Any]:
        """The replies; None for what Redis refused, which goes into :attr:`unreadable` with its key."""
        replies: list[Any] = []
        answered = self._connection.batch(commands) if commands else ()
        for command, reply in zip(commands, answered, strict=True):
            try:
                replies.append(check(reply))
            except QueueRejected as exc:
                replies.append(None)
                key = command[1]
                name = about or (key.decode(errors="replace") if isinstance(key, bytes) else str(key))
                self.unreadable.append(f"{name}: {exc}")
        return replies


def _worker(name: str, said: Mapping[str, bytes | None], facts: TaskFacts) -> WorkerFacts:
    beat_s, status = _number(said["last_beat"]), _text(said["status"])
    age_s = None if beat_s is None else max(0.0, facts.now_wall_s - beat_s)
    broken = [
        f"{field} is {_text(value)[:_SHOWN_CHARS]!r}, no number"
        for field in ("last_beat", "concurrency")
        if (value := said[field]) and _number(value) is None
    ]
    recovery = ""
    try:
        states = json.loads(said["recovery"] or b"{}")
        recovery = str(states.get(facts.queue.partition(".")[0], {}).get("state", ""))
    except (ValueError, AttributeError, RecursionError):
        broken.append("recovery is no JSON object of states")
    return WorkerFacts(
        worker_id=name,
        alive=age_s is not None and age_s <= STALE_S and status != "stopped",
        status=status,
        quiet=_text(said["quiet"]) == "1",
        healthy=_text(said["healthy"]).lower() in ("1", "true"),
        recovery=recovery,
        queues=_queues(_text(said["queues"])),
        beat_age_s=age_s,
        concurrency=int(_number(said["concurrency"]) or 0) or None,
        broken="; ".join(broken),
    )


def _queues(text: str) -> frozenset[str]:
    """Names out of ``map[a.high:9 a.low:1]``, or out of a comma-separated list."""
    listed = re.fullmatch(r"map\[(.*)\]", text)
    if listed:
        return frozenset(entry.rpartition(":")[0] for entry in listed[1].split())
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _number(value: bytes | None) -> float | None:
    try:
        number = float(value) if value else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None


def _raw(text: str) -> bytes:
    """An id as it was typed, which is not always UTF-8."""
    return text.encode(errors="surrogateescape")
