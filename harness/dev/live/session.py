"""``runqy-harness dev``: the task code in a folder at work, on this machine, as it is saved.

One loop looks at three things: what was saved, what the worker's log says, and whether the worker lives. What
follows from them is the table of :mod:`~harness.dev.live.reloading`.
"""

import http.client
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from runqy_python.client import RunqyError

from harness.dev import local, serve
from harness.dev.live import inputs, syntax
from harness.dev.live.hearing import Hearing
from harness.dev.live.log_tail import LogTail
from harness.dev.live.reloading import Action, Event, Reloading, State
from harness.dev.live.rig import SHUTDOWN_S, DevOptions, Rig
from harness.dev.live.summary import Summary
from harness.dev.live.tell import Teller, files, took
from harness.dev.live.watching import Saves, Watching
from harness.failure import CommandFailed, Interrupted, on_interruption
from harness.output.terminal import Terminal, json_line
from harness.queue import asynq

#: Seconds between two looks, and how long the worker may take to end beyond what its tasks may.
LOOK_S = 0.05
_MORE_S = 15.0
_RELOADING = (State.RELOADING, State.RELOADING_CHANGED)
#: Events after which the worker runs what the folder has.
_TAKEN_ON = ("worker.running", "redeploy.done", "redeploy.unchanged")
_UNFINISHED = (asynq.get_pending, asynq.get_active, asynq.get_scheduled, asynq.get_retry)


def run(out: TextIO, options: DevOptions) -> int:
    """Serve and tell until the process is interrupted; raises that, after a summary.

    Raises :class:`~harness.failure.CommandFailed` where it cannot begin.
    """
    local.go_round_proxies()
    if options.payload:
        inputs.payloads(options.payload)
    # Before the folder is looked at for the first time: nothing that is saved from here on is missed.
    with Watching(options.folder) as watching, Rig(options) as rig:
        session = Session(rig, watching, Teller(Terminal(out)))
        interrupted: list[int] = []
        # Between two steps, not in the middle of one: an event would be told twice, or never.
        on_interruption(lambda number, _: interrupted.append(number))
        session.begin()
        while not interrupted:
            session.step()
        session.end()
        raise Interrupted(interrupted[0])


@dataclass(frozen=True)
class Taking:
    """What the worker is taking on, in words; empty for a start. ``since_s`` is when it was saved."""

    what: str
    since_s: float


class Session:
    """One run; see the module."""

    def __init__(self, rig: Rig, watching: Watching, teller: Teller) -> None:
        self._rig = rig
        self._teller = teller
        self._hearing = Hearing(teller, rig.db, rig.config.redis_storage, rig.places)
        self._log = LogTail(rig.worker.log_path)
        self._saves = Saves(watching, rig.options.env_file, rig.options.payload)
        self._reloading = Reloading()
        self._summary = Summary()
        self._began_s = time.monotonic()
        #: What the worker is taking on, in words; since when it was to.
        self._taking = Taking("", self._began_s)
        #: Whether it refused what the folder has: then that is tried again, changed or not.
        self._refused = False

    def begin(self) -> None:
        """Say what is here, and start the worker. Raises :class:`~harness.failure.CommandFailed`."""
        rig, options = self._rig, self._rig.options
        where = "" if rig.server.url == local.url() else f" --server {rig.server.url}"
        enqueue = f"{serve.program('runqy-harness')} enqueue{where} --queue {rig.queue} --wait"
        facts = {
            "server": rig.server.url,
            "page": f"{rig.server.url}/",
            "queue": ", ".join(rig.config.priorities()),
            "a task": f'{enqueue} \'{{"hello": "world"}}\'',
        }
        if names := sorted(name for entries in rig.config.vaults.values() for name in entries):
            facts["vault"] = ", ".join(names)
        self._teller.heading(f"runqy dev: {options.folder}, taken on as you save it; Ctrl-C ends it", facts)
        try:
            rig.worker.start()
        except FileNotFoundError as exc:
            raise CommandFailed(str(exc)) from exc

    def step(self) -> None:
        """Look once at everything."""
        news = self._saves.look(LOOK_S)
        now_s = time.monotonic()
        if news:
            self._on(Event.SAVED, now_s)
        # Before its log is read: what it wrote up to its end counts.
        ended = self._rig.worker.exit_status
        for event in self._log.news():
            self._hear(event, now_s)
        self._hearing.tick(now_s)
        if ended is not None and self._reloading.state not in (State.DOWN, State.DOWN_SETTLING):
            self._teller.bad(f"the worker ended (exit status {ended}); save a change to start it again")
            self._on(Event.ENDED, now_s)
        match self._reloading.tick(now_s):
            case Action.RELOAD:
                self._reload(now_s)
            case Action.START:
                self._start_again()
        if self._reloading.state in (State.STARTING, State.STARTING_CHANGED, State.RELOADING):
            self._teller.waiting(f"{self._taking.what or 'starting'}  {took(now_s - self._taking.since_s)}")

    def end(self) -> None:
        """Let running tasks finish and say what happened; another Ctrl-C does not wait for them."""
        worker = self._rig.worker
        again = [0]

        def hurry(*_: object) -> None:
            again[0] += 1
            (worker.terminate if again[0] == 1 else worker.kill)()

        on_interruption(hurry)
        if worker.exit_status is None:
            self._teller.aside(f"ending; running tasks have {SHUTDOWN_S} s, none after another Ctrl-C")
            worker.terminate()
        until_s = time.monotonic() + SHUTDOWN_S + _MORE_S
        while worker.exit_status is None and time.monotonic() < until_s:
            time.sleep(LOOK_S)
            self._hear_all()
        self._hear_all()
        self._hearing.flush()
        unfinished = sum(
            len(look(self._rig.db, queue)) for queue in self._rig.config.priorities() for look in _UNFINISHED
        )
        lines = self._summary.lines(time.monotonic() - self._began_s, unfinished)
        self._teller.closing(lines, well=self._summary.well)

    def _on(self, event: Event, now_s: float) -> None:
        self._reloading.on(event, now_s)

    def _hear_all(self) -> None:
        now_s = time.monotonic()
        while events := self._log.news():
            for event in events:
                self._summary.take(event)
                self._hearing.hear(event, now_s)
        self._hearing.tick(now_s)

    def _hear(self, event: Mapping[str, Any], now_s: float) -> None:
        name = event.get("event")
        # Of the new code, which is refused then.
        if name == "process.crashed" and not event["tasks"] and self._reloading.state in _RELOADING:
            return
        self._summary.take(event)
        self._hearing.hear(event, now_s)
        what, after = self._taking.what, took(now_s - self._taking.since_s)
        self._refused = name == "redeploy.refused" or (self._refused and name not in _TAKEN_ON)
        match name:
            case "worker.running":
                self._on(Event.RUNS, now_s)
            case "worker.ready":
                self._teller.good(f"ready after {after}")
                self._send()
            case "redeploy.done":
                self._teller.good(f"taken on: {what}, {after} after it was saved")
                self._on(Event.RELOADED, now_s)
                self._send()
            case "redeploy.unchanged":
                self._on(Event.RELOADED, now_s)
                self._send()
            case "redeploy.refused":
                self._teller.bad(f"not taken on: {what}: {self._hearing.near(_reason(event))}")
                self._teller.aside("the code from before goes on")
                self._on(Event.RELOADED, now_s)

    def _reload(self, now_s: float) -> None:
        saved = self._saves.take()
        try:
            changed = self._rig.renew()
        except CommandFailed as exc:
            self._teller.bad(str(exc))
            self._on(Event.RELOADED, now_s)
            return
        payload = self._rig.options.payload
        of_code = [each for each in changed if self._rig.options.folder / each != payload]
        if of_code or self._refused:
            self._taking = Taking(files(of_code or saved.names), saved.since_s)
            self._take_on(of_code, now_s)
            return
        self._on(Event.RELOADED, now_s)
        if payload in saved.files:
            self._send()

    def _take_on(self, names: Sequence[str], now_s: float) -> None:
        options = self._rig.options
        one_shot = options.settings["mode"] == "one_shot"
        if one_shot and (problem := syntax.problem(options.folder, names)):
            for line in problem.splitlines():
                self._teller.printed(line, "stderr", "")
            self._hear({"event": "redeploy.refused", "reason": "it is not Python"}, now_s)
            return
        self._rig.reload()

    def _start_again(self) -> None:
        self._taking = Taking("", self._saves.take().since_s)
        try:
            self._rig.renew()
        except CommandFailed as exc:
            self._teller.bad(str(exc))
        self._rig.worker.restart()

    def _send(self) -> None:
        """A task for each of the payloads, where there is a file of them."""
        file = self._rig.options.payload
        if file is None:
            return
        try:
            payloads: Sequence[Mapping[str, Any]] = inputs.payloads(file)
            ids = self._rig.send(payloads)
        except CommandFailed as exc:
            self._teller.bad(str(exc))
        except (RunqyError, http.client.HTTPException, OSError, ValueError) as exc:
            self._teller.bad(f"--payload {file}: {exc}")
        else:
            for task_id, payload in zip(ids, payloads, strict=True):
                self._teller.aside(f"sent {json_line(payload)}", task_id)


def _reason(event: Mapping[str, Any]) -> str:
    """Why it is not taken on; the commit is one that we made, and means nothing to people."""
    return re.sub(r"^commit [0-9a-f]{40}: ", "", event["reason"])
