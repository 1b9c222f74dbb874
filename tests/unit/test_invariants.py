"""The checker, by a run that is right and, for each invariant, one that is not in that respect alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.evidence import invariants
from harness.evidence.history import History, Life, Rules, Run, Sent, Transition, Trouble
from harness.evidence.invariants import check
from harness.queue.strict.reader import Finding

QUEUE = "chaos.default"
RULES = Rules(lease_s=2.0, drain_s=8.0)


def moved(was: str, state: str, at_s: float, task: str = "a", **more) -> Transition:
    fields = {"worker": "w1", "attempt": 1, **more}
    return Transition(task, QUEUE, was, state, at_s, at_s + 0.02, **fields)


def run_(run_id: str, began_s: float, ended_s: float | None, outcome: str = "ok", **more) -> Run:
    seen_s = began_s + 0.1 if ended_s is None else ended_s
    fields = {"task_id": "a", "worker": "w1", "pid": 11, "seen_s": seen_s, **more}
    return Run(run_id=run_id, began_s=began_s, ended_s=ended_s, outcome=outcome, **fields)


#: One task that succeeds, one that fails once and succeeds then, one worker that is asked to end.
RIGHT = History(
    rules=RULES,
    sent=[
        Sent("a", QUEUE, "short", 10.0, 10.0, 3, must="completed", digest="d1", unique_key="lock"),
        Sent("b", QUEUE, "fails once", 10.0, 10.0, 3),
    ],
    runs=[
        run_("r1", 11.0, 11.5),
        run_("r2", 12.0, 12.5, "retry", task_id="b"),
        run_("r3", 14.0, 14.5, task_id="b"),
    ],
    transitions=[
        moved("", "pending", 10.0, worker="", attempt=0),
        moved("", "pending", 10.0, "b", worker="", attempt=0),
        moved("pending", "active", 10.9),
        moved("active", "completed", 11.6, lease_until_s=13.0, run_id="r1", digest="d1"),
        moved("pending", "active", 11.9, "b"),
        moved("active", "retry", 12.6, "b", lease_until_s=14.0, charged=True, retried=1, error="as told"),
        moved("retry", "pending", 13.0, "b"),
        moved("pending", "active", 13.9, "b", attempt=2),
        moved("active", "completed", 14.6, "b", attempt=2, lease_until_s=16.0, run_id="r3"),
    ],
    lives=[Life("w1", 9.0, 17.0, 0, asked_s=15.0)],
    places={"a": "completed", "b": "completed"},
    counters={QUEUE: {"processed": 3, "failed": 1}},
    secrets={"the vault's TOKEN": "canary-1"},
    texts={"the log of w1": b"nothing to see"},
)


def with_transitions(*transitions: Transition, **more) -> History:
    fields = {"counters": {}, **more}
    return replace(RIGHT, sent=RIGHT.sent[:1], transitions=list(transitions), **fields)


RECOVERED = (
    moved("pending", "active", 10.9),
    moved("active", "retry", 13.5, lease_until_s=13.0, charged=True, retried=1, error="lease expired"),
    moved("retry", "pending", 14.0),
    moved("pending", "active", 14.0, worker="w2", attempt=2),
    moved("active", "completed", 15.0, worker="w2", attempt=2, run_id="r2", digest="d1"),
)
TWICE = [run_("r1", 11.0, 14.8), run_("r2", 14.2, 14.9, worker="w2", pid=22)]

WRONG = {
    "a task that is nowhere": ("lost", replace(RIGHT, places={"a": "completed"})),
    "a task that never settles": ("lost", replace(RIGHT, places={"a": "completed", "b": "active"})),
    "a task in two places at once": ("lost", replace(RIGHT, misplaced=[("a", "pending+active")])),
    "a task that is completed twice": (
        "settled once",
        with_transitions(*RIGHT.transitions, moved("active", "completed", 12.0, run_id="r1", digest="d1")),
    ),
    "a result of a run that is another task's": (
        "settled by who has it",
        with_transitions(moved("active", "completed", 15.0, run_id="r3", digest="d1")),
    ),
    "a completion by who does not have it": (
        "settled by who has it",
        with_transitions(moved("active", "completed", 11.6, worker="w2", run_id="r1", digest="d1")),
    ),
    "a completion of a task nobody works on": (
        "settled by who has it",
        with_transitions(moved("pending", "completed", 11.6, run_id="r1", digest="d1")),
    ),
    "a completion before the run was over": (
        "settled by who has it",
        replace(RIGHT, runs=[run_("r1", 11.0, None, ""), *RIGHT.runs[1:]]),
    ),
    "a good task that is archived": (
        "right end",
        with_transitions(
            moved("active", "archived", 11.6, charged=True, error="no idea"),
            runs=[run_("r1", 11.0, 11.5, "fail")],
            places={"a": "archived"},
        ),
    ),
    "a result of another payload": (
        "right end",
        with_transitions(moved("active", "completed", 11.6, run_id="r1", digest="d2")),
    ),
    "two runs at once without a lease lost": (
        "twice at the same time",
        with_transitions(
            moved("pending", "active", 10.9),
            moved("active", "pending", 13.5, lease_until_s=15.0),
            moved("pending", "active", 14.0, worker="w2", attempt=2),
            moved("active", "completed", 15.0, worker="w2", run_id="r2", digest="d1"),
            runs=TWICE,
        ),
    ),
    "a second run beside one that is still seen alive": (
        "twice at the same time",
        with_transitions(
            moved("active", "completed", 15.0, worker="w2", run_id="r2", digest="d1"),
            runs=[run_("r1", 11.0, None, "", seen_s=14.5), TWICE[1]],
        ),
    ),
    "a charge without a failure": (
        "charged is explained",
        replace(RIGHT, runs=[RIGHT.runs[0], replace(RIGHT.runs[1], outcome="ok"), RIGHT.runs[2]]),
    ),
    "a lease that runs out although nothing happened": (
        "charged is explained",
        with_transitions(*RECOVERED, runs=TWICE),
    ),
    "a drain that takes too long": (
        "keeps to its budget",
        replace(RIGHT, lives=[Life("w1", 9.0, 24.0, 0, asked_s=15.0)]),
    ),
    "a drain that ends badly": (
        "keeps to its budget",
        replace(RIGHT, lives=[Life("w1", 9.0, 17.0, 1, asked_s=15.0)]),
    ),
    "a worker that ends by itself": (
        "only when it is told",
        replace(RIGHT, lives=[Life("w1", 9.0, 17.0, 3)]),
    ),
    "a process left behind": (
        "process is left behind",
        replace(RIGHT, lives=[replace(RIGHT.lives[0], left=[77])]),
    ),
    "counters that are off by one": (
        "counters",
        replace(RIGHT, counters={QUEUE: {"processed": 2, "failed": 1}}),
    ),
    "a lock that outlives its task": ("unique locks", replace(RIGHT, locks=frozenset({"lock"}))),
    "a score that the server cannot read": (
        "strict tool",
        replace(
            RIGHT, unreadable=[Finding("scores are whole", "asynq:{q}:retry", "a has 12.5", "HTTP 500")] * 2
        ),
    ),
    "a secret in a log": ("secret", replace(RIGHT, texts={"the log of w1": b"token=canary-1!"})),
}


def test_a_run_that_is_right_has_no_violation() -> None:
    assert check(RIGHT) == []


@pytest.mark.parametrize("case", WRONG)
def test_each_invariant_is_violated_alone_by(case: str) -> None:
    invariant, history = WRONG[case]

    found = {violation.invariant for violation in check(history)}

    assert len(found) == 1, found
    assert invariant in found.pop()


def test_every_invariant_has_a_history_that_violates_it() -> None:
    violated = {violation.invariant for _, history in WRONG.values() for violation in check(history)}
    assert violated == set(invariants.INVARIANTS)


@pytest.mark.parametrize(
    "cause",
    [
        {"troubles": [Trouble("worker stopped", "w1", 11.2, 14.6)]},
        {"troubles": [Trouble("stands still", "redis", 12.0, 13.2)]},
        {"lives": [Life("w1", 9.0, 11.6, -9, killed=True)]},
    ],
    ids=["worker stopped", "Redis in trouble", "worker killed"],
)
def test_a_lease_that_ran_out_explains_the_charge_and_a_second_run_beside_the_first(cause: dict) -> None:
    assert check(with_transitions(*RECOVERED, runs=TWICE, **cause)) == []


def test_a_process_that_was_killed_explains_the_charge_of_every_task_it_had() -> None:
    charge = moved("active", "retry", 12.6, lease_until_s=14.0, charged=True, retried=1, error="SIGKILL")
    again = moved("active", "completed", 15.0, attempt=2, run_id="r2", digest="d1")
    history = with_transitions(
        moved("pending", "active", 10.9), charge, again, runs=[run_("r2", 14.2, 14.9)], places=RIGHT.places
    )
    assert [violation.task_id for violation in check(history)] == ["a"]

    killed = Trouble("task process killed", "w1", 12.5, 12.5)
    assert check(replace(history, troubles=[killed])) == []


def test_a_drain_that_ends_a_run_explains_no_charge_and_a_limit_that_passed_does() -> None:
    charge = moved("active", "retry", 16.0, lease_until_s=18.0, charged=True, retried=1, error="SIGTERM")
    again = moved("active", "completed", 19.0, attempt=2, run_id="r2", digest="d1")
    runs = [run_("r1", 14.0, None, "", seen_s=15.9), run_("r2", 18.2, 18.9)]
    history = with_transitions(moved("pending", "active", 13.9), charge, again, runs=runs)
    assert [violation.invariant for violation in check(history)] == ["every retry charged is explained"]

    assert check(replace(history, sent=[replace(RIGHT.sent[0], timeout_s=1.0)])) == []
    assert check(replace(history, lives=[Life("w1", 9.0, 20.0, 0, asked_s=19.5)])) == []


def test_time_that_a_worker_stood_still_is_not_counted_as_draining() -> None:
    slow = replace(RIGHT, lives=[Life("w1", 9.0, 24.0, 0, asked_s=15.0)])
    assert check(replace(slow, troubles=[Trouble("worker stopped", "w1", 16.0, 19.0)])) == []
    starved = replace(slow, troubles=[Trouble("starved", "w1", 15.0, 24.0)])
    assert [violation.what for violation in check(starved)] == ["w1 took 9.0 s to end, allowed are 8 s"]


def test_a_worker_that_is_not_up_yet_may_end_by_the_signal_itself() -> None:
    new, old = (replace(life, status=-15) for life in (Life("w2", 14.0, 16.0, 0, asked_s=15.0), *RIGHT.lives))
    assert check(replace(RIGHT, lives=[*RIGHT.lives, new])) == []
    (violation,) = check(replace(RIGHT, lives=[*RIGHT.lives, replace(new, began_s=-60.0)]))
    assert "exit status -15" in violation.what
    (violation,) = check(replace(RIGHT, lives=[old]))
    assert "exit status -15" in violation.what


def test_a_stop_that_was_over_and_still_felt_does_not_shorten_the_time_for_draining() -> None:
    felt = Trouble("worker stopped", "w1", 1.0, 8.0, lingers_s=10.0)
    assert check(replace(RIGHT, troubles=[felt])) == []


def test_a_worker_may_fail_to_start_while_what_it_needs_is_in_trouble() -> None:
    failed = replace(RIGHT, lives=[Life("w1", 9.0, 17.0, 3)])
    assert check(replace(failed, troubles=[Trouble("refused", "w1", 8.0, 10.0)])) == []


@pytest.mark.parametrize(("kind", "target"), [("starved", "{}"), ("stood still", "redis")])
def test_a_busy_machine_explains_a_start_that_fails_just_then_and_no_end_much_later(
    kind: str, target: str
) -> None:
    new, old = Life("w2", 9.0, 17.0, 3), Life("w1", 9.0, 17.0, 3)
    troubles = [Trouble(kind, target.format(worker), 9.0, 10.0) for worker in ("w1", "w2")]
    assert check(replace(RIGHT, lives=[*RIGHT.lives, new], troubles=troubles)) == []
    for life in (replace(new, ended_s=25.0), old):
        (violation,) = check(replace(RIGHT, lives=[life], troubles=troubles))
        assert violation.invariant == "a worker ends only when it is told to"


def test_the_story_of_a_task_is_its_events_and_the_faults_they_fall_into_in_order() -> None:
    history = with_transitions(
        *RECOVERED,
        runs=TWICE,
        troubles=[Trouble("worker stopped", "w1", 11.2, 14.6), Trouble("slow", "w9", 11.0, 15.0)],
    )
    told = [text for _, text in invariants.task_history(history, "a")]
    assert told[0].startswith("sent to chaos.default: short")
    assert [text for text in told if "fault on" in text] == [
        "fault on w1: worker stopped (until the line below)",
        "fault on w1 over: worker stopped",
    ]
    assert any("the lease of w1 had run out" in text for text in told)
    assert told[-1] == "active → completed"


def test_the_documentation_lists_every_invariant_in_its_order() -> None:
    page = (Path(__file__).parents[2] / "docs" / "chaos.md").read_text()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if line.startswith("| ")]
    assert [row for row in rows if row in invariants.INVARIANTS] == list(invariants.INVARIANTS)
