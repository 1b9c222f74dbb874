"""Does it stand what happens in production: kills, freezes, stops?"""

import signal
import time

from harness.certify.bench import GRACE_S, Bench
from harness.certify.finding import Finding, failed, passed, skipped, warned
from harness.sandbox import tasks

_NOT_BEGUN = " (it is too quick to be caught at work: the task was in the process's stdin)"
_STOP_S = 60.0
#: How often a kill may come at the wrong moment.
_KILLS = 5


def killed(bench: Bench) -> Finding:
    """Send a task, kill the process that works on it (SIGKILL), and wait for the second attempt."""
    if bench.subject.one_shot and bench.took_s < 1:
        return skipped("it is too quick to be caught at work")
    bench.settled()
    usual = bench.ended(*bench.send(bench.subject.payloads[0]))[0]
    for _ in range(_KILLS):
        bench.settled()
        task_id, begun = bench.begin_one()
        if pid := bench.pid():
            bench.worker.signal_child(pid, signal.SIGKILL)
        (task,) = bench.ended(task_id)
        # Without a retry the task had ended before the kill, or the worker had not handed it over yet.
        if tasks.retried(task):
            break
    else:
        return skipped("the task ended before its process could be killed")
    note = "" if begun else _NOT_BEGUN
    if task.state != usual.state:
        error = task.fields.get("error_msg", "").strip().splitlines() or ["no reason given"]
        return failed(
            f"the second attempt is {task.state}, an undisturbed one {usual.state}: {error[-1]}",
            "A task may be run again after a crash: write files under another name and rename them, "
            "expect that "
            "what is to be made is there already.",
            "docs/task-process.md#the-end-of-a-task-and-who-pays",
        )
    return passed(f"retried and {task.state}, one retry charged{note}")


def frozen(bench: Bench) -> Finding:
    """Freeze the process (SIGSTOP), or send the payload that hangs, and see it replaced at the time limit."""
    if bench.subject.one_shot:
        return skipped("in one_shot mode there is no process to freeze between tasks")
    pid, mark = bench.settled(), bench.mark()
    limit_s = max(2, int(2 * bench.took_s) + 1)
    hanging = bench.subject.hanging
    if hanging is None:
        bench.worker.signal_child(pid, signal.SIGSTOP)
    (task_id,) = bench.send(bench.subject.payloads[0] if hanging is None else hanging, timeout_s=limit_s)
    if hanging is None:
        usual = bench.ended(task_id)[0].state
        how = f"replaced after {limit_s} s, the task's limit; the task is {usual} at its second attempt"
    else:
        bench.until(
            lambda: (
                bench.events("process.task_timed_out", mark)
                or bench.places(task_id) & {"completed", "archived"}
            ),
            "the task's limit to pass",
        )
        if not bench.events("process.task_timed_out", mark):
            return failed(f"the payload that hangs ended within {limit_s} s", "Give one that takes longer.")
        how = f"the payload that hangs was ended after {limit_s} s, its limit"
    if bench.settled() == pid:
        return failed("the process was not replaced", "This is the worker's mistake: please report it.")
    return passed(how)


def stopped_at_work(bench: Bench) -> Finding:
    """Send a task and stop the worker (SIGTERM) while it runs."""
    bench.settled()
    payload = bench.subject.payloads[0]
    (task_id,) = bench.send(payload)
    bench.until(lambda: bench.places(task_id) != {"pending"}, "the task to begin", fast=True)
    late = bench.places(task_id) != {"active"}
    finding, places = _stopped(bench, task_id)
    if finding is None and not places <= {"completed", "pending", "archived"}:
        finding = failed(f"its task is {'+'.join(places)}", "This is the worker's mistake: please report it.")
    note = " (it was done before the signal came)" if late else ""
    return finding or passed(f"the task is {'+'.join(places)}, the process has ended in time{note}")


def stopped_idle(bench: Bench) -> Finding:
    """Stop the worker (SIGTERM) while the process waits for tasks."""
    if bench.subject.one_shot:
        return skipped("in one_shot mode no process waits")
    bench.settled()
    begun_s = time.monotonic()
    finding, _ = _stopped(bench)
    return finding or passed(f"ended {time.monotonic() - begun_s:.1f} s after it was asked to")


def _stopped(bench: Bench, *task_ids: str) -> tuple[Finding | None, set[str]]:
    """Stop the worker and start it again.

    Returns None where the task process ended as it should, and where these tasks were in between.
    """
    mark = bench.mark()
    bench.worker.terminate()
    bench.worker.wait(_STOP_S + 2 * bench.took_s)
    # In one_shot mode the end of a process is the end of its task, which other checks judge.
    ended = [] if bench.subject.one_shot else bench.events("process.exited", mark)
    exits = [str(event["exit"]) for event in ended]
    places = bench.places(*task_ids)
    bench.worker.restart()
    bench.until(lambda: bench.events("worker.running", mark), "the worker to run again")
    finding = None
    if any("SIGKILL" in text for text in exits):
        finding = failed(
            f"it did not end within {GRACE_S} s of SIGTERM and had to be killed",
            "End when stdin ends or SIGTERM comes. Leave both to the SDK's run(), or exit in your own "
            "handler of SIGTERM; daemon threads must not keep the process alive.",
            "docs/task-process.md#starting-and-ending",
        )
    elif not exits and not bench.subject.one_shot:
        finding = warned(
            "the end of its process was not seen", "This is the worker's mistake: please report it."
        )
    return finding, places
