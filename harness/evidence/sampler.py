"""Looks at Redis and at the workers now and then, and records on the timeline what has changed."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis

from harness.background import Background
from harness.evidence.timeline import Timeline
from harness.queue import asynq
from harness.sandbox.runtimes.protocol import Worker

EVERY_S = 0.2
_LISTS = frozenset({"pending", "active"})
_BEAT = ("status", "quiet", "healthy", "recovery")


class Sampler(Background):
    """Samples from entering to leaving, in its own thread; ``workers`` gives those there are by now."""

    def __init__(
        self,
        timeline: Timeline,
        db: redis.Redis,
        workers: Callable[[], Sequence[Worker]],
        every_s: float = EVERY_S,
    ) -> None:
        super().__init__("sampler")
        self._timeline = timeline
        self._db = db
        self._workers = workers
        self._every_s = every_s
        self._last: dict[tuple[str, str], Mapping[str, Any]] = {}

    def tick(self) -> None:
        """Look once."""
        for worker in self._workers():
            status = worker.exit_status
            kind = "worker.started" if status is None else "worker.exited"
            # Of both kinds together: what is recorded is the change from one to the other.
            self._changed(worker.name, "worker.life", kind, {} if status is None else {"status": status})
        for worker_id in asynq.get_worker_ids(self._db):
            beat = asynq.get_worker(self._db, worker_id)
            if beat:
                fields = {name: _decoded(beat.get(name, "")) for name in _BEAT}
                self._changed(worker_id, "worker.state", "worker.state", fields)
        for queue in asynq.get_queues(self._db):
            self._look_at_queue(queue)

    def _look_at_queue(self, queue: str) -> None:
        with self._db.pipeline(transaction=True) as pipe:
            for place in asynq.PLACES:
                key = asynq.key(queue, place)
                pipe.llen(key) if place in _LISTS else pipe.zcard(key)
            depths = dict(zip(asynq.PLACES, pipe.execute(), strict=True))
        self._changed(queue, "queue.depths", "queue.depths", depths)

    def _changed(self, source: str, what: str, kind: str, fields: Mapping[str, Any]) -> None:
        if self._last.get((source, what)) != {"kind": kind, **fields}:
            self._last[source, what] = {"kind": kind, **fields}
            self._timeline.record(source, kind, **fields)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            # A Redis that is down has nothing to show; that is part of some stories.
            with contextlib.suppress(redis.RedisError, OSError):
                self.tick()


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
