"""Whether tasks are taken, and why not."""

from itertools import product
from typing import Any

import pytest

from appliance.dispatch.backoff import Backoff, Delays
from appliance.dispatch.gate import (
    DEGRADED_TAKE_EVERY_S,
    Event,
    Gate,
    Position,
    Process,
    State,
    decide,
    move,
)
from appliance.process.runner import RunnerState

#: What the operator's words lead to: from, word, to.
MOVES = [
    ("OPEN", "QUIET", "QUIET"),
    ("OPEN", "RESUME", "OPEN"),
    ("OPEN", "CLOSE", "CLOSED"),
    ("QUIET", "QUIET", "QUIET"),
    ("QUIET", "RESUME", "OPEN"),
    ("QUIET", "CLOSE", "CLOSED"),
    ("CLOSED", "QUIET", "CLOSED"),
    ("CLOSED", "RESUME", "CLOSED"),
    ("CLOSED", "CLOSE", "CLOSED"),
]
#: What is taken: position, process, with Redis, without it.
STATES = [
    ("OPEN", "READY", "OPEN", "REDIS_UNAVAILABLE"),
    ("OPEN", "NOT_READY", "NOT_READY", "NOT_READY"),
    ("OPEN", "DEGRADED", "DEFERRING", "REDIS_UNAVAILABLE"),
    ("QUIET", "READY", "QUIET", "QUIET"),
    ("QUIET", "NOT_READY", "QUIET", "QUIET"),
    ("QUIET", "DEGRADED", "QUIET", "QUIET"),
    ("CLOSED", "READY", "CLOSED", "CLOSED"),
    ("CLOSED", "NOT_READY", "CLOSED", "CLOSED"),
    ("CLOSED", "DEGRADED", "CLOSED", "CLOSED"),
]


class FakeRunner:
    """A runner, as far as the gate looks at it."""

    def __init__(self, *, ready: bool = True, recovery: str = "idle") -> None:
        self.ready = ready
        self.recovery = recovery

    def state(self) -> RunnerState:
        return RunnerState(self.recovery, self.ready, 0, 0, ())


def gate_of(runner: Any, redis: Backoff | None = None, *, requeue_degraded: bool = True) -> Gate:
    return Gate(runner, redis or Backoff(Delays(1.0, 1.0)), requeue_degraded=requeue_degraded)


@pytest.mark.parametrize(("position", "event", "after"), MOVES)
def test_the_operators_word_moves_the_gate(position: str, event: str, after: str) -> None:
    assert move(Position[position], Event[event]) is Position[after]


@pytest.mark.parametrize(("position", "process", "state", "without_redis"), STATES)
def test_what_is_taken_follows_from_operator_process_and_redis(
    position: str, process: str, state: str, without_redis: str
) -> None:
    assert decide(Position[position], Process[process]) is State[state]
    assert decide(Position[position], Process[process], redis_available=False) is State[without_redis]


def test_these_tables_speak_of_every_pair() -> None:
    assert {row[:2] for row in MOVES} == {(p.name, e.name) for p, e in product(Position, Event)}
    assert {row[:2] for row in STATES} == {(p.name, s.name) for p, s in product(Position, Process)}


def test_a_pair_that_is_not_in_the_table_raises() -> None:
    with pytest.raises(KeyError):
        move(Position.OPEN, "close")  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        decide(Position.OPEN, "ready")  # type: ignore[arg-type]


def test_a_gate_is_open_while_the_process_is_ready() -> None:
    process = FakeRunner()
    gate = gate_of(process)
    assert (gate.open, gate.state()) == (True, State.OPEN)

    process.ready = False
    assert (gate.open, gate.state()) == (False, State.NOT_READY)


def test_quiet_can_be_revoked_and_closed_cannot() -> None:
    gate = gate_of(FakeRunner())

    opened = []
    for event in (Event.QUIET, Event.RESUME, Event.CLOSE, Event.RESUME):
        gate.tell(event)
        opened.append(gate.open)

    assert opened == [False, True, False, False]


def test_while_redis_is_unavailable_what_is_here_is_started_all_the_same() -> None:
    redis = Backoff(Delays(1.0, 1.0))
    gate = gate_of(FakeRunner(), redis)
    redis.failed(100.0)

    assert gate.state(100.5) is State.REDIS_UNAVAILABLE
    assert gate.open
    assert gate.state(101.0) is State.OPEN, "when it is tried again"


def test_a_degraded_worker_takes_one_task_now_and_then_only_to_defer_it() -> None:
    gate = gate_of(FakeRunner(ready=False, recovery="degraded"))
    assert gate.deferring
    assert gate.next_look_s(100.0) is not None

    assert gate.take_to_defer(100.0)

    assert not gate.take_to_defer(100.0 + DEGRADED_TAKE_EVERY_S - 0.01)
    assert gate.next_look_s(101.0) == DEGRADED_TAKE_EVERY_S - 1
    assert gate.take_to_defer(100.0 + DEGRADED_TAKE_EVERY_S)


@pytest.mark.parametrize(
    ("process", "requeue", "word"),
    [
        (FakeRunner(), True, Event.RESUME),
        (FakeRunner(ready=False, recovery="recovering"), True, Event.RESUME),
        (FakeRunner(ready=False, recovery="degraded"), False, Event.RESUME),
        (FakeRunner(ready=False, recovery="degraded"), True, Event.QUIET),
        (FakeRunner(ready=False, recovery="degraded"), True, Event.CLOSE),
        # What is degraded and ready: its replacement works, and the table of recovery has yet to hear of it.
        (FakeRunner(ready=True, recovery="degraded"), True, Event.RESUME),
    ],
    ids=["ready", "recovering", "policy hold", "quiet", "closed", "ready again"],
)
def test_nothing_is_deferred_otherwise(process: FakeRunner, requeue: bool, word: Event) -> None:
    gate = gate_of(process, requeue_degraded=requeue)
    gate.tell(word)

    assert not gate.deferring
    assert not gate.take_to_defer(100.0)
    assert gate.next_look_s(100.0) is None
