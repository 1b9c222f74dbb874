"""A runner on the bench: real processes underneath, and everything it says written down."""

import sys
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import psutil

from appliance.clock import SystemClock
from appliance.config.settings import RecoverySettings
from appliance.process.outcome import Outcome
from appliance.process.runner import Deliver, Request, Runner
from appliance.process.runners.long_running import LongRunning
from appliance.process.runners.one_shot import OneShot
from appliance.process.spec import CrashReport, Hooks, ProcessSpec
from harness import wait
from harness.sandbox.handlers import handler_files

#: Seconds for anything that has to come about on a busy machine.
SOON_S = 45.0
#: Restarts at once, and none given up.
PATIENT = RecoverySettings(max_restarts=1000, initial_delay_s=0.01, max_delay_s=0.05)

T = TypeVar("T", LongRunning, OneShot)

#: In the environment of every process of one bench, descendants too, so that they can be found.
_MARK = "TEST_BENCH"


class Bench:
    """Makes runners for code given as text; remembers what they deliver, print and report."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outcomes: list[tuple[str, Outcome]] = []
        self.output: list[tuple[str, str]] = []
        self.crashes: list[CrashReport] = []
        self.seen: list[tuple[str, bool]] = []
        self._submitted: list[str] = []
        self._runners: list[Runner] = []
        self._token = uuid.uuid4().hex
        # What the code of a test may import: raw, diary, settings.
        for path, text in handler_files("echo").items():
            (folder / path).write_text(text)

    def spec(self, code: str, **changes: object) -> ProcessSpec:
        """Run ``code`` as main.py."""
        (self.folder / "main.py").write_text(code)
        spec = ProcessSpec(
            argv=(sys.executable, "main.py"),
            cwd=self.folder,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONUNBUFFERED": "1", _MARK: self._token},
            startup_timeout_s=3 * SOON_S,
            stop_grace_s=SOON_S,
        )
        return replace(spec, **changes)

    def long_running(
        self,
        code: str,
        recovery: RecoverySettings = PATIENT,
        redact: Callable[[str], str] = str,
        **spec: object,
    ) -> LongRunning:
        """A started runner; ``spec`` changes the process's specification."""
        runner = LongRunning("q", self.spec(code, **spec), recovery, SystemClock(), self._hooks(redact))
        return self._begin(runner)

    def one_shot(
        self,
        code: str,
        recovery: RecoverySettings = PATIENT,
        redact: Callable[[str], str] = str,
        **spec: object,
    ) -> OneShot:
        """The same for the other kind."""
        runner = OneShot("q", self.spec(code, **spec), recovery, SystemClock(), self._hooks(redact))
        return self._begin(runner)

    def ready(self, runner: Runner) -> None:
        """Wait until the runner takes tasks."""
        wait.until(lambda: runner.ready, SOON_S, "the runner to be ready", self.diagnose)

    def submit(
        self,
        runner: Runner,
        task_id: str = "t1",
        payload: bytes = b"{}",
        deliver: Deliver | None = None,
        **limits: float,
    ) -> None:
        """Hand a task over; it must be accepted. ``deliver`` gets the outcome in place of this bench."""
        request = Request(task_id, "q.a", "kind", payload, 0, 3, **limits)
        runner.submit(
            request, deliver or (lambda request, outcome: self.outcomes.append((request.task_id, outcome)))
        )
        self._submitted.append(task_id)

    def outcome(self, task_id: str = "t1", timeout_s: float = SOON_S) -> Outcome:
        """Wait for what becomes of a task."""

        def find() -> Outcome | None:
            return next((outcome for known, outcome in self.outcomes if known == task_id), None)

        outcome = wait.until(find, timeout_s, f"the outcome of {task_id}", self.diagnose)
        assert outcome is not None
        return outcome

    def printed(self, text: str) -> str:
        """Wait for an output line that holds ``text``, and return it."""
        return wait.until(
            lambda: next((line for _, line in self.output if text in line), None) or "",
            SOON_S,
            f"output {text!r}",
            self.diagnose,
        )

    def crash(self, number: int = 1) -> CrashReport:
        """Wait for the n-th crash report."""
        return wait.until(lambda: self.crashes[number - 1], SOON_S, f"crash {number}", self.diagnose)

    def alive(self) -> list[int]:
        """The processes of this bench that live, descendants included."""
        return [process.pid for process in psutil.process_iter() if self._is_ours(process)]

    def stop(self) -> None:
        """Stop every runner, and hold them against what every runner promises."""
        for runner in self._runners:
            runner.stop(1.0)
            assert not runner.ready
            assert runner.state().pids == ()
        delivered = Counter(task_id for task_id, _ in self.outcomes)
        assert delivered == Counter(self._submitted), "each task is delivered exactly once"
        wait.until(lambda: not self.alive(), SOON_S, "every process to be gone", lambda: str(self.alive()))

    def diagnose(self) -> str:
        """What happened so far."""
        states = [runner.state() for runner in self._runners]
        return f"{states}\noutcomes {self.outcomes}\ncrashes {self.crashes}\noutput {self.output[-20:]}"

    def _hooks(self, redact: Callable[[str], str]) -> Hooks:
        return Hooks(
            on_change=self._look,
            on_output=lambda source, text, _task_id: self.output.append((source, text)),
            on_crash=self.crashes.append,
            redact=redact,
        )

    def _look(self) -> None:
        self.seen += [(runner.state().recovery, runner.ready) for runner in self._runners[-1:]]

    def _begin(self, runner: T) -> T:
        self._runners.append(runner)
        runner.start()
        return runner

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return process.environ().get(_MARK) == self._token
        except psutil.Error:
            return False
