"""Does it answer: good payloads, odd ones, big ones, many, two at once?"""

import json
import time
from collections.abc import Sequence
from typing import Any

from harness.certify.bench import Bench
from harness.certify.diagnosis import TRACEBACK_LINES, diagnose
from harness.certify.finding import CheckResult, Finding, failed, passed, skipped, warned
from harness.certify.hang import Hangs
from harness.queue.asynq import StoredTask

BIG_BYTES = 5_000_000
MANY = 100
#: So long at most for many tasks; fewer are sent where each takes its time.
MANY_S = 20.0
#: Per 100 tasks; what every interpreter gains at first does not count.
MEMORY_BYTES = 20_000_000
DESCRIPTORS = 20
#: More than this per 100 tasks, in both halves of them, is a leak.
LEAK_BYTES = 50_000_000
#: Whatever a client may send by mistake; the last is no JSON at all.
ODD: tuple[Any, ...] = (
    {},
    {"certify_unknown_field": None, "unicode": "žluťoučký 🐎 \u0000", "deep": [[[{"": []}]]]},
    None,
    [1, 2, 3],
    "text",
    1e308,
    b"{not json",
)
_EACH_TIME = (
    "The payload was completed once: it has to be, each time. What may fail for a while is best tried again "
    "by the task itself, or answered with retry."
)
_WHO_PAYS = "docs/task-process.md#the-end-of-a-task-and-who-pays"
_NO_JSON = ("not JSON-serializable", "NaN", "Infinity", "UTF-8")


def result(bench: Bench) -> Finding:
    """Send each payload once."""
    for payload in bench.subject.payloads:
        begun_s = time.monotonic()
        (task,) = bench.ended(*bench.send(payload))
        bench.took_s = max(bench.ended_s - begun_s, bench.took_s)
        if task.state != "completed":
            return _no_result(bench, task, payload)
    count = len(bench.subject.payloads)
    what = f"{count} payload{'s' * (count > 1)} answered with JSON, the slowest in {bench.took_s:.2f} s"
    if not bench.subject.given:
        return warned(
            f"{what}; the payload was {{}}, since none was given",
            "Give a payload that is typical of your task (--payload JSON, --payloads FILE), for {} may "
            "not do the work.",
            "docs/certify.md#payloads",
        )
    return passed(what)


def _no_result(bench: Bench, task: StoredTask, payload: Any) -> Finding:
    """No certificate without a completed task: every other check would be of code that does no work."""
    error = task.fields.get("error_msg", "").strip()
    seen = f"{_short(payload)} was not completed: {_last_line(error)}"
    if any(word in error for word in _NO_JSON):
        return failed(
            seen,
            "Return what JSON has: objects, lists, text, finite numbers. Turn arrays into lists, NaN into "
            "null, dates into text.",
            "docs/task-process.md#lines",
        )
    # Of what it printed only where it ended of that: a warning may look like an error.
    printed = bench.output("stderr") if "the task process" in error else []
    if known := diagnose(printed[-TRACEBACK_LINES:], error):
        return failed(f"{_short(payload)} was not completed: {known.seen}", known.what_to_do, known.page)
    if "the task process" in error:
        return failed(
            seen,
            _with_stderr(bench, "The process ended of it."),
            _WHO_PAYS,
        )
    if not bench.subject.given:
        return failed(
            f"{seen}; the payload was {{}}, since none was given",
            "Give a payload that your task completes (--payload JSON): code that completes nothing is not "
            "certified.",
            "docs/certify.md#payloads",
        )
    return failed(seen, _with_stderr(bench, "A payload that you gave as a good one has to be completed."))


def _with_stderr(bench: Bench, advice: str) -> str:
    lines = bench.output("stderr")
    return f"{advice} Its last line on stderr: {lines[-1]}" if lines else advice


def _last_line(error: str) -> str:
    return error.splitlines()[-1] if error else "no reason given"


def together(bench: Bench) -> Finding:
    """Send two at once, to a worker that may have two in flight."""
    payload = bench.subject.payloads[0]
    pid = bench.settled()
    alone = bench.ended(*bench.send(payload))[0]
    tasks = bench.ended(*bench.send(payload, payload))
    states = {task.state for task in tasks}
    if states != {alone.state} or (not bench.subject.one_shot and bench.pid() != pid):
        return failed(
            f"alone it is {alone.state}, two at once are {' and '.join(task.state for task in tasks)}",
            "Answer each task with its own task_id, and share nothing between tasks that is not made "
            "for it; until then "
            "leave RUNQY_CONCURRENCY at 1.",
        )
    # Of all tasks so far: the worker says it once.
    if bench.events("process.answer_ignored"):
        return failed(
            "answers came that belong to no task, or twice",
            "Answer each task once, with the task_id of its line on stdin.",
            "docs/task-process.md#lines",
        )
    return passed("two in flight at once end as one alone does")


def many(bench: Bench) -> Finding:
    """Send many, and compare what the process uses before, halfway and after."""
    count = max(6, min(MANY, int(MANY_S / max(bench.took_s, 0.01)))) // 2 * 2
    pid = bench.settled()
    payloads = [bench.subject.payloads[n % len(bench.subject.payloads)] for n in range(count)]
    bench.ended(*bench.send(*payloads[: count // 5]))
    used = [bench.usage(pid)]
    tasks: list[StoredTask] = []
    for half in (payloads[: count // 2], payloads[count // 2 :]):
        tasks += bench.ended(*bench.send(*half))
        used.append(bench.usage(bench.pid()))
    return _judge_many(bench, pid, tasks, used)


def _judge_many(
    bench: Bench, pid: int, tasks: Sequence[StoredTask], used: Sequence[tuple[int, int] | None]
) -> Finding:
    """Of ``tasks`` and what the process ``pid`` used before, halfway and after."""
    count, one = len(tasks), "a process each" if bench.subject.one_shot else "one process"
    missed = [task for task in tasks if task.state != "completed"]
    seen = f"{count} tasks, {one}, {count - len(missed)} completed"
    if not bench.subject.one_shot and bench.pid() != pid:
        return failed(
            f"the process did not survive {count} tasks: {_exit(bench)}",
            "A long_running process answers task after task until its stdin ends. For a process per "
            "task there is mode one_shot.",
            "docs/task-process.md#starting-and-ending",
        )
    left_behind = passed(seen) if bench.subject.one_shot else growth(seen, count, used)
    if missed and left_behind.result is not CheckResult.FAIL:
        error = missed[-1].fields.get("error_msg", "").strip()
        known = diagnose((), error)
        return failed(
            f"{seen}; the last that was not: {known.seen if known else _last_line(error)}",
            known.what_to_do if known else _EACH_TIME,
            known.page if known else _WHO_PAYS,
        )
    # Tasks fail when memory or descriptors have run out, too: that is the finding then.
    return left_behind


def growth(seen: str, count: int, used: Sequence[tuple[int, int] | None]) -> Finding:
    """What ``count`` tasks leave: ``used`` is bytes and descriptors before them, halfway and after."""
    first, halfway, last = used
    if first is None or halfway is None or last is None:
        return passed(f"{seen}; its memory can be seen on --runtime process only")
    memory, descriptors = ((new - old) * 100 / count for old, new in zip(first, last, strict=True))
    seen = f"{seen}; per 100 tasks {memory / 1e6:+.1f} MB, {descriptors:+.0f} descriptors"
    if descriptors > DESCRIPTORS:
        return failed(
            seen, "Close what each task opens (`with open(…)`); descriptors run out at 1024 on many machines."
        )
    # What is kept once (a cache that fills) grows in one half only; a leak in both.
    least = min(halfway[0] - first[0], last[0] - halfway[0])
    advice = (
        "keep nothing of a task, or have the process recycled (RUNQY_MAX_CHILD_MEMORY, "
        "RUNQY_MAX_TASKS_PER_CHILD)."
    )
    if least * 200 / count > LEAK_BYTES and least > LEAK_BYTES // 10:
        return failed(
            seen,
            f"It grows with every task until the memory runs out: {advice}",
            "docs/task-process.md#recycling",
        )
    if memory > MEMORY_BYTES:
        return warned(
            seen, f"If it goes on like this the memory runs out: {advice}", "docs/task-process.md#recycling"
        )
    return passed(seen)


def odd(bench: Bench) -> Finding:
    """Send what should never be sent: null, a list, unknown fields, control characters, no JSON at all."""
    for payload in ODD:
        finding = _survives(bench, payload, _short(payload))
        if finding.result is CheckResult.FAIL:
            return finding
    return passed(f"{len(ODD)} odd payloads were answered, with a result or an error; the process lives")


def big(bench: Bench) -> Finding:
    """Send the first payload with 5 MB more in a field it does not know."""
    payload = bench.subject.payloads[0]
    if not isinstance(payload, dict):
        return skipped("the payload is no object to which a field could be added")
    return _survives(bench, {**payload, "certify_padding": "x" * BIG_BYTES}, "a payload of 5 MB")


def _survives(bench: Bench, payload: Any, what: str) -> Finding:
    """Whether the process answers this, and the good payload after it."""
    pid, mark = bench.settled(), bench.mark()
    try:
        (task,) = bench.ended(*bench.send(payload))
    except Hangs as exc:
        raise Hangs(f"{what}: {exc}") from exc
    crashed = bench.events("process.crashed", mark)
    error = task.fields.get("error_msg", "").strip().splitlines()
    if crashed or (not bench.subject.one_shot and bench.settled() != pid):
        reason = crashed[0]["exit"] if crashed else "replaced"
        return failed(
            f"{what} ended the process: {reason}",
            'Catch what a task raises and answer with {"task_id": …, "error": "why"}; the SDK\'s run() '
            "does that. "
            "A crash costs a start, and other tasks wait for it.",
            _WHO_PAYS,
        )
    return passed(f"{what}: {task.state}" + (f" ({error[-1][:80]})" if error else ""))


def _exit(bench: Bench) -> str:
    exits = bench.events("process.exited")
    return str(exits[-1]["exit"]) if exits else "no exit was seen"


def _short(payload: Any) -> str:
    text = repr(payload) if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
