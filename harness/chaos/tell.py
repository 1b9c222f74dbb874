"""What is said of a run of chaos: progress, summary, result; also as JSON and as a folder of evidence."""

import json
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from harness.chaos import events
from harness.chaos.run import Outcome
from harness.chaos.world import SETTLE_S
from harness.evidence import invariants
from harness.evidence.history import ENDS, STARVED, STOOD_STILL, History
from harness.evidence.report import write
from harness.evidence.report.model import Report, Section, Table
from harness.evidence.timeline import Event
from harness.output.terminal import Terminal

#: Tasks whose history is shown, and lines of it: more would not be read.
_HISTORIES, _LINES = 3, 60
#: Seconds between two lines of progress where they are not overwritten.
_PLAIN_EVERY_S = 10.0


class Progress:
    """Says how far a run is: on a terminal in one line that changes, elsewhere now and then."""

    def __init__(self, out: TextIO) -> None:
        self._terminal = Terminal(out)
        self._next_s = 0.0

    def __call__(self, text: str) -> None:
        """Say ``text``, if it is time to say something again."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + (0.2 if self._terminal.lively else _PLAIN_EVERY_S)
        say = self._terminal.transient if self._terminal.lively else self._terminal.line
        say(f"  … {text}")

    def end(self) -> None:
        """What comes next has the line for itself."""
        self._terminal.clear()


def summary(outcome: Outcome) -> dict[str, Any]:
    """The figures, as JSON."""
    history = outcome.history
    sent = {each.task_id: each.behaviour for each in history.sent}
    ends = Counter(place if place in ENDS else "unsettled" for place in history.places.values())
    charges = [each for each in history.transitions if each.charged]
    by_lease = sum(each.lease_until_s is not None and each.lease_until_s <= each.before_s for each in charges)
    return {
        "seed": outcome.plan.seed,
        "duration_s": outcome.plan.duration_s,
        "workers": outcome.plan.workers,
        "tasks": {"sent": len(sent), **ends},
        "behaviours": dict(Counter(sent.values()).most_common()),
        "faults": dict(outcome.injected.most_common()),
        "skipped": list(outcome.skipped),
        "of_the_machine_s": _of_the_machine(history),
        "workers_started_again": outcome.restarts,
        "task_processes": len({(run.worker, run.pid) for run in history.runs}),
        "runs": len(history.runs),
        "charges": {"lease ran out": by_lease, "failure or death": len(charges) - by_lease},
        "longest_wait_s": round(invariants.longest_wait_s(history), 3),
        "settled_s": round(outcome.settled_s, 1),
        "violations": [vars(violation) for violation in outcome.violations],
    }


def _of_the_machine(history: History) -> Mapping[str, float]:
    """Who was held up by nothing that was injected, and for how long."""
    held_up_s: defaultdict[str, float] = defaultdict(float)
    for each in history.troubles:
        if each.kind in {STARVED, STOOD_STILL}:
            held_up_s[f"{each.target} {each.kind}"] += each.ended_s - each.began_s
    return {name: round(seconds, 1) for name, seconds in held_up_s.items()}


def say(outcome: Outcome, again: str, out: TextIO) -> None:
    """Print the summary and whether the invariants hold; ``again`` is the command that runs it again."""
    figures = summary(outcome)
    tasks = dict(figures["tasks"])
    sent = tasks.pop("sent")
    within = f"all within {figures['settled_s']:g} s" if "unsettled" not in tasks else "NOT all within"
    lines = {
        "tasks": f"{sent} sent: {_listed(tasks)}",
        "of them": _listed(figures["behaviours"]),
        "faults": f"{outcome.injected.total()} injected: {_listed(figures['faults'])}",
        "restarts": f"{figures['workers_started_again']} workers, {figures['task_processes']} task processes",
        "retries": f"{sum(figures['charges'].values())} charged: {_listed(figures['charges'])}",
        "settled": f"{within} of the end of the faults (bound: {SETTLE_S:g} s)",
        "longest": f"a task waited {figures['longest_wait_s']:g} s to be taken for the first time",
    }
    lines |= {"skipped": "; ".join(outcome.skipped)} if outcome.skipped else {}
    if figures["of_the_machine_s"]:
        held_up = ", ".join(f"{name} {seconds:g} s" for name, seconds in figures["of_the_machine_s"].items())
        lines["machine"] = f"so busy that leases may run out: {held_up}"
    for name, text in lines.items():
        print(f"  {name:<9} {text}", file=out)
    if not outcome.violations:
        good = Terminal(out).good("✓")
        print(f"{good} seed {outcome.plan.seed}: all {len(invariants.INVARIANTS)} invariants hold", file=out)
        return
    _say_violations(outcome, again, out)


def _say_violations(outcome: Outcome, again: str, out: TextIO) -> None:
    broken = Counter(violation.invariant for violation in outcome.violations)
    print(
        f"{Terminal(out).bad('✗')} seed {outcome.plan.seed}: {len(broken)} invariants do not hold",
        file=out,
    )
    for invariant, count in broken.items():
        print(f"  {invariant}: violated {count} times", file=out)
        for violation in [each for each in outcome.violations if each.invariant == invariant][:_HISTORIES]:
            print(f"    {violation.task_id or 'the run'}: {violation.what}", file=out)
    offending = dict.fromkeys(each.task_id for each in outcome.violations if each.task_id)
    for task_id in list(offending)[:_HISTORIES]:
        print(f"\n  the history of {task_id} (seconds from its beginning):", file=out)
        told = invariants.task_history(outcome.history, task_id)
        for at_s, text in told[:_LINES]:
            print(f"    {at_s - told[0][0]:8.3f}  {text}", file=out)
    print(f"\n  run it again: {again}", file=out)


def write_report(outcome: Outcome, again: str, folder: Path) -> list[str]:
    """The evidence: page and picture, ``summary.json``, ``timeline.jsonl``, ``histories.txt``, workers' logs.

    Returns a line on each of the first two.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(outcome, again, folder / "summary.json")
    timeline = outcome.timeline
    timeline.add(*events.of(outcome.history))
    timeline.write(folder / "timeline.jsonl")
    for name, path in outcome.logs.items():
        shutil.copyfile(path, folder / f"worker-{name}.log")
    stories = []
    for task_id in dict.fromkeys(each.task_id for each in outcome.violations if each.task_id):
        told = invariants.task_history(outcome.history, task_id)
        stories += [task_id, *(f"{at_s:.3f}  {text}" for at_s, text in told), ""]
    (folder / "histories.txt").write_text("\n".join(stories))
    return write.write(_report(outcome, again, "\n".join(stories)), folder)


def _report(outcome: Outcome, again: str, stories: str) -> Report:
    figures = summary(outcome)
    broken = Counter(violation.invariant for violation in outcome.violations)
    title = f"runqy-harness chaos, seed {outcome.plan.seed}"
    result = f"{figures['tasks']['sent']} tasks, {outcome.injected.total()} faults: " + (
        f"{len(broken)} invariants do not hold"
        if broken
        else f"all {len(invariants.INVARIANTS)} invariants hold"
    )
    problems = [f"{each.invariant}: {each.task_id or 'the run'}: {each.what}" for each in outcome.violations]
    section = Section(
        title=f"seed {outcome.plan.seed}, {outcome.plan.workers} workers",
        claim="Whatever happens to workers, Redis and the network, every task comes to its one right end.",
        passed=not broken,
        seconds=outcome.plan.duration_s + outcome.settled_s,
        events=[_of_its_place(event) for event in outcome.timeline.events],
        problem="\n".join([*problems, "", stories] if problems else []),
        again=again,
    )
    return Report(
        title=title,
        summary=result,
        made_at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        sections=[section],
        tables=[
            _table("Tasks", "tasks", figures["tasks"]),
            _table("What they did", "behaviour", figures["behaviours"]),
            _table("Faults", "fault", figures["faults"]),
            _table("Retries charged, and why", "reason", figures["charges"]),
            Table(
                "Invariants",
                ("invariant", "result"),
                [
                    (name, f"violated {broken[name]} times" if broken[name] else "ok")
                    for name in invariants.INVARIANTS
                ],
            ),
        ],
    )


def _table(title: str, head: str, counts: Mapping[str, int]) -> Table:
    return Table(title, (head, "count"), [(name, str(count)) for name, count in counts.items()])


def _of_its_place(event: Event) -> Event:
    """A worker that was started again, as the one it followed: 2.7 is the seventh of worker 2."""
    number, dot, _ = event.source.partition(".")
    return replace(event, source=f"worker {number}") if dot and number.isdigit() else event


def write_json(outcome: Outcome, again: str, path: Path) -> None:
    """The summary, with the command that runs it again."""
    path.write_text(json.dumps({**summary(outcome), "again": again}, indent=2) + "\n")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
