"""Why a task is not running, as a table: facts in, one sentence out."""

from dataclasses import replace

import pytest

from appliance.commands.explain.facts import TaskFacts, WorkerFacts
from appliance.commands.explain.reading import Found
from appliance.commands.explain.reason import why
from appliance.commands.explain.telling import as_data, tell

NOW = 1_800_000_000.0
QUEUE = "inference.low"
WORKER = WorkerFacts("w1", True, "running", True, "idle", frozenset({QUEUE}), 2.0, 4)
DEGRADED = replace(WORKER, healthy=False, recovery="degraded")
QUIET = replace(WORKER, quiet=True)
STARTING = replace(WORKER, status="bootstrapping")
DEAD = replace(WORKER, alive=False, beat_age_s=90.0)
ELSEWHERE = replace(WORKER, queues=frozenset({"other.default"}))

PENDING = TaskFacts("id", QUEUE, NOW, "pending", ("pending",), ahead=0, pending=1, workers=(WORKER,))
ACTIVE = TaskFacts(
    "id",
    QUEUE,
    NOW,
    "active",
    ("active",),
    lease_until_wall_s=NOW + 20,
    owner="w1",
    max_retry=3,
    workers=(WORKER,),
)
RETRY = TaskFacts(
    "id", QUEUE, NOW, "retry", ("retry",), due_wall_s=NOW + 39, retried=2, max_retry=3, workers=(WORKER,)
)
SCHEDULED = TaskFacts("id", QUEUE, NOW, "scheduled", ("scheduled",), due_wall_s=NOW + 300, workers=(WORKER,))

TABLE = [
    (PENDING, "it is the next one of its queue; 1 worker with 4 slots serve the queue"),
    (
        replace(PENDING, ahead=12),
        "it waits behind 12 tasks of its queue; 1 worker with 4 slots serve the queue",
    ),
    (
        replace(PENDING, ahead=None, pending=200_000),
        "it waits behind thousands of 200000 tasks; 1 worker with 4 slots serve the queue",
    ),
    (
        replace(PENDING, first={"inference.high": 7, "inference.mid": 0}),
        "it is the next one of its queue; 7 of inference.high go first, having the higher priority; "
        "1 worker with 4 slots serve the queue",
    ),
    (replace(PENDING, paused=True), "the queue is paused: no worker takes its tasks until it is resumed"),
    (replace(PENDING, workers=()), "no live worker serves inference.low"),
    (replace(PENDING, workers=(DEAD,)), "no live worker serves inference.low"),
    (replace(PENDING, workers=(ELSEWHERE,)), "no live worker serves inference.low"),
    (
        replace(PENDING, workers=(DEGRADED,)),
        "only degraded workers serve inference.low: w1 (their task process keeps crashing)",
    ),
    (
        replace(PENDING, workers=(DEGRADED, replace(WORKER, worker_id="w2", concurrency=1))),
        "it is the next one of its queue; 2 workers with 1 slot serve the queue",
    ),
    (
        replace(PENDING, workers=(QUIET,)),
        "the workers that serve inference.low are quiet (SIGTSTP) and take nothing: w1",
    ),
    (replace(PENDING, workers=(STARTING,)), "the workers that serve inference.low are still starting: w1"),
    (
        replace(PENDING, workers=(QUIET, replace(WORKER, worker_id="w2", recovery="recovering"))),
        "no worker that serves inference.low can take it: w1 is quiet, w2 is recovering",
    ),
    (
        replace(PENDING, pending_since_wall_s=NOW - 61, pending_timeout_s=60),
        "it has waited longer than its pending timeout (1m): the next worker to take it archives it",
    ),
    (
        replace(PENDING, pending_since_wall_s=NOW - 59, pending_timeout_s=60),
        "it is the next one of its queue; 1 worker with 4 slots serve the queue",
    ),
    (
        replace(PENDING, broken="its hash is gone"),
        "it cannot be understood (its hash is gone): the next worker to take it archives it",
    ),
    (ACTIVE, "it is running on w1; its lease has 20s left and is prolonged"),
    (
        replace(ACTIVE, workers=(DEGRADED,)),
        "it is running on w1, which is degraded; its lease has 20s left and is prolonged",
    ),
    (
        replace(ACTIVE, workers=(DEAD, replace(WORKER, worker_id="w2"))),
        "its worker w1 is dead or cut off: when its lease expires in 20s, "
        "another worker puts it up for retry 1 of 3",
    ),
    (
        replace(ACTIVE, retried=3, workers=(replace(WORKER, worker_id="w2"),)),
        "its worker w1 is dead or cut off: when its lease expires in 20s, "
        "another worker archives it, since it has no retry left",
    ),
    (
        replace(ACTIVE, workers=(DEAD,)),
        "its worker w1 is dead or cut off: when its lease expires in 20s, another worker "
        "puts it up for retry 1 of 3, once a worker serves inference.low: none lives now",
    ),
    (
        replace(ACTIVE, lease_until_wall_s=NOW - 3),
        "the lease of w1 ran out 3s ago: another worker puts it up for retry 1 of 3 within seconds",
    ),
    (
        replace(ACTIVE, owner=""),
        "it is running, on a worker that does not sign its tasks; its lease has 20s left",
    ),
    (
        replace(ACTIVE, lease_until_wall_s=None),
        "it was taken and never claimed: it goes back to pending within seconds",
    ),
    (
        replace(RETRY, retried=0),
        "a worker could not run it and put it off, without spending a retry: it is due in 39s",
    ),
    (RETRY, "it failed and waits for retry 2 of 3: it is due in 39s"),
    (
        replace(RETRY, due_wall_s=NOW - 2),
        "it failed and waits for retry 2 of 3: it has been due for 2s and becomes pending within seconds",
    ),
    (
        replace(RETRY, due_wall_s=NOW - 2, workers=()),
        "it failed and waits for retry 2 of 3: it has been due for 2s and becomes pending within seconds, "
        "once a worker serves inference.low: none lives now",
    ),
    (SCHEDULED, "it is scheduled: it is due in 5m"),
    (
        TaskFacts("id", QUEUE, NOW, "completed", ("completed",), completed_wall_s=NOW - 180),
        "it has ended: completed 3m ago",
    ),
    (
        TaskFacts("id", QUEUE, NOW, "archived", ("archived",), failed_wall_s=NOW - 5, retried=3, max_retry=3),
        "it has ended: failed for good 5s ago, after 3 of 3 retries",
    ),
    (
        TaskFacts("id", QUEUE, NOW, "pending", ()),
        "its hash says pending, but it is in none of the queue's lists: "
        "no worker will find it; enqueue it again",
    ),
    # The lists win over the hash: they are what workers look at.
    (replace(RETRY, state="active"), "it failed and waits for retry 2 of 3: it is due in 39s"),
]


@pytest.mark.parametrize(("facts", "sentence"), TABLE, ids=range(len(TABLE)))
def test_there_is_one_sentence_for_everything_a_task_can_be(facts: TaskFacts, sentence: str) -> None:
    assert why(facts) == sentence
    assert sentence in tell("id", Found((facts,), (QUEUE,)))
    assert as_data("id", Found((facts,), (QUEUE,)))["found"][0]["why"] == sentence


def test_an_unknown_task_is_told_with_where_was_looked() -> None:
    text = tell("id", Found((), ("inference.low", "inference.high")))

    assert text == "task id is unknown; looked in: inference.low, inference.high"


def test_a_place_that_is_not_the_hashs_is_pointed_out() -> None:
    text = tell("id", Found((replace(RETRY, state="active"),), (QUEUE,)))

    assert "mismatch     its hash says active" in text
