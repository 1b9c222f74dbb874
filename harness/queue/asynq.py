"""What stands in Redis: one ``seed_*`` and one ``get_*`` per structure of asynq's layout.

Written from the layout, not from the worker. Seeding does what a client, the server, or a worker
in the middle of its work would have left behind.
"""

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from harness.queue import wire

#: The structures a task can be in, and in exactly one of them at every instant.
PLACES = ("pending", "active", "scheduled", "retry", "completed", "archived")
_LISTS = frozenset({"pending", "active"})

QUEUES = "asynq:queues"
WORKERS = "asynq:workers"


def key(queue: str, name: str) -> str:
    """A key of ``queue``, such as ``pending``, ``lease`` or ``t:{id}``."""
    return f"asynq:{{{queue}}}:{name}"


def task_key(queue: str, task_id: str) -> str:
    """The task's hash."""
    return key(queue, f"t:{task_id}")


def lookup_key(task_id: str) -> str:
    """The hash that says which queue a task is in."""
    return f"asynq:t:{task_id}"


def worker_key(worker_id: str) -> str:
    """The hash a worker's heartbeat writes."""
    return f"asynq:workers:{worker_id}"


@dataclass(frozen=True)
class NewTask:
    """A task to put somewhere.

    ``payload`` is bytes as they are, anything else as JSON. ``message`` adds or overrides fields of the
    message (see :data:`harness.queue.wire.FIELDS`), ``stamps`` fields of the hash.
    """

    payload: Any = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    type: str = "task"
    retry: int = 3
    retried: int = 0
    timeout_s: int = 0
    message: Mapping[str, Any] = field(default_factory=dict)
    stamps: Mapping[str, Any] = field(default_factory=dict)

    def encoded_payload(self) -> bytes:
        """The payload as it stands in the message."""
        return self.payload if isinstance(self.payload, bytes) else json.dumps(self.payload).encode()

    def encode(self, queue: str) -> bytes:
        """The message."""
        fields = {
            "type": self.type,
            "payload": self.encoded_payload(),
            "id": self.id,
            "queue": queue,
            "retry": self.retry,
            "retried": self.retried,
            "timeout": self.timeout_s,
        }
        return wire.encode({**fields, **self.message})


@dataclass(frozen=True)
class StoredTask:
    """A task's hash: its ``fields`` as text (``msg`` left out), and the decoded ``message``."""

    fields: Mapping[str, str]
    message: Mapping[str, Any]

    @property
    def state(self) -> str:
        """What the hash says; the structure it is in should agree, see :func:`where_is`."""
        return self.fields.get("state", "")

    @property
    def result(self) -> Any:
        """The result, decoded; None where there is none."""
        return json.loads(self.fields["result"]) if self.fields.get("result") else None


# Seeding -------------------------------------------------------------------------------------------


def seed_pending(db: redis.Redis, queue: str, *tasks: NewTask) -> list[str]:
    """Enqueue as asynq's clients do: the first named is the first to be served. Returns the ids."""

    def place(pipe: Any, task: NewTask) -> None:
        pipe.lpush(key(queue, "pending"), task.id)

    return _seed(db, queue, tasks, {"state": "pending", "pending_since": time.time_ns()}, place)


def seed_active(db: redis.Redis, queue: str, *tasks: NewTask, lease_until_s: float | None) -> list[str]:
    """As a worker left them that was working on them; ``lease_until_s`` unix seconds, None no lease."""

    def place(pipe: Any, task: NewTask) -> None:
        pipe.lpush(key(queue, "active"), task.id)
        if lease_until_s is not None:
            pipe.zadd(key(queue, "lease"), {task.id: lease_until_s})

    return _seed(db, queue, tasks, {"state": "active"}, place)


def seed_scheduled(db: redis.Redis, queue: str, *tasks: NewTask, due_s: float) -> list[str]:
    """To be done at ``due_s`` (unix seconds)."""
    return _seed(db, queue, tasks, {"state": "scheduled"}, _into("scheduled", queue, due_s))


def seed_retry(db: redis.Redis, queue: str, *tasks: NewTask, due_s: float, error: str = "boom") -> list[str]:
    """Failed with ``error``, to be retried at ``due_s`` (unix seconds); ``retried`` is the task's."""
    failed = {"state": "retry", "error_msg": error, "last_failed_at": int(time.time())}
    return _seed(db, queue, tasks, failed, _into("retry", queue, due_s), counted=True)


def seed_completed(
    db: redis.Redis, queue: str, *tasks: NewTask, result: bytes = b"null", purge_at_s: float
) -> list[str]:
    """Done with ``result`` (JSON), to be purged at ``purge_at_s`` (unix seconds)."""
    done = {"state": "completed", "result": result, "completed_at": int(time.time())}
    return _seed(db, queue, tasks, done, _into("completed", queue, purge_at_s))


def seed_archived(
    db: redis.Redis, queue: str, *tasks: NewTask, purge_at_s: float, error: str = "boom"
) -> list[str]:
    """Given up with ``error``, to be purged at ``purge_at_s`` (unix seconds)."""
    failed = {"state": "archived", "error_msg": error, "last_failed_at": int(time.time())}
    return _seed(db, queue, tasks, failed, _into("archived", queue, purge_at_s), counted=True)


def seed_legacy(db: redis.Redis, queue: str, *tasks: NewTask) -> list[str]:
    """Pending in the older form: a hash of fields without a message."""
    db.sadd(QUEUES, queue)
    for task in tasks:
        fields: dict[Any, Any] = {
            "type": task.type,
            "payload": task.encoded_payload(),
            "retry": task.retried,
            "max_retry": task.retry,
            "timeout": task.timeout_s,
            "state": "pending",
            **task.stamps,
        }
        with db.pipeline(transaction=True) as pipe:
            pipe.hset(task_key(queue, task.id), mapping=fields)
            pipe.lpush(key(queue, "pending"), task.id)
            pipe.execute()
    return [task.id for task in tasks]


def write_lookup(db: redis.Redis, queue: str, *task_ids: str) -> None:
    """Write what the server adds to a task, so that it can be found by its id alone."""
    # Not in one transaction: in a cluster they are all over it.
    with db.pipeline(transaction=False) as pipe:
        for task_id in task_ids:
            pipe.hset(lookup_key(task_id), "queue", queue)
        pipe.execute()


def _into(place: str, queue: str, score: float) -> Callable[[Any, NewTask], None]:
    # Whole seconds, cut, as asynq's client writes them.
    return lambda pipe, task: pipe.zadd(key(queue, place), {task.id: int(score)})


def _seed(
    db: redis.Redis,
    queue: str,
    tasks: Sequence[NewTask],
    fields: Mapping[str, Any],
    place: Callable[[Any, NewTask], None],
    *,
    counted: bool = False,
) -> list[str]:
    """Each task's hash and its place appear at once: a worker may be looking."""
    # In a cluster this set is elsewhere than the queue.
    db.sadd(QUEUES, queue)
    with db.pipeline(transaction=True) as pipe:
        for task in tasks:
            stored: dict[Any, Any] = {"msg": task.encode(queue), **fields, **task.stamps}
            if counted:
                stored["retried"] = task.retried
            pipe.hset(task_key(queue, task.id), mapping=stored)
            place(pipe, task)
        pipe.execute()
    return [task.id for task in tasks]


# Looking -------------------------------------------------------------------------------------------


def get_pending(db: redis.Redis, queue: str) -> list[str]:
    """Ids that wait, the next to be served first."""
    return [_str(entry) for entry in reversed(_any(db.lrange(key(queue, "pending"), 0, -1)))]


def get_active(db: redis.Redis, queue: str) -> list[str]:
    """Ids being worked on."""
    return [_str(entry) for entry in _any(db.lrange(key(queue, "active"), 0, -1))]


def get_leases(db: redis.Redis, queue: str) -> dict[str, float]:
    """Id → unix seconds at which its lease runs out."""
    return _scores(db, key(queue, "lease"))


def get_scheduled(db: redis.Redis, queue: str) -> dict[str, float]:
    """Id → unix seconds at which it is due."""
    return _scores(db, key(queue, "scheduled"))


def get_retry(db: redis.Redis, queue: str) -> dict[str, float]:
    """Id → unix seconds at which it is due again."""
    return _scores(db, key(queue, "retry"))


def get_completed(db: redis.Redis, queue: str) -> dict[str, float]:
    """Id → unix seconds at which it may be purged."""
    return _scores(db, key(queue, "completed"))


def get_archived(db: redis.Redis, queue: str) -> dict[str, float]:
    """Id → unix seconds at which it may be purged."""
    return _scores(db, key(queue, "archived"))


def get_task(db: redis.Redis, queue: str, task_id: str) -> StoredTask | None:
    """The task's hash and message; None where there is no such hash."""
    stored = _any(db.hgetall(task_key(queue, task_id)))
    if not stored:
        return None
    message = wire.decode(stored.pop(b"msg", b""))
    return StoredTask({_str(name): _str(value) for name, value in stored.items()}, message)


def get_state(db: redis.Redis, queue: str, task_id: str) -> str:
    """What the task's hash says its state is; empty where there is no hash."""
    return _str(_any(db.hget(task_key(queue, task_id), "state")) or b"")


def get_counters(db: redis.Redis, queue: str) -> dict[str, int]:
    """``processed`` and ``failed``, in all."""
    return {name: int(_any(db.get(key(queue, name))) or 0) for name in ("processed", "failed")}


def get_queue_of(db: redis.Redis, task_id: str) -> str | None:
    """The queue the reverse lookup names; None where there is none."""
    found = _any(db.hget(lookup_key(task_id), "queue"))
    return _str(found) if found is not None else None


def get_worker(db: redis.Redis, worker_id: str) -> dict[str, str]:
    """A worker's heartbeat as it stands; empty where it has none (any more)."""
    return {_str(name): _str(value) for name, value in _any(db.hgetall(worker_key(worker_id))).items()}


def get_queues(db: redis.Redis) -> list[str]:
    """The queues that have had tasks, sorted."""
    return sorted(_str(entry) for entry in _any(db.smembers(QUEUES)))


def get_worker_ids(db: redis.Redis) -> list[str]:
    """The workers Redis remembers, longest silent first."""
    return [_str(entry) for entry in _any(db.zrange(WORKERS, 0, -1))]


def get_crashes(db: redis.Redis, worker_id: str) -> list[dict[str, Any]]:
    """What a worker wrote about crashes of its task processes, oldest first."""
    return [json.loads(entry) for entry in _any(db.lrange(f"asynq:crashes:{worker_id}", 0, -1))]


def get_everything(db: redis.Redis, but: str | None = None) -> str:
    """All keys and values as text, for a search; without keys that begin with ``but``."""
    client: Any = db
    readers: dict[bytes, Callable[[Any], Any]] = {
        b"string": client.get,
        b"list": lambda name: db.lrange(name, 0, -1),
        b"set": client.smembers,
        b"zset": lambda name: db.zrange(name, 0, -1),
        b"hash": client.hgetall,
    }
    texts = []
    for name in db.scan_iter():
        if but is None or not _str(name).startswith(but):
            read = readers.get(_any(db.type(name)))
            value = read(name) if read else None  # None where it has expired meanwhile
            texts.append(f"{_str(name)}: {_shown(value)}")
    return "\n".join(texts)


def where_is(db: redis.Redis, queue: str, task_id: str) -> str:
    """The one of :data:`PLACES` the task is in, looked up in all of them at the same instant.

    ``nowhere`` if it is in none; in several, which must never be, their names joined by ``+``.
    """
    with db.pipeline(transaction=True) as pipe:
        for place in PLACES:
            if place in _LISTS:
                pipe.lpos(key(queue, place), task_id)
            else:
                pipe.zscore(key(queue, place), task_id)
        found = pipe.execute()
    places = [place for place, at in zip(PLACES, found, strict=True) if at is not None]
    return "+".join(places) or "nowhere"


def where_are(db: redis.Redis, queue: str, task_ids: Sequence[str]) -> list[str]:
    """As :func:`where_is` for each of them, all at the same instant, with one question for all."""
    with db.pipeline(transaction=True) as pipe:
        for place in PLACES:
            name = key(queue, place)
            pipe.lrange(name, 0, -1) if place in _LISTS else pipe.zrange(name, 0, -1)
        inside = {place: set(entries) for place, entries in zip(PLACES, pipe.execute(), strict=True)}
    return [
        "+".join(place for place in PLACES if task_id.encode() in inside[place]) or "nowhere"
        for task_id in task_ids
    ]


def delete(db: redis.Redis, queue: str, task_id: str) -> None:
    """Take the task out of every place it may be in, its hash with it."""
    with db.pipeline(transaction=True) as pipe:
        for place in PLACES:
            if place in _LISTS:
                pipe.lrem(key(queue, place), 0, task_id)
            else:
                pipe.zrem(key(queue, place), task_id)
        pipe.zrem(key(queue, "lease"), task_id)
        pipe.delete(task_key(queue, task_id), lookup_key(task_id))
        pipe.execute()


def _scores(db: redis.Redis, name: str) -> dict[str, float]:
    return {_str(entry): score for entry, score in _any(db.zrange(name, 0, -1, withscores=True))}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{_shown(name)}={_shown(each)}" for name, each in value.items())
    if isinstance(value, list | set):
        return ", ".join(map(_shown, value))
    return _str(value or b"")


def _any(answer: Any) -> Any:
    """The client's answers are typed for its asynchronous face too."""
    return answer


def _str(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")
