"""Plays the contract against a server, and says in which exchanges it is different."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import httpx
import redis

from harness.conform.caller import Caller, answer, task_ids
from harness.conform.exchange import ADMIN, Ask, Exchange
from harness.conform.records import Records, written
from harness.conform.shape import differences, filled
from harness.failure import CommandFailed
from harness.http_client import http_client
from harness.server.age import Age

#: Where a task is that a worker has had.
_TAKEN = frozenset({"active", "completed"})
_ANY_PAYLOAD = "expected a --queue without an input schema"
#: Longer than the longest wait of a server.
TIMEOUT_S = 45.0


@dataclass(frozen=True)
class Target:
    """The server, its keys by role as far as they are known, and the parent queue to play with."""

    url: str
    age: Age
    parent: str
    keys: Mapping[str, str] = field(repr=False)
    redis_url: str | None = field(repr=False, default=None)


@dataclass(frozen=True)
class Played:
    """One exchange; ``skipped`` says what it lacks, else it was played."""

    exchange: Exchange
    differences: tuple[str, ...] = ()
    skipped: str = ""


def play(target: Target, exchanges: Iterable[Exchange]) -> Iterator[Played]:
    """Play one after the other. Raises :class:`~harness.failure.CommandFailed` where that is impossible."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(http_client(target.url, timeout=TIMEOUT_S))
        try:
            player = _Player(target, client, stack)
            for exchange in exchanges:
                yield player.play(exchange)
        except httpx.HTTPError as exc:
            raise CommandFailed(f"{target.url}: {exc or type(exc).__name__}") from exc
        except redis.RedisError as exc:
            raise CommandFailed(f"the Redis of --redis-url: {exc}") from exc


class _Player:
    """What stays the same from exchange to exchange."""

    def __init__(self, target: Target, client: httpx.Client, stack: contextlib.ExitStack) -> None:
        self._target = target
        self._caller = Caller(client, target.keys)
        self._names = {"parent": target.parent, "admin_key": target.keys[ADMIN]}
        self._names["queue"] = self._sub_queue()
        self._records = self._reach_redis(stack)
        self._names["task"] = self._enqueued(stack)

    def play(self, exchange: Exchange) -> Played:
        """Play one, unless something it needs is missing."""
        if not self._caller.has(exchange.ask.key):
            return Played(exchange, skipped=f"--{exchange.ask.key}-key")
        names, given = dict(self._names), exchange.given
        if given is not None:
            if self._records is None:
                return Played(exchange, skipped="--redis-url")
            names["id"] = self._records.put(replace(given, fields=filled(given.fields, names)))
        found = tuple(self._found(exchange, names))
        if self._records is not None:
            self._records.tidy()
        return Played(exchange, found)

    def _found(self, exchange: Exchange, names: Mapping[str, str]) -> Iterator[str]:
        age, records = self._target.age, self._records
        watched = exchange.writes is not None and records is not None
        commands: list[Sequence[str]] = []
        with records.watched(commands) if watched and records else contextlib.nullcontext():
            response = self._caller.ask(exchange.ask, names)
        content, kind = answer(response), response.headers.get("content-type", "").partition(";")[0]
        yield from differences(exchange.status, response.status_code, age, "the status")
        yield from differences(exchange.content_type, kind, age, "the content type")
        yield from differences(filled(exchange.answer, names), content, age, "the answer")
        ids = task_ids(content)
        if records is None or not ids:
            return
        for record in map(records.task_record, ids):
            if record["place"] in _TAKEN:
                taken = f"a worker took a task of {names['queue']}"
                raise CommandFailed(f"{taken}: expected a --queue that no worker serves")
            if exchange.leaves is not None:
                yield from differences(filled(exchange.leaves, names), record, age, "the task")
        if exchange.writes is not None:
            order = written(commands, names["queue"], ids)
            yield from differences(exchange.writes, order, age, "the writes")

    def _sub_queue(self) -> str:
        """A sub-queue of the parent queue that is played with."""
        body = {"queue": self._target.parent, "hostname": "conform", "os": "linux", "version": "1"}
        response = self._caller.ask(Ask("POST", "/worker/register", ADMIN, body), {})
        match answer(response):
            case {"sub_queues": [*_, {"name": str(name)}]}:
                return name
        said = f"answered {response.status_code}: {response.text}"
        raise CommandFailed(f"{self._target.url}: registering for {self._target.parent} {said}")

    def _reach_redis(self, stack: contextlib.ExitStack) -> Records | None:
        if self._target.redis_url is None:
            return None
        db = redis.Redis.from_url(self._target.redis_url, socket_timeout=TIMEOUT_S)
        stack.callback(db.close)
        db.ping()
        records = Records(db, self._names["queue"])
        for worker_id in records.served_by():
            served = f"worker {worker_id} serves {self._names['queue']}"
            raise CommandFailed(f"{served}: expected a --queue that no worker serves")
        stack.callback(records.tidy)
        return records

    def _enqueued(self, stack: contextlib.ExitStack) -> str:
        """A task to ask for."""
        body = {"queue": self._names["queue"], "timeout": 30, "data": {"conform": int(time.time())}}
        response = self._caller.ask(Ask("POST", "/queue/add", ADMIN, body), {})
        content = answer(response)
        match response.status_code, content:
            # The contract's payloads are not what the queue's own input schema asks for.
            case 400, {"errors": [str(error), *_]}:
                url, queue = self._target.url, self._names["queue"]
                raise CommandFailed(f"{url}: a task for {queue} is refused, {error!r}: {_ANY_PAYLOAD}")
        task_id = next(iter(task_ids(content)), "conform-nothing-enqueued")
        if self._records is not None:
            stack.callback(self._records.remove, task_id)
        return task_id
