"""``runqy-harness certify``: an author's task code through what production has in store for it."""

import shutil
import sys
import time
import traceback
from typing import TextIO

from harness import wait
from harness.certify import catalogue, code, tell
from harness.certify.bench import Bench
from harness.certify.code import CertifyOptions
from harness.certify.finding import CheckResult, Finding, Judged, failed, skipped
from harness.certify.hang import Hangs
from harness.dev import local
from harness.evidence.sampler import Sampler
from harness.evidence.timeline import Timeline
from harness.failure import CommandFailed, Interrupted
from harness.sandbox.patience import WorkerEnded
from harness.sandbox.redis import RedisUnavailable
from harness.sandbox.repo import GitFailed
from harness.sandbox.runtimes import choice
from harness.sandbox.runtimes.protocol import CannotRun
from harness.sandbox.stack import WORKER_COMMAND, Stack

NOT_CERTIFIED = 1
COULD_NOT_RUN = 3


def run(out: TextIO, options: CertifyOptions) -> int:
    """Judge and tell; returns 0 (certified), 1 (not), or 3 after saying why nothing could be judged."""
    local.go_round_proxies()
    try:
        if shutil.which("git") is None:
            raise CommandFailed("there is no git on PATH: task code is deployed with it")
        command = options.worker or WORKER_COMMAND
        console = tell.Console(out, code.name_of(options))
        with (
            choice.chosen(options.runtime, command, options.image) as runtime,
            Stack(runtime=runtime) as stack,
        ):
            local.go_round_proxies(runtime.address)
            timeline = Timeline()
            with Sampler(timeline, stack.db, lambda: tuple(stack.workers), 2 * runtime.look_every_s):
                judged = _judged(options, stack, console, timeline)
            log = "\n".join(worker.log_text() for worker in stack.workers)
    except (CannotRun, CommandFailed, RedisUnavailable, GitFailed) as exc:
        print(f"runqy-harness certify: {exc}", file=sys.stderr)
        return COULD_NOT_RUN
    except Interrupted:
        print("runqy-harness certify: interrupted; what was started is gone", file=sys.stderr)
        raise
    certified = tell.certified(judged)
    console.closing(judged)
    if options.json:
        tell.write_json(options.json, judged)
    if options.junit:
        tell.write_junit(options.junit, judged)
    if options.report:
        for line in tell.write_report(options.report, judged, timeline.events, log):
            print(line, file=out)
    return 0 if certified else NOT_CERTIFIED


def _judged(options: CertifyOptions, stack: Stack, console: tell.Console, timeline: Timeline) -> list[Judged]:
    bench = Bench(stack, code.subject(options, stack))
    wanted = {*catalogue.FIRST, *(options.only or catalogue.OTHERS)}
    judged: list[Judged] = []
    stands = True
    for name, check in catalogue.ALL.items():
        if name not in wanted:
            continue
        did = (check.__doc__ or "").rstrip(".")
        console.begins(name, did)
        begun_s = time.monotonic()
        timeline.record("checks", "fault.began", fault=name, target="", id=len(judged))
        finding = _checked(check, bench) if stands else skipped("what comes before it failed")
        judged.append(Judged(name, did, finding, time.monotonic() - begun_s))
        timeline.record("checks", "fault.ended", fault=name, target="", id=len(judged) - 1)
        console.ended(judged[-1])
        stands = stands and not (name in catalogue.FIRST and finding.result is CheckResult.FAIL)
    return judged


def _checked(check: catalogue.Check, bench: Bench) -> Finding:
    try:
        return check(bench)
    except Hangs as exc:
        bench.forget_unfinished()
        return failed(
            str(exc),
            "Look for a lock, an endless loop, a prompt, a connection without a time limit, or stdin that is "
            "never read. If that is what your task takes, say so: --longest 5m.",
        )
    except WorkerEnded as exc:
        # The headline names what was waited for; the rest is its log.
        return failed(
            f"{exc.headline}: {bench.last_words()}",
            "Its log (--report DIR) says more.",
            "docs/operations.md",
        )
    except wait.TimedOut as exc:
        bench.forget_unfinished()
        return failed(
            str(exc).partition("\n")[0].partition("; seen last")[0],
            "The task process neither answered nor ended: look for a lock, a prompt, or stdin that "
            "is never read.",
        )
    except (AssertionError, KeyError, OSError) as exc:
        # Not the author's fault, and no reason to hide what the other checks find.
        traceback.print_exc()
        return failed(
            f"the check could not be made: {type(exc).__name__}: {exc}",
            "This is no fault of your task code. Please report it, with the lines on stderr.",
        )
