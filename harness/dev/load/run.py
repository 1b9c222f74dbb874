"""``runqy-harness load``: task code under a steady load, on this machine.

Tasks are sent when they are due, whether those before are over or not (an open loop): a worker that falls
behind is not spared. What became of each is read from the workers' logs afterwards, at their finest level.
"""

import itertools
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

from harness import wait
from harness.dev import local
from harness.dev.live import inputs
from harness.dev.live.tell import took
from harness.dev.load import picture
from harness.dev.load.figures import Asked, Measured, Run
from harness.dev.load.looking import Looking, counts
from harness.dev.load.plan import LoadOptions
from harness.dev.load.tell import tell
from harness.failure import CommandFailed
from harness.output.terminal import Terminal
from harness.queue import asynq
from harness.sandbox import patience
from harness.sandbox.brisk import ALONE
from harness.sandbox.redis import RedisUnavailable
from harness.sandbox.repo import GitFailed
from harness.sandbox.runtimes.process import ProcessRuntime, WorkerProcess
from harness.sandbox.source import clonable
from harness.sandbox.stack import WORKER_COMMAND, Stack
from harness.sandbox.tools import search_path
from harness.server.config import QueueConfig

#: Cloning, an environment and an installation: minutes where packages are large.
DEPLOY_TIMEOUT_S = 600.0
WARM_TIMEOUT_S = 300.0
#: Tasks in one request, and the shortest time between two of them, in seconds.
_BATCH, _PAUSE_S = 1_000, 0.005
#: The last lines of a log, once what they are about is in Redis.
_LOG_S = 10.0
_ENDS = ("task.completed", "task.archived")


def run(out: TextIO, options: LoadOptions) -> int:
    """Play the load, tell what it came to; returns 1 where a task failed or was not over in time, else 0.

    Raises :class:`~harness.failure.CommandFailed` where it cannot be played.
    """
    local.go_round_proxies()
    payloads = inputs.payloads(options.payload) if options.payload else [{}]
    terminal = Terminal(out)
    try:
        with Stack(runtime=ProcessRuntime(options.worker or WORKER_COMMAND)) as stack:
            playing = Load(stack, options, payloads, terminal)
            playing.prepare()
            measured = playing.play()
    except (RedisUnavailable, GitFailed) as exc:
        raise CommandFailed(str(exc)) from exc
    terminal.clear()
    tell(measured, terminal)
    if options.json:
        try:
            options.json.write_text(json.dumps(measured.as_json(), indent=1) + "\n")
        except OSError as exc:
            raise CommandFailed(f"--json {options.json}: {exc.strerror}") from exc
    if options.picture:
        load = f"{options.rate:g} tasks a second for {took(options.duration_s)}"
        title = f"{load}, {measured.asked.slots} at a time"
        picture.write(measured, title, options.picture)
        terminal.line(f"\n  picture: {options.picture}")
    return 1 if measured.failed or measured.unfinished else 0


class Load:
    """One run: :meth:`prepare`, then :meth:`play`."""

    def __init__(
        self, stack: Stack, options: LoadOptions, payloads: Sequence[Mapping[str, Any]], terminal: Terminal
    ) -> None:
        self._stack = stack
        self._options = options
        self._terminal = terminal
        self._client = stack.client()
        self._workers: list[WorkerProcess] = []
        #: When each task was sent, by the wall clock.
        self._sent: dict[str, float] = {}
        self._payloads = itertools.cycle(payloads)
        #: As many as run at a time, that every process gets some.
        self._first = max(len(payloads), options.workers * options.concurrency)

    def prepare(self) -> None:
        """Start the workers and have each payload run once, so that first times are not measured."""
        options, stack = self._options, self._stack
        repository = stack.folder / "repositories" / "code.git"
        url, branch = clonable(options.source, repository, options.branch, stack.server.export)
        config = QueueConfig(name=options.queue, git_url=url, branch=branch, **options.settings)
        stack.serve(config)
        self._queues = list(config.priorities())
        env = {
            "RUNQY_CONCURRENCY": str(options.concurrency),
            "RUNQY_LOG_FORMAT": "json",
            "RUNQY_LOG_LEVEL": "debug",
            "PATH": search_path(),
            **({} if options.system_packages else ALONE),
        }
        for number in range(1, options.workers + 1):
            self._terminal.transient(f"… worker {number} of {options.workers}: code and environment")
            worker = stack.worker(options.queue, env)
            assert isinstance(worker, WorkerProcess)
            self._workers.append(worker)
        for worker in self._workers:
            self._until(worker, lambda w=worker: _is_ready(w), DEPLOY_TIMEOUT_S, "the worker to be ready")
        self._terminal.transient("… each payload once")
        self._send(self._first)
        self._until(self._workers[0], self._over, WARM_TIMEOUT_S, "the first tasks to end")

    def play(self) -> Measured:
        """Send what is due when it is due, wait for the rest, and say what it came to."""
        options = self._options
        self._sent = {}
        zero_s = time.time()
        pids = [worker.pid for worker in self._workers]
        with Looking(self._stack.db, self._queues, pids, lambda: time.time() - zero_s) as looking:
            sending_s = self._send_all()
            until_s = time.monotonic() + options.drain_s
            while not self._over() and time.monotonic() < until_s:
                left = sum(counts(self._stack.db, self._queues))
                self._terminal.transient(f"… {left:,} tasks are not over")
                time.sleep(0.1)
        runs, events = self._runs(zero_s)
        asked = Asked(
            options.rate,
            options.duration_s,
            options.workers,
            options.concurrency,
            options.settings["mode"],
            os.cpu_count() or 1,
        )
        return Measured(
            asked=asked,
            sent=len(self._sent),
            sending_s=sending_s,
            runs=runs,
            samples=looking.samples,
            retries=sum(event.get("event") == "task.retry" for event in events),
            crashes=sum(event.get("event") == "process.crashed" for event in events),
            one_at_a_time=any(event.get("event") == "process.one_at_a_time" for event in events),
            problems=tuple(_problems(events)),
        )

    def _send_all(self) -> float:
        """Seconds until the last one was sent."""
        options, began_s = self._options, time.monotonic()
        sent = 0
        while sent < options.tasks:
            passed_s = time.monotonic() - began_s
            due = min(options.tasks, int(passed_s * options.rate) + 1)
            if due > sent:
                self._send(due - sent)
                sent = due
            self._terminal.transient(
                f"… {took(passed_s)} of {took(options.duration_s)}: {sent:,} of {options.tasks:,} tasks sent"
            )
            next_s = began_s + sent / options.rate
            time.sleep(max(_PAUSE_S, min(next_s - time.monotonic(), 0.5)))
        return time.monotonic() - began_s

    def _send(self, count: int) -> None:
        payloads = list(itertools.islice(self._payloads, count))
        for start in range(0, count, _BATCH):
            part = payloads[start : start + _BATCH]
            now_s = time.time()
            if len(part) == 1:
                ids = [self._client.enqueue(self._queues[0], part[0]).task_id]
            else:
                ids = self._client.enqueue_batch(self._queues[0], part).task_ids
            self._sent.update(dict.fromkeys(ids, now_s))

    def _over(self) -> bool:
        return sum(counts(self._stack.db, self._queues)) == 0

    def _runs(self, zero_s: float) -> tuple[Sequence[Run], Sequence[Mapping[str, Any]]]:
        """Tasks that are over, and all events since the load began."""

        def logged() -> bool:
            places = [asynq.get_completed, asynq.get_archived]
            over = {
                task_id
                for look in places
                for queue in self._queues
                for task_id in look(self._stack.db, queue)
            }
            found = {event.get("task_id") for event in self._events() if event.get("event") in _ENDS}
            return not (over & self._sent.keys()) - found

        try:
            wait.until(logged, _LOG_S, "the workers' logs")
        except wait.TimedOut as exc:
            raise CommandFailed(f"ends of tasks are missing in the workers' logs: {exc}") from exc
        events = [event for event in self._events() if _wall_s(event) >= zero_s]
        runs = [
            Run(
                sent_s=self._sent[event["task_id"]] - zero_s,
                ended_s=_wall_s(event) - zero_s,
                run_s=event.get("run_s", 0.0),
                outcome=event["event"],
                attempts=int(event["attempt"]),
            )
            for event in events
            if event.get("event") in _ENDS and event.get("task_id") in self._sent
        ]
        return runs, events

    def _events(self) -> Iterable[dict[str, Any]]:
        for worker in self._workers:
            yield from worker.log_events()

    def _until(self, worker: WorkerProcess, check: Any, timeout_s: float, what: str) -> None:
        try:
            patience.until(worker, check, timeout_s, what)
        except wait.TimedOut as exc:
            raise CommandFailed(str(exc)) from exc


def _is_ready(worker: WorkerProcess) -> bool:
    return any(event.get("event") == "worker.ready" for event in worker.log_events())


def _wall_s(event: Mapping[str, Any]) -> float:
    """When it was logged."""
    stamp = event.get("timestamp", "")
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0


def _problems(events: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """The errors that tasks ended with, each once, the first of them."""
    errors = (event["error"] for event in events if event.get("event") in ("task.archived", "task.retry"))
    for error in list(dict.fromkeys(errors))[:5]:
        yield f"a task failed: {error}"
