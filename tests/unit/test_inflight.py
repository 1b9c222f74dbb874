"""Which limit of the tasks in a process passes next, and memory that cannot be read."""

import os

import psutil
import pytest

from appliance.process import recycling
from appliance.process.inflight import InFlight
from appliance.process.outcome import Outcome
from appliance.process.runner import Request


def _request(
    task_id: str, deadline_monotonic_s: float | None = None, run_limit_s: float | None = None
) -> Request:
    request = Request(task_id, "q.a", "t", b"", 0, 3, run_limit_s)
    return request._replace(deadline_monotonic_s=deadline_monotonic_s)


def _deliver(_: Outcome) -> None:
    """It goes nowhere."""


@pytest.mark.parametrize("answered", ["plain", "first"])
def test_a_deadline_counts_until_its_own_task_is_answered(answered: str) -> None:
    tasks = InFlight()
    tasks.begin(0.0)
    for request in (_request("plain"), _request("first", 10.0), _request("second", 50.0)):
        tasks.add(request, _deliver, 0.0)
    assert tasks.due_s() == 10.0

    tasks.answered(answered, 1.0)

    assert tasks.due_s() == (10.0 if answered == "plain" else 50.0)
    tasks.answered("plain" if answered == "first" else "first", 2.0)
    assert tasks.due_s() == 50.0
    tasks.answered("second", 3.0)
    assert tasks.due_s() is None


def test_the_answer_of_a_task_without_a_deadline_leaves_the_only_deadline_in_force() -> None:
    tasks = InFlight()
    tasks.begin(0.0)
    for request in (_request("plain"), _request("late", 10.0)):
        tasks.add(request, _deliver, 0.0)

    tasks.answered("plain", 1.0)

    assert tasks.due_s() == 10.0


def test_without_a_deadline_only_the_oldest_is_under_its_limit_from_when_it_became_that() -> None:
    tasks = InFlight()
    tasks.begin(0.0)
    tasks.add(_request("deadline", 10.0), _deliver, 0.0)
    for number in range(2):
        tasks.add(_request(f"t{number}", run_limit_s=5.0), _deliver, 0.0)
    tasks.answered("deadline", 2.0)
    assert tasks.due_s() == 7.0
    tasks.answered("t0", 6.0)
    assert tasks.due_s() == 11.0
    assert tasks.overdue(10.9) == []
    assert [task_id for task_id, _ in tasks.overdue(11.0)] == ["t1"]


def test_memory_that_cannot_be_read_is_none_that_is_held_and_none_that_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert recycling.memory_bytes(os.getpid()) > 2**20
    assert recycling.memory_bytes(2**22 + 1) == 0

    def unreadable() -> None:
        raise OSError("no /proc")

    monkeypatch.setattr(psutil, "virtual_memory", unreadable)
    assert recycling.free_bytes() == 0
