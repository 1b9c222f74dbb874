"""Workers at a distance from one Redis, in time that only passes when the simulation says so.

The dispatchers are the real ones, each in a greenlet that waits for simulated time wherever a worker would
wait: for Redis, for its wake event. Nothing takes time but what is said to: a round trip, a task's run. So
what comes out depends on when a worker asks for what, and on nothing else.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenlet import getcurrent, greenlet

from appliance.dispatch.dispatcher import Dispatcher, DispatchSettings
from appliance.dispatch.intake import Intake, Source
from appliance.dispatch.large import LargeOutcomes
from appliance.dispatch.order import strict
from appliance.dispatch.unsettled import Unsettled
from appliance.observe.tally import Tally
from appliance.process.outcome import Succeeded
from appliance.process.runner import Deliver, Request, RunnerState
from appliance.queue.message import Task
from appliance.queue.replies import Ask, Exchange, FenceReply, Taken
from appliance.queue.settlement import Complete, Return, Settlement
from tests.unit.dispatching import HIGH, POLICY, task


class Time:
    """The clock, and what is to happen when."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._hub = getcurrent()

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let others go on for this long."""
        here = getcurrent()
        self.after(seconds, here.switch)
        self._hub.switch()

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        heapq.heappush(self._due, (self.now_s + seconds, next(self._numbers), do))

    def wait(self) -> None:
        """Let others go on until something switches back."""
        self._hub.switch()

    def run(self, until: Callable[[], bool], at_most_s: float) -> None:
        """Let time pass until then."""
        end_s = self.now_s + at_most_s
        while not until():
            assert self._due, "nothing is left to happen"
            at_s, _, do = heapq.heappop(self._due)
            assert at_s <= end_s, f"it is not so after {at_most_s:g} s"
            self.now_s = max(self.now_s, at_s)
            do()


class Wake:
    """The wake event of one dispatcher."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._is_set = False
        self._waiter: greenlet | None = None
        self._round = 0

    def set(self) -> None:
        self._is_set = True
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            self._time.after(0.0, waiter.switch)

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout_s: float | None) -> None:
        if self._is_set:
            return
        self._waiter = mine = getcurrent()
        self._round = number = self._round + 1

        def late() -> None:
            if self._waiter is mine and self._round == number:
                self._waiter = None
                mine.switch()

        if timeout_s is not None:
            self._time.after(timeout_s, late)
        self._time.wait()


@dataclass
class Story:
    """What happened to one task. ``held`` are times from a take to the start or the return, by Redis."""

    length_s: float
    pending_s: float
    runs: int = 0
    held: list[tuple[float, float]] = field(default_factory=list)
    taken_s: float | None = None
    started_s: float | None = None


class Redis:
    """One queue, with waiting workers in the order in which they came."""

    keeps_results = True

    def __init__(self, time: Time) -> None:
        self.time = time
        self.pending: deque[Task] = deque()
        self.stories: dict[str, Story] = {}
        self.blocked: list[FarWatch] = []
        self.done = 0
        self.returned = 0
        self.exchanges = 0

    def push(self, lengths_s: Iterable[float]) -> None:
        for length_s in lengths_s:
            name = f"t{len(self.stories)}"
            self.stories[name] = Story(length_s, self.time.now_s)
            self.pending.append(task(name))
        self.serve()

    def serve(self) -> None:
        while self.pending and self.blocked:
            self.blocked.pop(0).moved(self.pending.popleft())

    def take(self, count: int) -> list[Task]:
        taken = [self.pending.popleft() for _ in range(min(count, len(self.pending)))]
        for one in taken:
            self.stories[one.lease.task_id].taken_s = self.time.now_s
        return taken

    def settle(self, settlement: Settlement) -> None:
        name = settlement.lease.task_id
        story = self.stories[name]
        if isinstance(settlement, Return):
            assert story.taken_s is not None
            story.held.append((story.taken_s, self.time.now_s))
            self.returned += 1
            lease = settlement.lease
            self.pending.appendleft(task(name, attempt=int(lease.attempt) + 1))
            self.serve()
        else:
            assert isinstance(settlement, Complete)
            self.done += 1


class FarBroker:
    """The Redis from a worker's place."""

    keeps_results = True
    takes_over_s = 0.0

    def __init__(self, redis: Redis, round_trip_s: Callable[[], float], watch: "FarWatch") -> None:
        self._redis = redis
        self._round_trip_s = round_trip_s
        self._watch = watch

    def exchange(self, settlements: Sequence[Settlement], asks: Sequence[Ask]) -> Exchange:
        there_s, redis = self._round_trip_s() / 2, self._redis
        redis.exchanges += 1
        redis.time.sleep(there_s)
        returned = [one for one in settlements if isinstance(one, Return)]
        for settlement in (*(one for one in settlements if not isinstance(one, Return)), *returned[::-1]):
            redis.settle(settlement)
        taken = []
        for ask in asks:
            if ask.arrived:
                found = [self._watch.claimed.pop(0) for _ in ask.arrived]
                for one in found:
                    redis.stories[one.lease.task_id].taken_s = redis.time.now_s
            elif not ask.count:
                taken.append(Taken(pending=len(redis.pending)))
                continue
            else:
                found = redis.take(ask.count)
            taken.append(Taken(tuple(found), now_wall_s=redis.time.now_s))
        redis.time.sleep(there_s)
        return Exchange((FenceReply.DONE,) * len(settlements), tuple(taken))

    def reclaim(self, queue: str, ids: tuple[bytes, ...]) -> int:
        self._redis.time.sleep(self._round_trip_s() / 2)
        for _ in ids:
            self._redis.pending.appendleft(self._watch.claimed.pop(0))
        self._redis.serve()
        self._redis.time.sleep(self._round_trip_s() / 2)
        return len(ids)

    def mend_lookups(self) -> None:
        """There are none."""


class FarWatch:
    """A blocking move."""

    failed = False

    def __init__(self, redis: Redis, round_trip_s: Callable[[], float], wake: Wake) -> None:
        self.armed = False
        self.arrived: deque[bytes] = deque()
        self.claimed: list[Task] = []
        self._redis, self._round_trip_s, self._wake = redis, round_trip_s, wake

    def arm(self) -> None:
        if not self.armed:
            self.armed = True
            self._redis.time.after(self._round_trip_s() / 2, self._block)

    def _block(self) -> None:
        if self.armed:
            self._redis.blocked.append(self)
            self._redis.serve()

    def moved(self, one: Task) -> None:
        self.claimed.append(one)

        def arrive() -> None:
            self.armed = False
            self.arrived.append(one.lease.task_id.encode())
            self._wake.set()

        self._redis.time.after(self._round_trip_s() / 2, arrive)

    def disarm(self) -> None:
        if self in self._redis.blocked:
            self._redis.blocked.remove(self)
            self.armed = False

    def end(self) -> None:
        """Nothing to do."""


class Process:
    """Runs up to ``slots`` tasks, each for as long as its story says."""

    ready = True

    def __init__(self, redis: Redis, slots: int) -> None:
        self._redis, self._slots = redis, slots
        self.running: set[str] = set()
        self.idle: list[tuple[float, float]] = []
        self._idle_since_s: float | None = redis.time.now_s
        self.busy_s = 0.0
        self.began_s: float | None = None

    def submit(self, request: Request, deliver: Deliver) -> None:
        time, story = self._redis.time, self._redis.stories[request.task_id]
        story.runs += 1
        assert story.runs == 1, f"{request.task_id} runs twice"
        assert len(self.running) < self._slots
        assert story.taken_s is not None
        story.held.append((story.taken_s, time.now_s))
        story.started_s = time.now_s
        self.running.add(request.task_id)
        self.busy_s += story.length_s
        self.began_s = time.now_s if self.began_s is None else self.began_s
        if self._idle_since_s is not None:
            self.idle.append((self._idle_since_s, time.now_s))
            self._idle_since_s = None

        def end() -> None:
            self.running.discard(request.task_id)
            if not self.running:
                self._idle_since_s = time.now_s
            deliver(request, Succeeded(b"1"))

        time.after(story.length_s, end)

    def idle_until(self, now_s: float) -> list[tuple[float, float]]:
        """When it had nothing at all to do."""
        return self.idle + ([(self._idle_since_s, now_s)] if self._idle_since_s is not None else [])

    def state(self) -> RunnerState:
        return RunnerState("idle", True, 0, 0, ())

    def cancel(self, task_id: str, reason: str) -> None:
        """None is."""


class Worker:
    """One dispatcher and its process."""

    def __init__(
        self, redis: Redis, round_trip_s: Callable[[], float], *, concurrency: int = 1, name: str = "a"
    ) -> None:
        time = redis.time
        self.wake = Wake(time)
        self.watch = FarWatch(redis, round_trip_s, self.wake)
        self.process = Process(redis, concurrency)
        broker: Any = FarBroker(redis, round_trip_s, self.watch)
        watch: Any = self.watch
        process: Any = self.process
        wake: Any = self.wake
        large = LargeOutcomes(broker, POLICY, time, self.wake.set)
        self.dispatcher = Dispatcher(
            Intake([Source(HIGH, watch)], strict({HIGH: 1})),
            broker,
            process,
            Unsettled(POLICY, {HIGH: Tally()}, time, large),
            DispatchSettings("inference", concurrency),
            clock=time,
            rng=random.Random(1),
            wake=wake,
        )
        loop = greenlet(self._run, parent=getcurrent())
        time.after(0.0, loop.switch)

    def _run(self) -> None:
        while True:
            self.wake.clear()
            delay_s = self.dispatcher.tick()
            if delay_s != 0:
                self.wake.wait(delay_s)


def longest_s(time: tuple[float, float], others: Iterable[tuple[float, float]]) -> float:
    """The longest time at a stretch for which ``time`` is beside one of the others."""
    return max((min(time[1], end_s) - max(time[0], start_s) for start_s, end_s in others), default=0.0)
