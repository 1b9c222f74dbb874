"""``runqy-harness e2e``: scenarios on a runtime, a line each."""

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from harness.dev import local
from harness.e2e import output, pool
from harness.e2e.play import Outcome, Part
from harness.evidence.report import write
from harness.failure import CommandFailed
from harness.sandbox.redis import RedisUnavailable, find_redis_server
from harness.sandbox.runtimes import choice
from harness.sandbox.runtimes.protocol import CannotRun, Runtime
from harness.sandbox.stack import WORKER_COMMAND
from harness.scenarios.scenario import Scenario

NO_ENGINE = 3


@dataclass(frozen=True)
class E2eOptions:
    """What was asked for; ``runtime`` None is the best there is, ``worker`` and ``image`` None are ours."""

    scenarios: Sequence[Scenario]
    runtime: str | None = None
    worker: Sequence[str] | None = None
    image: str | None = None
    jobs: int = 4
    short: bool = False
    mutants: bool = False
    keep: bool = False
    junit: Path | None = None
    json: Path | None = None
    report: Path | None = None


def run(out: TextIO, options: E2eOptions) -> int:
    """Play what is asked for; returns 0, 1 where something failed, 3 where the runtime cannot be used.

    Raises :class:`~harness.failure.CommandFailed` where it cannot even begin.
    """
    if shutil.which("git") is None:
        raise CommandFailed("there is no git on PATH: task code is served from repositories")
    try:
        find_redis_server()
    except RedisUnavailable as exc:
        raise CommandFailed(str(exc)) from exc
    folder = Path(tempfile.mkdtemp(prefix="runqy-e2e-"))
    try:
        with _runtime(out, options) as runtime:
            outcomes = _played(out, options, runtime, folder)
    except CannotRun as exc:
        print(f"runqy-harness e2e: {exc}", file=sys.stderr)
        return NO_ENGINE
    finally:
        if options.keep:
            output.Console(out, 0).say(f"what they left is in {folder}")
        else:
            shutil.rmtree(folder)
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def parts(options: E2eOptions, runtime: str) -> list[Part]:
    """What is to be played there, the longest first: it is what the end is waited for."""
    chosen = [each for each in options.scenarios if runtime in each.runtimes]
    if options.short:
        lengths = {"smoke"} if runtime == "docker" else {"smoke", "normal"}
        chosen = [each for each in chosen if each.length in lengths]
    chosen.sort(key=lambda each: -each.budget_s)
    if not options.mutants:
        return [Part(each) for each in chosen]
    # What stands before a worker's command has no place in a container.
    return [
        Part(each, mutation)
        for each in chosen
        for mutation in each.mutations
        if not (mutation.wrapper and runtime == "docker")
    ]


def _played(out: TextIO, options: E2eOptions, runtime: Runtime, folder: Path) -> list[Outcome]:
    local.go_round_proxies(runtime.address)
    wanted = parts(options, runtime.name)
    console = output.Console(out, len(wanted))
    began_s = time.monotonic()
    outcomes = []
    for outcome in pool.play_all(wanted, runtime, folder, options.jobs, console.progress):
        console.ended(outcome)
        outcomes.append(outcome)
    took_s = time.monotonic() - began_s
    outcomes.sort(key=lambda outcome: [part.name for part in wanted].index(outcome.name))
    if options.junit:
        output.write_junit(options.junit, outcomes, runtime.name, took_s)
    if options.json:
        output.write_json(options.json, outcomes, runtime.name, took_s)
    if options.report:
        for line in write.write(output.report(outcomes, runtime.name, took_s), options.report):
            console.say(line)
    console.say(output.summary(outcomes, runtime.name, took_s))
    return outcomes


def _runtime(out: TextIO, options: E2eOptions) -> Runtime:
    """The one that was asked for; without a word on it docker, where that can be used."""
    processes = choice.on_processes(options.worker or WORKER_COMMAND)
    containers = choice.in_containers(options.image)
    if options.runtime == "docker" or options.image:
        return containers
    if options.runtime == "process" or options.worker:
        return processes
    try:
        containers.check()
    except CannotRun as exc:
        output.Console(out, 0).say(f"on the process runtime: {exc}")
        return processes
    return containers
