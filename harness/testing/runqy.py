"""A worker that runs a suite's task code, with what it needs, and what a test may do to it."""

import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeVar

from harness import wait
from harness.certify.diagnosis import diagnose
from harness.dev import local
from harness.sandbox import patience
from harness.sandbox.brisk import ALONE, BRISK
from harness.sandbox.redis import RedisUnavailable
from harness.sandbox.repo import GitFailed
from harness.sandbox.runtimes.protocol import Worker
from harness.sandbox.source import Snapshot
from harness.sandbox.stack import Stack
from harness.sandbox.task_process import pid_in
from harness.sandbox.tools import search_path
from harness.server.behaviour import Behaviour
from harness.testing.settings import QUEUE, Settings
from harness.testing.task import Ended, Task

T = TypeVar("T")

#: Cloning, an environment and an installation: seconds, minutes where packages are large.
DEPLOY_TIMEOUT_S = 600.0
#: What a worker may take to end, and a process to be replaced, on a busy machine.
PATIENCE_S = 90.0
#: How long a task may run unless the test says otherwise.
LIMIT_S = 300
_LAST_LINES = 15
_WORKER = {
    **BRISK,
    **ALONE,
    "RUNQY_LOG_FORMAT": "json",
    "RUNQY_RETRY_MAX_DELAY": "1s",
    # A suite may crash the process in each of its tests, and none shall be judged by what others did.
    "RUNQY_RECOVERY_MAX_RESTARTS": "1000",
    "RUNQY_RECOVERY_MAX_DELAY": "1s",
    "RUNQY_SHUTDOWN_TIMEOUT": "10s",
}


class CannotStart(Exception):
    """The worker, or what it needs, could not be started; says why, for the suite's author."""


class Runqy:
    """Server, Redis and worker of one session. :meth:`start` and :meth:`stop` it once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._exits = ExitStack()

    def start(self) -> None:
        """Returns when the task process is ready. Raises :class:`CannotStart`, and leaves nothing then."""
        if shutil.which("git") is None:
            raise CannotStart("there is no git on PATH: task code is deployed with it")
        with ExitStack() as exits:
            exits.enter_context(local.past_proxies())
            behaviour = Behaviour(before_register=self._renew)
            try:
                self._stack = exits.enter_context(Stack(server_options={"behaviour": behaviour}))
                repository = self._stack.folder / "repositories" / "code.git"
                self._snapshot = Snapshot(self._settings.folder, repository)
            except (RedisUnavailable, GitFailed) as exc:
                raise CannotStart(str(exc)) from exc
            git_url = self._stack.server.export(self._snapshot.repo.folder)
            config = self._settings.queue(git_url, self._snapshot.repo.branch)
            self.queue = next(iter(config.priorities()))
            self._client = self._stack.client()
            self._stack.serve(config)
            # With uv, where it is installed beside us, an environment is made in a fraction of pip's time.
            programs = {"PATH": search_path()}
            self._stack.worker(QUEUE, {**_WORKER, **programs, **self._settings.worker})
            self._until_ready(0)
            self._exits = exits.pop_all()

    def stop(self) -> None:
        """Nothing is left of it; idempotent."""
        self._exits.close()

    # What a test does ---------------------------------------------------------------------------------

    def send(self, payload: Mapping[str, Any], *, timeout_s: float = 60.0, limit_s: int = LIMIT_S) -> Ended:
        """Send a task and wait for its end, ``timeout_s`` at most; it may run for ``limit_s`` itself."""
        __tracebackhide__ = True
        return self.enqueue(payload, limit_s=limit_s).ended(timeout_s)

    def enqueue(self, payload: Mapping[str, Any], *, limit_s: int = LIMIT_S) -> Task:
        """Send a task as clients do, and do not wait for it."""
        sent = self._client.enqueue(self.queue, dict(payload), timeout=limit_s)
        return Task(sent.task_id, self.queue, self._stack.db, self._until)

    def crash(self) -> None:
        """Kill the task process (SIGKILL), whatever it does; returns when the next one is ready.

        In one_shot mode it is the process of a task that runs, and there has to be one.
        """
        __tracebackhide__ = True
        if self._settings.mode == "one_shot":
            # It is in no log; but then there are no other processes.
            pids = self._until(self.worker.children, PATIENCE_S, "a task process to crash")
            for pid in pids:
                self.worker.signal_child(pid, signal.SIGKILL)
            self._until(lambda: not {*pids} & {*self.worker.children()}, PATIENCE_S, "the process to end")
            return
        # Between two processes there is none for a moment.
        pid = self._until(lambda: pid_in(self.worker.log_events()), PATIENCE_S, "a task process to crash")
        mark = self.mark()
        self.worker.signal_child(pid, signal.SIGKILL)
        self._until(lambda: self._seen(mark, "process.ready"), PATIENCE_S, "the next process to be ready")

    def restart(self) -> None:
        """Stop the worker as an orchestrator does (SIGTERM), and start it again with the code as it is now.

        Raises :class:`CannotStart` where that does not become ready.
        """
        __tracebackhide__ = True
        mark = self.mark()
        self.worker.terminate()
        self.worker.wait(PATIENCE_S)
        self.worker.restart()
        self._until_ready(mark)

    # What is seen of it -------------------------------------------------------------------------------

    @property
    def worker(self) -> Worker:
        """The one there is: its log, its processes."""
        return self._stack.workers[-1]

    def mark(self) -> int:
        """Now, for :meth:`events`."""
        return len(self.worker.log_events())

    def events(self, since: int = 0) -> list[dict[str, Any]]:
        """The worker's log, from a :meth:`mark` on."""
        return self.worker.log_events()[since:]

    def _seen(self, since: int, *names: str) -> dict[str, Any] | None:
        return next((event for event in self.events(since) if event.get("event") in names), None)

    def near(self, text: str) -> str:
        """``text`` with the task code's files called as in its folder, not as in the worker's."""
        return text.replace(f"{self.worker.environment['RUNQY_DEPLOYMENT_DIR']}/{QUEUE}/", "")

    def _until_ready(self, mark: int) -> None:
        limit_s = DEPLOY_TIMEOUT_S + self._settings.startup_timeout_s
        # A process that ends before it is ready would be started for ever; here the first time says it all.
        names = ("worker.ready", "process.crashed")
        try:
            event = self._until(lambda: self._seen(mark, *names), limit_s, "the worker to be ready")
        except wait.TimedOut as exc:
            raise CannotStart(f"{exc}\n{self._last_words(mark)}") from exc
        if event["event"] == "process.crashed":
            raise CannotStart(self._why(event, mark))

    def _why(self, crash: dict[str, Any], mark: int) -> str:
        """Why the process was not ready, from what it printed."""
        events = self.events(mark)
        # The next process may have printed something, too.
        before = events[: events.index(crash)]
        printed = [each["text"] for each in before if each.get("event") == "process.output"]
        known = diagnose(printed or crash["stderr"], crash["exit"])
        lines = [f"the task process was not ready: {crash['exit']}"]
        lines += [f"{known.seen}.", known.what_to_do, ""] if known else []
        return "\n".join([*lines, *map(self.near, (printed or crash["stderr"])[-_LAST_LINES:])])

    def _last_words(self, mark: int) -> str:
        worst = [event for event in self.events(mark) if event.get("level") in {"error", "warning"}]
        told = [str(event.get("error") or event.get("reason") or event["event"]) for event in worst]
        return "\n".join(told[-_LAST_LINES:]) or self.worker.tail()

    def _until(self, check: Callable[[], T | None], timeout_s: float, what: str) -> T:
        __tracebackhide__ = True
        try:
            found = patience.until(self.worker, check, timeout_s, what)
        except wait.TimedOut as exc:
            # The author of a test looks at the test, and at the log as a failed test shows it.
            said = (
                exc.headline
                if isinstance(exc, patience.WorkerEnded)
                else str(exc).partition("\n")[0].partition("; seen last")[0]
            )
            raise wait.TimedOut(said) from None
        assert found is not None
        return found

    def _renew(self, _: str) -> None:
        self._snapshot.renew()
