"""``runqy-harness demo``: one worker's life on this machine, told and checked step by step.

Nothing is claimed that was not looked at: each ✓ stands for a check that would have ended the demo.
"""

import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO, TypeVar

import psutil

from harness import wait
from harness.dev import local
from harness.failure import CommandFailed, Interrupted
from harness.output.narrator import Narrator
from harness.queue import asynq
from harness.queue.strict import reader
from harness.sandbox import patience, tasks
from harness.sandbox.brisk import ALONE
from harness.sandbox.redis import RedisUnavailable
from harness.sandbox.repo import GitFailed
from harness.sandbox.runtimes import choice
from harness.sandbox.runtimes.process import WorkerProcess
from harness.sandbox.source import handler_repo
from harness.sandbox.stack import WORKER_COMMAND, Stack
from harness.server.config import QueueConfig

T = TypeVar("T")

PARENT = "demo"
QUEUE = "demo.default"
SECRET = "DEMO_SECRET"  # noqa: S105  its name
TASKS = 200
#: Tasks on either side of the one that kills the process.
NEIGHBOURS = 10
SLEEP_S = 1.5

#: Cloning, an environment and an installation: seconds, minutes on a busy machine.
DEPLOY_TIMEOUT_S = 300.0
TASKS_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 60.0
_LAST_LINES = 20

#: Beside the three that every worker needs: a log we can read, no 10 s before a retry, and an environment
#: made by uv, where it is installed, in a tenth of the time.
SETTINGS = {"RUNQY_LOG_FORMAT": "json", "RUNQY_RETRY_BASE_DELAY": "500ms", **ALONE}
#: Events of the worker's log that are part of the narrator, and how they are told.
_TOLD = {
    "worker.registered": "registered; the server told it of Redis at {redis} and of a vault",
    "deploy.environment": "environment: {step} with {installer}, for {dependencies}",
    "deploy.done": "task code and environment in place after {seconds} s",
    "process.ready": "task process {pid} is ready after {seconds} s",
}


class _Broken(Exception):
    """Something is not as the demo says; the message is the sentence that says so."""


def run(out: TextIO, worker_command: Sequence[str] | None, handler: str) -> int:
    """Give the demo on ``out``; returns 0, or 1 after saying what went wrong.

    Raises :class:`~harness.failure.CommandFailed` where it cannot even begin.
    """
    if shutil.which("git") is None:
        raise CommandFailed("there is no git on PATH: task code is deployed with it")
    local.go_round_proxies()
    narrator = Narrator(out)
    narrator.title("runqy appliance: one worker, from nothing to results, through a crash, to a clean stop")
    narrator.chapter("A server and a Redis, for this demo only")
    try:
        with Stack(runtime=choice.on_processes(worker_command or WORKER_COMMAND)) as stack:
            demo = Demo(stack, narrator, handler)
            try:
                demo.play()
            except Exception as exc:  # noqa: BLE001  whatever it is, it is told with what helps to see why
                ours = isinstance(exc, (_Broken, tasks.NotTaken, wait.TimedOut))
                narrator.failed(str(exc) if ours else f"{type(exc).__name__}: {exc}", demo.evidence())
                return 1
    except (RedisUnavailable, GitFailed) as exc:
        raise CommandFailed(str(exc)) from exc
    except Interrupted as exc:
        narrator.failed(f"ended by {exc}; what was started is gone")
        raise
    return 0


class Demo:
    """The chapters, in order."""

    def __init__(self, stack: Stack, narrator: Narrator, handler: str) -> None:
        self._stack = stack
        self._narrator = narrator
        self._handler = handler
        self._client = stack.client()
        self._secret = secrets.token_hex(16)
        self._sent: list[str] = []
        self._told = 0
        self._worker_id = ""

    def play(self) -> None:
        """Tell it all. Raises where something is not as it should be."""
        self._serve()
        self._start_worker()
        self._run_tasks()
        self._use_vault()
        self._survive_crash()
        self._stop_worker()
        self._close()

    def evidence(self) -> str:
        """The last lines of the worker's log, as far as there is one."""
        lines: list[str] = []
        for worker in self._stack.workers:
            # A worker that tells the secret shall not make us do so.
            text = worker.tail().replace(self._secret, "•••")
            tail = [_readable(line) for line in text.splitlines()[-_LAST_LINES:]]
            lines += ["The worker's log ends:", *(f"  {line}" for line in tail or ["(it is empty)"])]
        return "\n".join(lines)

    def _serve(self) -> None:
        stack = self._stack
        self._repo = handler_repo(self._handler, stack.folder / "repos" / "demo.git")
        stack.serve(
            QueueConfig(
                name=PARENT,
                git_url=stack.server.export(self._repo.folder),
                vaults={"demo": {SECRET: self._secret}},
            )
        )
        self._narrator.proved(f"Redis answers on port {stack.redis.port}, the server on {stack.server.url}")
        self._narrator.detail(
            f"its queue {PARENT!r} has task code in git: {self._handler}.py, written with the runqy SDK"
        )

    def _start_worker(self) -> None:
        self._narrator.chapter("A worker, started with three variables: server, key, queues")
        self._stack.worker(PARENT, SETTINGS)
        beat = self._until(self._running, DEPLOY_TIMEOUT_S, "the worker to deploy and run")
        asked = self._stack.server.requests_to("/worker/register")
        _must([request.status for request in asked] == [200], f"the worker registered {len(asked)} times")
        commit = beat["commit"]
        _must(commit == self._repo.head, f"the worker deployed {commit}, but the tip is {self._repo.head}")
        self._worker_id = beat["worker_id"]
        self._narrator.proved(f"registered, deployed and running, at commit {commit[:7]}")

    def _run_tasks(self) -> None:
        self._narrator.chapter(f"{TASKS} tasks, sent with the SDK's client")
        begun_s = time.monotonic()
        payloads = [{"say": f"hello {number}"} for number in range(1, TASKS + 1)]
        ids = self._send(payloads)
        self._until_completed(ids)
        rate = TASKS / (time.monotonic() - begun_s)
        answers = [self._result(task_id) for task_id in ids]
        for payload, answer in zip(payloads, answers, strict=True):
            _must(answer["echo"] == payload, f"{payload} was answered with {answer}")
        for payload, answer in list(zip(payloads, answers, strict=True))[:3]:
            self._narrator.detail(
                f"{payload['say']!r} → {answer['echo']['say']!r}, by process {answer['pid']}"
            )
        self._pid = answers[-1]["pid"]
        self._narrator.proved(f"{TASKS} sent, {TASKS} completed, every answer checked: {rate:.0f} tasks/s")

    def _use_vault(self) -> None:
        self._narrator.chapter("A secret from the server's vault, for the task process alone")
        (task_id,) = self._send([{"vault": SECRET}])
        self._until_completed([task_id])
        digest = self._result(task_id)["sha256"]
        expected = hashlib.sha256(self._secret.encode()).hexdigest()
        _must(digest == expected, f"{SECRET} is not what the vault has")
        self._narrator.proved(f"{SECRET} is in its environment: sha256 {digest[:12]}… agrees")
        log = self._worker.log_text()
        _must(self._secret not in log, f"the value of {SECRET} is in the worker's log")
        for pid in (self._worker.pid, *self._worker.children()):
            arguments = " ".join(psutil.Process(pid).cmdline())
            _must(self._secret not in arguments, f"the value of {SECRET} is an argument of process {pid}")
        lines = len(log.splitlines())
        self._narrator.proved(
            f"its value is in none of the {lines} lines of the log, nor in an argument list"
        )

    def _survive_crash(self) -> None:
        self._narrator.chapter("A task that kills its process, among others")
        before, after = ([{"say": f"{side} {n}"} for n in range(NEIGHBOURS)] for side in ("before", "after"))
        poison = {"poison": True, "once": str(self._stack.folder / "poisoned")}
        ids = self._send([*before, poison, *after])
        poisoned = ids.pop(NEIGHBOURS)
        self._until_completed([*ids, poisoned])
        dossier = self._until(
            lambda: asynq.get_crashes(self._stack.db, self._worker_id), TASKS_TIMEOUT_S, "the crash dossier"
        )[0]
        _must(dossier["tasks"] == [poisoned], f"the dossier blames {dossier['tasks']}, not {poisoned}")
        self._narrator.detail(
            f"process {self._pid} died: {dossier['exit']}, after {dossier['uptime_s']:.1f} s; "
            "its crash dossier names the task"
        )
        successor = self._result(poisoned)["pid"]
        _must(successor != self._pid, f"process {self._pid} crashed and answers nevertheless")
        charged = {task_id: self._retried(task_id) for task_id in (*ids, poisoned)}
        _must(charged.pop(poisoned) == 1, "the task that killed its process was not retried once")
        _must(not any(charged.values()), f"other tasks were charged a retry: {charged}")
        self._narrator.proved(f"process {successor} took over; the task was retried once and succeeded")
        self._narrator.proved(f"the {len(ids)} tasks around it are completed, none was charged a retry")

    def _stop_worker(self) -> None:
        self._narrator.chapter("SIGTERM, while a task is running")
        begun = self._stack.folder / "begun"
        (task_id,) = self._send([{"sleep": SLEEP_S, "begun": str(begun)}])
        self._until(begun.exists, TASKS_TIMEOUT_S, "the task to begin")
        asked_s = time.monotonic()
        self._worker.terminate()
        self._narrator.detail(f"a task of {SLEEP_S} s has begun; the worker is asked to stop")
        self._narrator.waiting("the worker to stop")
        status = self._worker.wait(STOP_TIMEOUT_S)
        took_s = time.monotonic() - asked_s
        _must(status == 0, f"the worker ended with exit status {status}")
        state = asynq.where_is(self._stack.db, QUEUE, task_id)
        _must(state == "completed", f"the task that ran at SIGTERM is {state}, not completed")
        _must(not self._worker.children(), "the worker left processes behind")
        self._narrator.proved(f"the task finished; the worker ended after {took_s:.1f} s, exit status 0")

    def _close(self) -> None:
        places = tasks.places(self._stack.db, QUEUE, self._sent)
        completed = places.count("completed")
        _must(completed == len(places), f"{len(places) - completed} of {len(places)} tasks are lost")
        complaints = self._stack.server.complaints
        _must(not complaints, f"the server complained: {[complaint.problem for complaint in complaints]}")
        unreadable = "; ".join(map(str, reader.read(self._stack.db)))
        _must(not unreadable, f"a strict tool of asynq's cannot read what is left: {unreadable}")
        took_s = self._narrator.elapsed_s
        self._narrator.closing(
            f"{len(places)} tasks sent = {completed} completed, lost 0; {took_s:.0f} s in all"
        )

    @property
    def _worker(self) -> WorkerProcess:
        worker = self._stack.workers[-1]
        assert isinstance(worker, WorkerProcess)
        return worker

    def _send(self, payloads: Sequence[Mapping[str, Any]]) -> list[str]:
        ids = tasks.send(self._client, QUEUE, payloads)
        self._sent += ids
        return ids

    def _until_completed(self, ids: Sequence[str]) -> None:
        db = self._stack.db

        def completed() -> bool:
            for task_id in asynq.get_archived(db, QUEUE):
                task = asynq.get_task(db, QUEUE, task_id)
                raise _Broken(f"task {task_id} failed: {task.fields.get('error_msg') if task else 'gone'}")
            done = asynq.get_completed(db, QUEUE).keys() & set(ids)
            self._narrator.waiting(f"{len(done)} of {len(ids)} completed")
            return len(done) == len(ids)

        self._until(completed, TASKS_TIMEOUT_S, f"{len(ids)} tasks to be completed")

    def _result(self, task_id: str) -> Any:
        answer = self._client.get_task(task_id)
        _must(answer.state == "completed", f"task {task_id} is {answer.state}: {answer.error}")
        return answer.result

    def _retried(self, task_id: str) -> int:
        return tasks.retried(tasks.stored(self._stack.db, QUEUE, task_id))

    def _running(self) -> Mapping[str, str]:
        """The heartbeat of a worker that runs; tells what its log says on the way."""
        events = self._worker.log_events()
        for event in events[self._told :]:
            if event.get("event") in _TOLD:
                self._narrator.detail(_TOLD[event["event"]].format_map(_Known(event)))
        self._told = len(events)
        self._narrator.waiting("registering, cloning, installing")
        for worker_id in asynq.get_worker_ids(self._stack.db):
            beat = asynq.get_worker(self._stack.db, worker_id)
            if beat.get("status") == "running":
                return beat
        return {}

    def _until(self, check: Callable[[], T], timeout_s: float, what: str) -> T:
        try:
            return patience.until(self._worker, check, timeout_s, what, fatal=(_Broken,))
        except patience.WorkerEnded as exc:
            # The evidence shows its log, without the secret.
            raise _Broken(exc.headline) from exc


def _must(condition: bool, otherwise: str) -> None:
    if not condition:
        raise _Broken(otherwise)


def _readable(line: str) -> str:
    """A line of the worker's log; an event as time, level, name and what belongs to it."""
    if not line.startswith("{"):
        return line
    try:
        event = json.loads(line)
    except ValueError:
        return line
    head = (str(event.pop(name, "")) for name in ("timestamp", "level", "event"))
    return " ".join((*head, *(f"{name}={value}" for name, value in event.items())))


class _Known(dict[str, Any]):
    """A log event for a template: what it does not have is a question mark."""

    def __missing__(self, _: str) -> str:
        return "?"
