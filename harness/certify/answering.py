"""Does it answer: good payloads, odd ones, big ones, many, two at once?"""

import json
import time
from typing import Any

from harness.asynq import StoredTask
from harness.certify.bench import Bench
from harness.certify.finding import Finding, Verdict, failed, passed, skipped, warned

BIG_BYTES = 5_000_000
MANY = 100
#: So long at most for many tasks; fewer are sent where each takes its time.
MANY_S = 20.0
#: Per 100 tasks; what every interpreter gains at first does not count.
MEMORY_BYTES = 20_000_000
DESCRIPTORS = 20
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
_NO_JSON = ("not JSON-serializable", "NaN", "Infinity", "UTF-8")


def result(bench: Bench) -> Finding:
    """Send each payload once."""
    for payload in bench.subject.payloads:
        begun_s = time.monotonic()
        (task,) = bench.ended(*bench.send(payload))
        bench.took_s = max(time.monotonic() - begun_s, bench.took_s)
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
    error = task.fields.get("error_msg", "").strip()
    last = error.splitlines()[-1] if error else "no reason given"
    seen = f"{_short(payload)} was not completed: {last}"
    if any(word in error for word in _NO_JSON):
        return failed(
            seen,
            "Return what JSON has: objects, lists, text, finite numbers. Turn arrays into lists, NaN "
            "into null, "
            "dates into text.",
            "docs/task-process.md#lines",
        )
    if "the task process" in error:
        advice = "The process died of it. Its last lines on stderr, above in the worker's log, say where."
        return failed(seen, advice, "docs/task-process.md#the-end-of-a-task-and-who-pays")
    if not bench.subject.given:
        return warned(
            f"{seen}; the payload was {{}}, since none was given",
            "Give a payload that your task accepts (--payload JSON). An error is a fair answer to {}, "
            "so this is no "
            "failure, but what follows was judged with a task that fails.",
            "docs/certify.md#payloads",
        )
    return failed(seen, "A payload that you gave as a good one has to be completed.")


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
    if bench.events("child.answer_ignored"):
        return failed(
            "answers came that belong to no task, or twice",
            "Answer each task once, with the task_id of its line on stdin.",
            "docs/task-process.md#lines",
        )
    return passed("two in flight at once end as one alone does")


def many(bench: Bench) -> Finding:
    """Send many, and compare what the process uses before and after."""
    count = max(5, min(MANY, int(MANY_S / max(bench.took_s, 0.01))))
    pid = bench.settled()
    payloads = [bench.subject.payloads[n % len(bench.subject.payloads)] for n in range(count)]
    bench.ended(*bench.send(*payloads[: count // 5]))
    before = bench.usage(pid)
    tasks = bench.ended(*bench.send(*payloads))
    done = sum(task.state == "completed" for task in tasks)
    after = bench.usage(bench.pid())
    if bench.subject.one_shot:
        return passed(f"{count} tasks, {done} completed, a process each")
    if bench.pid() != pid:
        return failed(
            f"the process did not survive {count} tasks: {_exit(bench)}",
            "A long_running process answers task after task until its stdin ends. For a process per "
            "task there is "
            "mode one_shot.",
            "docs/task-process.md#starting-and-ending",
        )
    if before is None or after is None:
        return passed(
            f"{count} tasks, one process, {done} completed; its memory can be seen on --runtime process only"
        )
    memory, descriptors = ((new - old) * 100 / count for old, new in zip(before, after, strict=True))
    seen = (
        f"{count} tasks, one process, {done} completed; "
        f"per 100 tasks {memory / 1e6:+.1f} MB, {descriptors:+.0f} descriptors"
    )
    if descriptors > DESCRIPTORS:
        return failed(
            seen, "Close what each task opens (`with open(…)`); descriptors run out at 1024 on many machines."
        )
    if memory > MEMORY_BYTES:
        return warned(
            seen,
            "If it goes on like this the memory runs out: keep nothing of a task, or have the process "
            "recycled "
            "(RUNQY_MAX_CHILD_MEMORY, RUNQY_MAX_TASKS_PER_CHILD).",
            "docs/task-process.md#recycling",
        )
    return passed(seen)


def odd(bench: Bench) -> Finding:
    """Send payloads nobody should send: null, a list, unknown fields, control characters, no JSON at all."""
    for payload in ODD:
        finding = _survives(bench, payload, _short(payload))
        if finding.verdict is Verdict.FAIL:
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
    (task,) = bench.ended(*bench.send(payload))
    crashed = bench.events("child.crashed", mark)
    error = task.fields.get("error_msg", "").strip().splitlines()
    if crashed or (not bench.subject.one_shot and bench.settled() != pid):
        reason = crashed[0]["exit"] if crashed else "replaced"
        return failed(
            f"{what} ended the process: {reason}",
            'Catch what a task raises and answer with {"task_id": …, "error": "why"}; the SDK\'s run() '
            "does that. "
            "A crash costs a start, and other tasks wait for it.",
            "docs/task-process.md#the-end-of-a-task-and-who-pays",
        )
    return passed(f"{what}: {task.state}" + (f" ({error[-1][:80]})" if error else ""))


def _exit(bench: Bench) -> str:
    exits = bench.events("child.exited")
    return str(exits[-1]["exit"]) if exits else "no exit was seen"


def _short(payload: Any) -> str:
    text = repr(payload) if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
