"""Does it deploy, does it start?"""

import time

from harness.certify.bench import IDLE_S, Bench
from harness.certify.diagnosis import TRACEBACK_LINES, diagnose
from harness.certify.finding import Finding, failed, passed, skipped, warned
from harness.certify.hang import Hangs, StartWatch

_DEPLOYED = ("deploy.done", "deploy.baked")
DEPLOY_TIMEOUT_S = 600.0
_NOT_READY = (
    'Load what is needed, then say ready: run() of the SDK does, by hand it is a line {"status": "ready"} on '
    'stdout. What cannot be loaded is best told as {"status": "error", "error": "why"}.'
)


def deploys(bench: Bench) -> Finding:
    """Start a worker that clones the code and installs its requirements."""
    bench.start_worker()

    def decided() -> bool:
        return any(bench.events(name) for name in _DEPLOYED) or bench.worker.exit_status is not None

    bench.until(decided, "the code to be deployed", DEPLOY_TIMEOUT_S)
    for event in bench.events("deploy.done"):
        with_what = "".join(f" by {made['installer']}" for made in bench.events("deploy.environment")[-1:])
        return passed(f"cloned and installed{with_what} in {event['seconds']:.0f} s")
    if bench.events("deploy.baked"):
        return passed("the code came with the image: nothing to clone, nothing to install")
    return failed(
        f"it could not be deployed: {bench.last_words()}",
        "Check the branch, code_path and the requirements file: each must be in the repository as it is "
        "committed.",
        "docs/certify.md#the-code",
    )


def starts(bench: Bench) -> Finding:
    """Wait until the task process says that it is ready."""
    if bench.subject.one_shot:
        return skipped("in one_shot mode a process starts with each task: see `result`")
    limit_s = bench.subject.queue.startup_timeout_secs

    watch = StartWatch(IDLE_S)

    def decided() -> bool:
        if any(bench.events(name) for name in ("process.ready", "process.crashed")):
            return True
        watch.look(time.monotonic(), bench.busy())
        return False

    try:
        bench.until(decided, "the task process to be ready", limit_s + 30, fatal=(Hangs,))
    except Hangs as exc:
        return failed(str(exc), _NOT_READY, "docs/task-process.md#starting-and-ending")
    ready = bench.events("process.ready")
    if not ready:
        crash = bench.events("process.crashed")[0]
        known = diagnose(bench.output("stderr")[-TRACEBACK_LINES:] or crash["stderr"], crash["exit"])
        if known:
            return failed(f"it did not become ready: {known.seen}", known.what_to_do, known.page)
        last = f"; last on stderr: {crash['stderr'][-1]}" if crash["stderr"] else ""
        return failed(
            f"it did not become ready: {crash['exit']} after {crash['uptime_s']:.1f} s{last}",
            _NOT_READY,
            "docs/task-process.md#starting-and-ending",
        )
    took_s = float(ready[0]["seconds"])
    seen = f"ready after {took_s:.1f} s of {limit_s} s"
    if took_s > limit_s / 2:
        return warned(
            f"{seen}: more than half of what it may take",
            "On a busier machine it would not make it: load less, or raise startup_timeout_secs.",
            "docs/task-process.md#starting-and-ending",
        )
    noise = bench.output("stdout")
    return passed(f"{seen}{f', with {len(noise)} lines of other output on stdout before' if noise else ''}")
