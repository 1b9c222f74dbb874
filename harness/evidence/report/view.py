"""A section's events as what a timeline shows: rows of bars and marks, curves, restarts. Pure.

Times in a view are seconds since the section's first event.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from harness.evidence.timeline import Event

#: How far from what is expected a restart may be, as a part of it, and at least in seconds.
TOLERANCE, LEAST_TOLERANCE_S = 0.15, 0.15
#: Shortest bar of a process, in seconds: one that dies at once is to be seen all the same.
SHORTEST_S = 0.02
#: Columns of the curve of tasks per second, at most.
_COLUMNS = 60

#: Which of a queue's places are waiting to be worked on.
_WAITING = ("pending", "retry", "scheduled")
_ENDS = ("crash", "exit")


@dataclass(frozen=True)
class Bar:
    """Something that lasted. ``role`` names its colour."""

    from_s: float
    to_s: float
    role: str
    text: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the chart; ``windows`` are where something was expected, ``marks`` moments.

    ``gaps`` are waits, with how long they took.
    """

    label: str
    bars: Sequence[Bar] = ()
    windows: Sequence[Bar] = ()
    marks: Sequence[Bar] = ()
    gaps: Sequence[Bar] = ()


@dataclass(frozen=True)
class Curve:
    """A quantity over time: it has each value from its time on."""

    label: str
    role: str
    points: Sequence[tuple[float, float]]

    @property
    def most(self) -> float:
        """Its largest value."""
        return max((value for _, value in self.points), default=0.0)


@dataclass(frozen=True)
class Restart:
    """A process that came after another. ``expected_s`` is None where nothing is expected."""

    worker: str
    number: int
    ended_s: float
    began_s: float
    expected_s: float | None = None

    @property
    def waited_s(self) -> float:
        """Seconds between the two."""
        return self.began_s - self.ended_s

    @property
    def tolerance_s(self) -> float:
        """Seconds by which it may differ."""
        return max(LEAST_TOLERANCE_S, TOLERANCE * (self.expected_s or 0.0))

    @property
    def timing(self) -> str:
        """Whether it came when it should; empty where nothing was expected."""
        if self.expected_s is None:
            return ""
        late_s = self.waited_s - self.expected_s
        if abs(late_s) <= self.tolerance_s:
            return "as expected"
        return "too late" if late_s > 0 else "too early"


@dataclass(frozen=True)
class View:
    """What is drawn of one section."""

    duration_s: float
    rows: Sequence[Row]
    curves: Sequence[Curve]
    restarts: Sequence[Restart]


def view(events: Sequence[Event]) -> View:
    """The view of these events, in any order."""
    events = sorted(events)
    if not events:
        return View(0.0, (), (), ())
    zero_s = events[0].at_s
    told = [Event(event.at_s - zero_s, event.source, event.kind, event.fields) for event in events]
    end_s = max(told[-1].at_s, 0.001)
    names = _names(told)
    workers = list(dict.fromkeys(names.get(e.source, e.source) for e in told if _of_a_worker(e)))
    expected = [float(e.fields["after_s"]) for e in told if e.kind == "restart.expected"]
    rows: list[Row] = []
    restarts: list[Restart] = []
    for worker in sorted(workers):
        own = [event for event in told if names.get(event.source, event.source) == worker]
        kills = [e for e in told if _kills_process(e, worker, _pids(own))]
        processes = list(_processes(own, kills, end_s))
        came = _restarts(worker, processes, expected)
        # What is expected is recorded in the order of the restarts, of any worker.
        expected = expected[len(came) :]
        restarts += came
        rows += _rows(worker, own, processes, kills, came, end_s)
        told = [event for event in told if event not in kills]
    rows += _fault_rows(told, end_s)
    return View(end_s, rows, _curves(told, end_s), restarts)


def _of_a_worker(event: Event) -> bool:
    return event.kind.startswith(("worker.", "diary."))


def _names(events: Sequence[Event]) -> dict[str, str]:
    """What the ids in heartbeats are called: workers and ids appear in the same order, if as many."""
    names = list(dict.fromkeys(e.source for e in events if e.kind in {"worker.started", "worker.exited"}))
    ids = list(dict.fromkeys(e.source for e in events if e.kind == "worker.state"))
    strangers = [worker_id for worker_id in ids if worker_id not in names]
    return dict(zip(strangers, names, strict=True)) if len(strangers) == len(names) else {}


def _pids(own: Sequence[Event]) -> list[Any]:
    pids = (e.fields["pid"] for e in own if e.kind.startswith("diary.") and "pid" in e.fields)
    return list(dict.fromkeys(pids))


def _kills_process(event: Event, worker: str, pids: Sequence[Any]) -> bool:
    """Whether a fault ended a task process of this worker: its target names the pid."""
    target, fault = str(event.fields.get("target", "")), str(event.fields.get("fault", ""))
    named = any(target.endswith(f" {pid}") for pid in pids) or target == f"task process of {worker}"
    return event.kind == "fault.began" and "kill" in fault.lower() and named


def _rows(
    worker: str,
    own: Sequence[Event],
    processes: Sequence[Bar],
    kills: Sequence[Event],
    restarts: Sequence[Restart],
    end_s: float,
) -> Iterator[Row]:
    states = list(_states(own, end_s))
    exits = [
        Bar(e.at_s, e.at_s, "exit", f"exit status {e.fields.get('status')}")
        for e in own
        if e.kind == "worker.exited"
    ]
    if states or exits:
        yield Row(worker, states, marks=exits)
    if processes:
        crashes = [Bar(e.at_s, e.at_s, "crash", "crash") for e in own if e.kind == "diary.crash"]
        crashes += [Bar(e.at_s, e.at_s, "fault", str(e.fields["fault"])) for e in kills]
        windows = [
            Bar(
                r.ended_s + r.expected_s - r.tolerance_s,
                min(r.ended_s + r.expected_s + r.tolerance_s, end_s),
                "expected",
                f"restart {r.number} expected after {r.expected_s:g} s, came after {r.waited_s:.2f} s",
            )
            for r in restarts
            if r.expected_s is not None
        ]
        gaps = [Bar(r.ended_s, r.began_s, "gap", f"{r.waited_s:.2f} s") for r in restarts]
        yield Row("  task process", processes, windows, crashes, gaps)
    tasks = list(_tasks(own, end_s))
    if tasks:
        yield Row("  tasks", tasks)


def _states(own: Sequence[Event], end_s: float) -> Iterator[Bar]:
    """The worker's own life: what its heartbeat says, and that it runs where it says nothing."""
    changes: list[tuple[float, str, str]] = []
    # Without heartbeats nothing is known but that it runs.
    begins_as = "bootstrapping" if any(event.kind == "worker.state" for event in own) else "running"
    for event in own:
        if event.kind == "worker.started":
            changes.append((event.at_s, begins_as, "started"))
        elif event.kind == "worker.exited":
            changes.append((event.at_s, "", ""))
        elif event.kind == "worker.state":
            changes.append((event.at_s, *_state(event.fields)))
    changes.append((end_s, "", ""))
    for (from_s, role, text), (to_s, _, _) in pairwise(changes):
        if role and to_s > from_s:
            yield Bar(from_s, to_s, role, text)


def _state(fields: Mapping[str, Any]) -> tuple[str, str]:
    status = "quiet" if str(fields.get("quiet")) == "1" else str(fields.get("status", ""))
    recovery = fields.get("recovery")
    states = {str(each.get("state")) for each in recovery.values()} if isinstance(recovery, dict) else set()
    for state in ("degraded", "recovering"):
        if state in states and status in {"running", "quiet"}:
            return state, f"{status}, {state}"
    healthy = str(fields.get("healthy")) in {"1", "True", "true"}
    role = status if status in {"bootstrapping", "running", "stopped"} else "running"
    return (role, status) if healthy or role != "running" else ("unhealthy", f"{status}, not healthy")


def _processes(own: Sequence[Event], kills: Sequence[Event], end_s: float) -> Iterator[Bar]:
    """Task processes by pid, each until it was seen to end, was killed, or another one began."""
    diary = [event for event in own if event.kind.startswith("diary.") and "pid" in event.fields]
    pids = _pids(own)
    exits = [event.at_s for event in own if event.kind == "worker.exited"]
    first_s = {pid: next(e.at_s for e in diary if e.fields["pid"] == pid) for pid in pids}
    for number, pid in enumerate(pids):
        following = pids[number + 1] if number + 1 < len(pids) else None
        entries = [event for event in diary if event.fields["pid"] == pid]
        from_s, last_s = entries[0].at_s, entries[-1].at_s
        limits = [end_s, *(at for at in exits if at >= last_s)]
        limits += [first_s[following]] if following is not None and first_s[following] >= last_s else []
        limits += [kill.at_s for kill in kills if kill.at_s >= from_s]
        ended = [e.at_s for e in entries if e.kind.removeprefix("diary.") in _ENDS]
        to_s = max(ended[-1] if ended else min(limits), from_s + SHORTEST_S)
        ready = [e.at_s for e in entries if e.kind == "diary.ready"]
        if ready and ready[0] - from_s > SHORTEST_S:
            yield Bar(from_s, ready[0], "starting", f"pid {pid}, starting")
            yield Bar(ready[0], max(to_s, ready[0] + SHORTEST_S), "up", f"pid {pid}, ready")
        else:
            yield Bar(from_s, to_s, "up", f"pid {pid}")


def _restarts(worker: str, processes: Sequence[Bar], expected: Sequence[float]) -> list[Restart]:
    if not expected:
        return []
    # A process that took its time to get ready is two bars without a gap.
    gaps = [(a, b) for a, b in pairwise(processes) if not (a.role == "starting" and a.to_s == b.from_s)]
    return [
        Restart(
            worker,
            number,
            # One drawn longer than it lived, to be seen at all, ended before.
            min(before.to_s, after.from_s),
            after.from_s,
            expected[number - 1] if number <= len(expected) else None,
        )
        for number, (before, after) in enumerate(gaps, 1)
    ]


def _tasks(own: Sequence[Event], end_s: float) -> Iterator[Bar]:
    begun: dict[tuple[Any, Any], Event] = {}
    for event in own:
        key = (event.fields.get("pid"), event.fields.get("task_id"))
        if event.kind == "diary.begin":
            begun[key] = event
        elif event.kind == "diary.end" and key in begun:
            failed = event.fields.get("error") or event.fields.get("outcome", "ok") not in {"ok", ""}
            yield Bar(begun.pop(key).at_s, event.at_s, "task-failed" if failed else "task", f"task {key[1]}")
    for (_, task_id), event in begun.items():
        gone = [e.at_s for e in own if e.kind in {"diary.crash", "worker.exited"} and e.at_s >= event.at_s]
        yield Bar(event.at_s, min([*gone, end_s]), "task-lost", f"task {task_id}: never came to its end")


def _fault_rows(events: Sequence[Event], end_s: float) -> Iterator[Row]:
    began: dict[str, list[Event]] = {}
    bars: dict[str, list[Bar]] = {}
    for event in events:
        if not event.kind.startswith("fault."):
            continue
        target, fault = str(event.fields.get("target", "")), str(event.fields.get("fault", ""))
        key = str(event.fields.get("id", f"{fault} {target}"))
        if event.kind == "fault.began":
            began.setdefault(key, []).append(event)
        elif began.get(key):
            first = began[key].pop(0)
            bars.setdefault(target, []).append(Bar(first.at_s, event.at_s, "fault", fault))
    for left in began.values():
        for event in left:
            target, fault = str(event.fields.get("target", "")), str(event.fields.get("fault", ""))
            moment = "kill" in fault.lower()
            bars.setdefault(target, []).append(
                Bar(event.at_s, event.at_s if moment else end_s, "fault", fault)
            )
    for target, found in sorted(bars.items()):
        yield Row(f"faults: {target}", [b for b in found if b.to_s > b.from_s], marks=found)


def _curves(events: Sequence[Event], end_s: float) -> list[Curve]:
    curves = []
    depths: dict[str, Mapping[str, Any]] = {}
    waiting: list[tuple[float, float]] = []
    for event in events:
        if event.kind == "queue.depths":
            depths[event.source] = event.fields
            total = sum(float(fields.get(place, 0)) for fields in depths.values() for place in _WAITING)
            waiting.append((event.at_s, total))
    if any(value for _, value in waiting):
        curves.append(Curve("tasks waiting", "waiting", waiting))
    ends = [event.at_s for event in events if event.kind == "diary.end"]
    if len(ends) > 1:
        width_s = max(end_s / _COLUMNS, 0.25)
        columns = int(end_s / width_s) + 1
        counts = [0] * columns
        for at_s in ends:
            counts[min(int(at_s / width_s), columns - 1)] += 1
        curves.append(
            Curve(
                "tasks per second", "rate", [(n * width_s, count / width_s) for n, count in enumerate(counts)]
            )
        )
    return curves
