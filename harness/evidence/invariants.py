"""The invariants of a run, whatever was done to it: a pure function of its history.

Each invariant is a function that yields its violations. None of them trusts the worker's word: they compare
what Redis wrote down, what the handlers' diaries say, and what was injected.
"""

import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from harness.evidence.history import (
    ENDS,
    STARVED,
    STOOD_STILL,
    History,
    Life,
    Run,
    Sent,
    Transition,
    Trouble,
)

#: Kinds of trouble that mean more than that there was some.
WORKER_STOPPED, TASK_PROCESS_KILLED = "worker stopped", "task process killed"
#: Seconds by which an observation may be late on a busy machine.
SLACK_S = 0.5
#: Seconds for which a worker that starts may try again what a busy machine made fail.
_JUST_NOW_S = 10.0
#: Seconds until a worker has to be up, even on such a machine.
_START_S = 60.0


@dataclass(frozen=True)
class Violation:
    """What is not as it must be. ``task_id`` is empty where no single task is to blame."""

    invariant: str
    what: str
    task_id: str = ""


class Facts:
    """A history, looked up."""

    def __init__(self, history: History) -> None:
        self.history = history

    @cached_property
    def runs(self) -> dict[str, list[Run]]:
        """Each task's runs by their beginning."""
        return _by_task(sorted(self.history.runs, key=lambda run: run.began_s))

    @cached_property
    def transitions(self) -> dict[str, list[Transition]]:
        """Each task's transitions in their order."""
        return _by_task(self.history.transitions)

    @cached_property
    def run(self) -> dict[str, Run]:
        """Runs by their id."""
        return {run.run_id: run for run in self.history.runs}

    @cached_property
    def sent(self) -> dict[str, Sent]:
        """Tasks by their id."""
        return {sent.task_id: sent for sent in self.history.sent}

    @cached_property
    def lives(self) -> dict[str, Life]:
        """Workers' lives by name."""
        return {life.worker: life for life in self.history.lives}

    @cached_property
    def busy(self) -> set[str]:
        """Names of the workers that have had anything to do with a task."""
        runs, transitions = self.history.runs, self.history.transitions
        return {*(each.worker for each in runs), *(each.worker for each in transitions)}

    def overran(self, run: Run) -> bool:
        """Whether its task's limit passed during a run."""
        sent = self.sent.get(run.task_id)
        return bool(sent and sent.timeout_s and run.seen_s - run.began_s >= sent.timeout_s - SLACK_S)

    def troubles(self, targets: set[str], from_s: float, to_s: float, kind: str = "") -> list[Trouble]:
        """Those (of ``kind``) that hit one of ``targets`` at some time in between."""
        return [
            trouble
            for trouble in self.history.troubles
            if trouble.target in targets
            and kind in {"", trouble.kind}
            and trouble.began_s <= to_s
            and trouble.ended_s + trouble.lingers_s >= from_s
        ]

    def held_from_s(self, transition: Transition) -> float:
        """When the attempt that ``transition`` ended was taken."""
        before = 0.0
        for each in self.transitions[transition.task_id]:
            if each is transition:
                break
            if each.state == "active":
                before = each.after_s
        return before


def check(history: History) -> list[Violation]:
    """Every violation of every invariant; none is what we want."""
    facts = Facts(history)
    return [
        Violation(name, what, task_id) for name, judge in INVARIANTS.items() for task_id, what in judge(facts)
    ]


Found = Iterator[tuple[str, str]]


def _lost(facts: Facts) -> Found:
    for sent in facts.history.sent:
        place = facts.history.places.get(sent.task_id, "nowhere")
        if place not in ENDS:
            fate = "is lost" if place == "nowhere" else f"is still {place} after the time to settle"
            yield sent.task_id, f"a {sent.behaviour} task {fate}"
    for task_id, places in facts.history.misplaced:
        yield task_id, f"at some instant it was in: {places}"


def _settled_once(facts: Facts) -> Found:
    for task_id, transitions in facts.transitions.items():
        ends = [each for each in transitions if each.state in ENDS]
        if len(ends) > 1:
            yield task_id, f"settled {len(ends)} times: {', '.join(each.state for each in ends)}"


def _settled_by_its_holder(facts: Facts) -> Found:
    for each in facts.history.transitions:
        if each.state not in ENDS and not each.charged:
            continue
        if each.was != "active":
            yield (
                each.task_id,
                f"{each.state} while it was {each.was or 'unknown'}: no worker had it",
            )
        elif each.state == "completed":
            run = facts.run.get(each.run_id)
            if run is None or run.task_id != each.task_id:
                yield (
                    each.task_id,
                    f"completed with a result that no run of it gave ({each.run_id or 'none'})",
                )
            elif run.outcome != "ok" or run.began_s > each.before_s:
                yield each.task_id, f"completed by run {run.run_id}, which had not succeeded"
            elif each.worker and run.worker != each.worker:
                text = f"completed with the result of {run.worker}, while {each.worker} had it"
                yield each.task_id, text


def _right_end(facts: Facts) -> Found:
    ends = {each.task_id: each for each in facts.history.transitions if each.state in ENDS}
    for sent in facts.history.sent:
        end = ends.get(sent.task_id)
        if end is None:
            continue
        if sent.must and end.state != sent.must:
            yield sent.task_id, f"a {sent.behaviour} task was {end.state}, not {sent.must}: {end.error}"
        if sent.digest and end.state == "completed" and end.digest != sent.digest:
            yield sent.task_id, f"its result is of another payload: {end.digest}, not {sent.digest}"


def _one_run_at_a_time(facts: Facts) -> Found:
    for task_id, runs in facts.runs.items():
        for first, second in pairwise(runs):
            until_s = first.ended_s if first.ended_s is not None else first.seen_s
            if second.began_s < until_s and not _lease_ran_out(facts, first, second.began_s):
                early_s = until_s - second.began_s
                who, other = (f"{run.worker} (process {run.pid})" for run in (second, first))
                yield (
                    task_id,
                    f"{who} began it {early_s:.3f} s before {other} had ended, and no lease ran out",
                )


def _lease_ran_out(facts: Facts, run: Run, by_s: float) -> bool:
    """Whether the attempt that ``run`` belongs to lost its lease before ``by_s``."""
    return any(
        each.was == "active"
        and each.before_s >= run.began_s
        and each.after_s <= by_s
        and each.lease_until_s is not None
        and each.lease_until_s <= each.before_s
        for each in facts.transitions.get(run.task_id, ())
    )


def _charges_explained(facts: Facts) -> Found:
    for each in facts.history.transitions:
        if each.charged and not _explained(facts, each):
            yield each.task_id, f"charged, and nothing explains it: {each.error or 'no reason given'}"


def _explained(facts: Facts, charge: Transition) -> bool:
    from_s = facts.held_from_s(charge)
    if charge.lease_until_s is not None and charge.lease_until_s <= charge.before_s:
        # The worker's trouble, or Redis's; a lease is prolonged in time by a worker that has none.
        begin_s = charge.lease_until_s - facts.history.rules.lease_s - SLACK_S
        life = facts.lives.get(charge.worker)
        ended = life is not None and life.ended_s <= charge.before_s
        hit = facts.troubles({charge.worker, "redis"}, begin_s, charge.before_s)
        return ended or bool(hit)
    held = [run for run in facts.history.runs if charge.worker in {"", run.worker}]
    own = [run for run in held if run.task_id == charge.task_id and from_s <= run.began_s <= charge.before_s]
    if any(run.outcome in {"retry", "fail", "crash"} or facts.overran(run) for run in own):
        return True
    if facts.troubles({charge.worker}, from_s, charge.before_s, TASK_PROCESS_KILLED):
        return True
    # Its process ended, in its own run or in another's that it waited behind. A worker that was asked
    # to end has itself ended the process, and that is no failure.
    life = facts.lives.get(charge.worker)
    draining = life is not None and life.asked_s is not None and life.asked_s <= charge.after_s
    return any(
        (run.outcome == "crash" or (run.outcome == "" and not draining))
        and from_s - SLACK_S <= (run.ended_s or run.seen_s) <= charge.before_s
        for run in held
    )


def _drained_in_time(facts: Facts) -> Found:
    for life in facts.history.lives:
        if life.asked_s is None or life.killed:
            continue
        took_s = life.ended_s - life.asked_s
        stood_s = sum(
            # One that ended before may still have been felt.
            max(0.0, min(trouble.ended_s, life.ended_s) - max(trouble.began_s, life.asked_s))
            for trouble in facts.troubles({life.worker}, life.asked_s, life.ended_s, WORKER_STOPPED)
        )
        if took_s - stood_s > facts.history.rules.drain_s:
            yield (
                "",
                f"{life.worker} took {took_s:.1f} s to end, allowed are {facts.history.rules.drain_s:g} s",
            )
        # Until it is up a signal does to it what signals do to programs.
        new = life.asked_s - life.began_s < _START_S and life.worker not in facts.busy
        ended_by_it = life.status == -signal.SIGTERM and new
        if life.status != 0 and not ended_by_it:
            yield "", f"{life.worker} was asked to end and did so with exit status {life.status}"


def _ends_only_when_told(facts: Facts) -> Found:
    for life in facts.history.lives:
        if life.asked_s is not None or life.killed:
            continue
        hit = [
            trouble
            for trouble in facts.troubles({life.worker, "redis"}, life.began_s, life.ended_s)
            # A busy machine explains a start that fails just then, no other end.
            if trouble.kind not in {STARVED, STOOD_STILL}
            or (trouble.ended_s >= life.ended_s - _JUST_NOW_S and life.worker not in facts.busy)
        ]
        if not (hit and life.status in facts.history.rules.start_failures):
            yield "", f"{life.worker} ended by itself with exit status {life.status}"


def _nothing_left(facts: Facts) -> Found:
    for life in facts.history.lives:
        if life.left:
            yield "", f"{life.worker} left processes behind: {', '.join(map(str, life.left))}"


def _counters_right(facts: Facts) -> Found:
    processed, failed = Counter[str](), Counter[str]()
    for each in facts.history.transitions:
        processed[each.queue] += each.state == "completed" or each.charged
        failed[each.queue] += each.charged
    for queue, counters in facts.history.counters.items():
        expected = {"processed": processed[queue], "failed": failed[queue]}
        if dict(counters) != expected:
            yield "", f"the counters of {queue} are {dict(counters)}, and {expected} is what happened"


def _locks_released(facts: Facts) -> Found:
    for sent in facts.history.sent:
        if sent.unique_key in facts.history.locks and facts.history.places.get(sent.task_id) == "completed":
            yield sent.task_id, "completed, and its unique lock is still held"


def _no_secret(facts: Facts) -> Found:
    for where, text in facts.history.texts.items():
        for name, value in facts.history.secrets.items():
            if value.encode() in text:
                yield "", f"{name} is in {where}"


#: By the sentence that is printed where one does not hold.
def _readable(facts: Facts) -> Found:
    by_rule = defaultdict(list)
    for finding in facts.history.unreadable:
        by_rule[finding.rule].append(finding)
    for findings in by_rule.values():
        more = f"; and {len(findings) - 1} more like it" if len(findings) > 1 else ""
        yield "", f"{findings[0]}{more}"


INVARIANTS: dict[str, Callable[[Facts], Found]] = {
    "no task is lost": _lost,
    "a task is settled once": _settled_once,
    "a task is settled by who has it, with what its run gave": _settled_by_its_holder,
    "a task comes to its right end": _right_end,
    "a task never runs twice at the same time unless a lease ran out": _one_run_at_a_time,
    "every retry charged is explained": _charges_explained,
    "a drain keeps to its budget and ends with status 0": _drained_in_time,
    "a worker ends only when it is told to": _ends_only_when_told,
    "no process is left behind": _nothing_left,
    "the counters say what happened": _counters_right,
    "unique locks are released": _locks_released,
    "a strict tool can read all of Redis": _readable,
    "no secret is anywhere": _no_secret,
}


def task_history(history: History, task_id: str) -> list[tuple[float, str]]:
    """The shortest history of a task: its own events and the faults they fall into, in order."""
    facts = Facts(history)
    lines: list[tuple[float, str]] = []
    workers = {"redis"}
    for sent in history.sent:
        if sent.task_id == task_id:
            lines.append((sent.at_s, f"sent to {sent.queue}: {sent.behaviour}, {sent.retry} retries"))
    for each in facts.transitions.get(task_id, ()):
        workers.add(each.worker)
        lines.append((each.after_s, _told(each)))
    for run in facts.runs.get(task_id, ()):
        workers.add(run.worker)
        lines.append((run.began_s, f"run {run.run_id} begins in {run.worker}"))
        if run.ended_s is not None:
            lines.append((run.ended_s, f"run {run.run_id} ends: {run.outcome}"))
        else:
            lines.append(
                (run.seen_s, f"run {run.run_id} is seen alive for the last time ({run.outcome or 'no end'})")
            )
    if not lines:
        return []
    first_s, last_s = min(lines)[0], max(lines)[0]
    for trouble in facts.troubles(workers, first_s - history.rules.lease_s, last_s):
        lines.append((trouble.began_s, f"fault on {trouble.target}: {trouble.kind} (until the line below)"))
        lines.append((trouble.ended_s, f"fault on {trouble.target} over: {trouble.kind}"))
    for life in history.lives:
        if life.worker in workers and first_s <= life.ended_s <= last_s:
            lines.append((life.ended_s, f"{life.worker} ended with status {life.status}"))
    # By time alone: what happened at the same moment stays in its order.
    return sorted(lines, key=lambda line: line[0])


def _told(each: Transition) -> str:
    what = f"{each.was or 'new'} → {each.state or 'deleted'}"
    if each.state == "active":
        what += f", attempt {each.attempt} by {each.worker or 'no worker'}"
    if each.was == "active" and each.lease_until_s is not None and each.lease_until_s <= each.before_s:
        what += f", the lease of {each.worker} had run out"
    return what + (f", retries spent {each.retried}: {_last_line(each.error)}" if each.charged else "")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


def _by_task(items: Sequence[Run] | Sequence[Transition]) -> dict:  # type: ignore[type-arg]
    grouped = defaultdict(list)
    for item in items:
        grouped[item.task_id].append(item)
    return dict(grouped)


def longest_wait_s(history: History) -> float:
    """The longest time from being due to the first time a task was taken."""
    facts = Facts(history)

    def waited_s(sent: Sent) -> float:
        taken = [each.after_s for each in facts.transitions.get(sent.task_id, ()) if each.state == "active"]
        return max(0.0, min(taken) - sent.due_s) if taken else 0.0

    return max((waited_s(sent) for sent in history.sent), default=0.0)
