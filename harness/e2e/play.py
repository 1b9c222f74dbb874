"""Plays one scenario in this process, and says how it ended."""

import re
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.evidence.sampler import Sampler
from harness.evidence.timeline import Timeline
from harness.sandbox.runtimes.process import ProcessRuntime
from harness.sandbox.runtimes.protocol import CannotRun, Runtime
from harness.sandbox.stack import Stack
from harness.scenarios.scenario import Mutation, Scenario
from harness.scenarios.scene import PATIENCE, Scene
from harness.server.behaviour import Behaviour


class OverBudget(BaseException):
    """The scenario's time is up; no Exception, so that nothing that waits takes it for "not yet"."""


@dataclass(frozen=True)
class Part:
    """What is to be played: a scenario, or one of its mutants, which must fail."""

    scenario: Scenario
    mutation: Mutation | None = None

    @property
    def name(self) -> str:
        """``group/file``, a mutant's with its own name."""
        return self.scenario.name + (f" [{self.mutation.name}]" if self.mutation else "")

    def limit_s(self, runtime: Runtime) -> float:
        """What it may take there: its budget and a start, on a busy machine."""
        return (self.scenario.budget_s + runtime.start_s) * PATIENCE


@dataclass(frozen=True)
class Outcome:
    """How one part ended. ``problem`` is why it failed, ``diagnosis`` what helps to see why."""

    name: str
    claim: str
    passed: bool
    seconds: float
    problem: str = ""
    diagnosis: str = ""
    folder: str = ""
    timeline: list[dict[str, Any]] = field(default_factory=list)


def play(part: Part, runtime: Runtime, folder: Path) -> Outcome:
    """Play ``part`` with its files in ``folder``, which stays; ``runtime`` is entered already."""
    limit_s = part.limit_s(runtime)
    timeline = Timeline()
    began_s = time.monotonic()
    problem = diagnosis = ""
    try:
        with _limited(limit_s), _staged(part, runtime, folder, timeline) as scene:
            problem, diagnosis = _played(part, scene, limit_s)
    except CannotRun as exc:
        problem = str(exc)
    except Exception:  # noqa: BLE001  a stack that cannot be built or ended is a failure like any other
        problem = traceback.format_exc().strip()
    timeline.record("scenario", "scenario.result", passed=not problem)
    outcome = Outcome(
        name=part.name,
        claim=part.scenario.claim,
        passed=not problem,
        seconds=time.monotonic() - began_s,
        problem=problem,
        diagnosis=diagnosis,
        folder=str(folder),
        timeline=timeline.as_json(),
    )
    return judged(outcome, part.mutation) if part.mutation else outcome


def _played(part: Part, scene: Scene, limit_s: float) -> tuple[str, str]:
    """The problem and its diagnosis; empty where there is none."""
    problem = ""
    try:
        with scene.sabotaged():
            part.scenario.play(scene)
            scene.check_standing()
    except OverBudget:
        problem = f"took longer than its {limit_s:g} s\n{_where()}"
    except AssertionError as exc:
        problem = str(exc) or _where()
    except Exception as exc:  # noqa: BLE001  whatever it is, it is reported
        problem = f"{type(exc).__name__}: {exc}\n{_where()}"
    signal.setitimer(signal.ITIMER_REAL, 0)
    scene.collect()
    return problem, scene.stack.diagnosis() if problem else ""


def judged(outcome: Outcome, mutation: Mutation) -> Outcome:
    """A mutant's outcome: it passes where the scenario failed, and for the reason it must fail for."""
    if outcome.passed:
        problem = "the mutant was not caught: the scenario passed"
    elif not re.search(mutation.red, outcome.problem):
        problem = f"the mutant failed for another reason than {mutation.red!r}: {outcome.problem}"
    else:
        return replace(outcome, passed=True, problem="", diagnosis="")
    return replace(outcome, passed=False, problem=problem)


@contextmanager
def _staged(part: Part, runtime: Runtime, folder: Path, timeline: Timeline) -> Iterator[Scene]:
    mutation = part.mutation
    options: dict[str, Any] = {}
    if mutation and mutation.registration:
        altered = partial(merged, patch=mutation.registration)
        options["behaviour"] = Behaviour(alter_registration=altered)
    if mutation and mutation.wrapper:
        if not isinstance(runtime, ProcessRuntime):
            raise CannotRun(f"mutant {mutation.name!r} is a program before the worker: process runtime only")
        runtime = runtime.wrapped(mutation.wrapper)
    folder.mkdir(parents=True, exist_ok=True)
    with Stack(runtime=runtime, folder=folder, server_options=options) as stack:
        with Sampler(timeline, stack.db, lambda: tuple(stack.workers), 2 * runtime.look_every_s):
            yield Scene(stack, timeline, mutation)
        _keep_logs(stack)


def _keep_logs(stack: Stack) -> None:
    for worker in stack.workers:
        (stack.folder / f"{worker.name}.log").write_text(worker.log_text())


@contextmanager
def _limited(limit_s: float) -> Iterator[None]:
    def over(*_: object) -> None:
        raise OverBudget

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _where() -> str:
    """The line of the scenario that the current exception comes from."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    told = [frame for frame in frames if "/scenarios/" in frame.filename] or list(frames)
    return "\n".join(f"  {Path(frame.filename).name}:{frame.lineno}: {frame.line}" for frame in told)


def merged(value: Any, patch: Any) -> Any:
    """``value`` after a JSON merge patch (RFC 7386): null removes, objects are merged, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for name, change in patch.items():
        if change is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), change)
    return result
