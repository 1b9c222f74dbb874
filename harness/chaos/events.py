"""What the history of a run adds to its timeline: what task processes did, how many tasks stood where."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from harness.evidence.history import History
from harness.evidence.timeline import Event
from harness.queue.asynq import PLACES

#: Seconds between two points of a queue's depths.
_STEP_S = 0.2


def of(history: History) -> Iterator[Event]:
    """The events; a worker's state is ``running`` from its first run on, which is when others can tell."""
    met = set()
    for run in sorted(history.runs, key=lambda run: run.began_s):
        if run.worker not in met:
            met.add(run.worker)
            yield Event(run.began_s, run.worker, "worker.state", {"status": "running", "healthy": "1"})
        fields = {"pid": run.pid, "task_id": run.task_id}
        yield Event(run.began_s, run.worker, "diary.begin", fields)
        if run.outcome == "crash":
            yield Event(run.ended_s or run.seen_s, run.worker, "diary.crash", fields)
        elif run.ended_s is not None:
            yield Event(run.ended_s, run.worker, "diary.end", {**fields, "outcome": run.outcome})
    yield from _depths(history)


def _depths(history: History) -> Iterator[Event]:
    depths: defaultdict[str, Counter[str]] = defaultdict(Counter)
    told_s: defaultdict[str, float] = defaultdict(float)
    for each in history.transitions:
        depth = depths[each.queue]
        depth[each.was] -= 1
        depth[each.state] += 1
        if each.after_s - told_s[each.queue] >= _STEP_S:
            told_s[each.queue] = each.after_s
            yield _depth(each.after_s, each.queue, depth)
    if history.transitions:
        for queue, depth in depths.items():
            yield _depth(history.transitions[-1].after_s, queue, depth)


def _depth(at_s: float, queue: str, depth: Counter[str]) -> Event:
    return Event(at_s, queue, "queue.depths", {place: depth[place] for place in PLACES})
