"""Time limits whose stamps come while the task runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from appliance.config.settings import RetrySettings, TaskSettings
from appliance.dispatch.limits import Limits
from appliance.dispatch.run import Run
from appliance.process.inflight import InFlight
from appliance.process.outcome import TimedOut
from appliance.process.runner import Request
from appliance.queue.message import Lease, Stamps, Task
from appliance.queue.settlement import Policy

LEASE = Lease("q.a", "t1", "me", "1-7")
POLICY = Policy(RetrySettings(), TaskSettings())


@dataclass
class World:
    """A clock, the stamps that stand in Redis, and what runs."""

    now_s: float = 100.0
    stamped: Stamps = field(default_factory=Stamps)
    runs: list[Run] = field(default_factory=list)
    reads_s: list[float] = field(default_factory=list)
    limits_s: list[float | None] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now_s

    def stamps(self, leases: Sequence[Lease]) -> dict[Lease, Stamps]:
        self.reads_s.append(self.now_s - 100.0)
        return dict.fromkeys(leases, self.stamped)

    def in_process(self) -> list[Run]:
        return self.runs

    def limit(self, run: Run, task: Task, run_limit_s: float | None) -> None:
        run.task = task
        self.limits_s.append(run_limit_s)

    def pass_time(self, limits: Limits, seconds: float) -> None:
        """Tick whenever a tick wants to be, as the loop does."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += max(limits.tick(), 0.001)


def task(timeout_s: float | None = None, stamps: Stamps | None = None) -> Task:
    return Task(LEASE, "t", b"", 3, 0, timeout_s, None, 0, "", None, stamps or Stamps(), None)


def begin(world: World, task: Task) -> Limits:
    request = Request("t1", "q.a", "t", b"", 0, 3, POLICY.run_limit_s(task))
    world.runs.append(Run(task, request, world.now_s))
    return Limits(world, world, POLICY, world)  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout_s", [1, 2, 30])
def test_the_stamps_are_read_before_the_messages_limit_ends_a_run_and_a_stamp_of_0_lifts_it(
    timeout_s: float,
) -> None:
    world = World()
    limits = begin(world, task(timeout_s))
    world.pass_time(limits, timeout_s * 0.7)
    world.stamped = Stamps(active_timeout_s=0)
    world.pass_time(limits, timeout_s * 0.3)
    assert world.limits_s == [None]
    assert world.reads_s[-1] < timeout_s


def test_a_limit_that_is_stamped_late_bounds_a_run_that_began_without() -> None:
    world = World()
    limits = begin(world, task())
    world.pass_time(limits, 0.6)
    world.stamped = Stamps(active_timeout_s=5)
    world.pass_time(limits, 2)
    assert world.limits_s == [5]


def test_a_run_without_stamps_is_asked_for_ever_more_seldom() -> None:
    world = World()
    limits = begin(world, task())
    world.pass_time(limits, 3_600)
    assert len(world.reads_s) == 12
    assert world.limits_s == []


def test_what_was_stamped_at_the_take_or_is_over_by_the_first_read_costs_nothing() -> None:
    world = World()
    limits = begin(world, task(stamps=Stamps(active_timeout_s=0)))
    world.pass_time(limits, 60)
    world.runs.clear()
    begin(world, task())
    world.pass_time(limits, 0.9)
    world.runs.clear()
    world.pass_time(limits, 60)
    assert world.reads_s == []


def test_the_other_limit_counts_from_when_the_first_one_did() -> None:
    tasks = InFlight()
    tasks.begin(0)
    tasks.add(Request("t1", "q.a", "t", b"", 0, 3, 30.0), lambda _, __: None, 0)
    tasks.limit("t1", 40.0)
    assert (tasks.due_s(), tasks.overdue(39)) == (40.0, [])
    assert tasks.overdue(40) == [("t1", TimedOut("timeout: still running after 40 s"))]
    tasks.limit("t1", None)
    tasks.limit("unknown", 1)
    assert (tasks.due_s(), tasks.overdue(1_000)) == (None, [])
