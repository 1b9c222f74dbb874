"""A dispatcher without a Redis, a process or a clock: all three do what the test says, nothing waits."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from appliance.config.settings import RetrySettings, TaskSettings
from appliance.dispatch.dispatcher import Dispatcher, DispatchSettings
from appliance.dispatch.intake import Intake, Source
from appliance.dispatch.large import LargeOutcomes
from appliance.dispatch.order import strict
from appliance.dispatch.unsettled import Unsettled
from appliance.errors import ProcessNotReady, QueueError, QueueNodeUnavailable
from appliance.event import Event
from appliance.observe.tally import Tally
from appliance.process.outcome import Outcome, Succeeded
from appliance.process.runner import Deliver, Request, RunnerState
from appliance.queue.message import Lease, Stamps, Task
from appliance.queue.replies import Ask, Exchange, FenceReply, Taken
from appliance.queue.settlement import Policy, Settlement

HIGH, LOW = "inference.high", "inference.low"
POLICY = Policy(RetrySettings(), TaskSettings())


class FakeClock:
    """Time stands still until it is moved; to sleep is to move it, and lets ``meanwhile`` happen."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.meanwhile: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.meanwhile()


def task(
    task_id: str,
    queue: str = HIGH,
    *,
    attempt: int = 1,
    deadline_wall_s: float | None = None,
    pending_since_wall_s: float | None = None,
    pending_timeout_s: float | None = None,
    crashes: int = 0,
) -> Task:
    return Task(
        lease=Lease(queue, task_id, "me", str(attempt)),
        type="t",
        payload=b"{}",
        max_retry=3,
        retried=0,
        timeout_s=None,
        deadline_wall_s=deadline_wall_s,
        retention_s=0,
        unique_key="",
        pending_since_wall_s=pending_since_wall_s,
        stamps=Stamps(pending_timeout_s=pending_timeout_s),
        message=None,
        crashes=crashes,
    )


class FakeBroker:
    """A Redis of lists.

    ``failure`` is raised by whatever is asked of it, ``down`` are the queues whose node does not answer,
    ``refuses`` those it does not work on.
    """

    keeps_results = True

    def __init__(self, clock: FakeClock) -> None:
        self.pending: dict[str, deque[Task]] = {HIGH: deque(), LOW: deque()}
        self.paused: set[str] = set()
        self.broken: list[tuple[Lease, str]] = []
        self.strays = 0
        self.lost_takes: dict[str, list[str]] = {}
        self.failure: QueueError | None = None
        self.down: dict[str, QueueNodeUnavailable] = {}
        self.refuses: dict[str, QueueError] = {}
        self.replies: dict[str, FenceReply | None] = {}
        self.calls: list[tuple[str, Any]] = []
        self.settled: list[Settlement] = []
        self.takes_s = 0.0
        #: As the broker has it: until then a take may still be carried out.
        self.takes_over_s = 0.0
        self.too_late = False
        self.meanwhile: Callable[[], None] = lambda: None
        self._clock = clock

    def push(self, *tasks: Task) -> None:
        for one in tasks:
            self.pending[one.lease.queue].append(one)

    def mend_lookups(self) -> None:
        """There are none."""

    def exchange(self, settlements: Sequence[Settlement], asks: Sequence[Ask]) -> Exchange:
        self._called("exchange", (list(settlements), list(asks)))
        replies = tuple(self._settle(one) for one in settlements)
        taken = tuple(self._take(ask) for ask in asks)
        touched = {ask.queue for ask in asks} | {one.lease.queue for one in settlements}
        failure = next((why for queue, why in self.refuses.items() if queue in touched), None)
        return Exchange(
            replies, taken, failure, {queue: why for queue, why in self.down.items() if queue in touched}
        )

    def reconcile(self, queue: str, known: Iterable[str]) -> list[str]:
        self._called("reconcile", (queue, list(known)))
        if queue in self.refuses:
            raise self.refuses[queue]
        if queue in self.down:
            raise self.down[queue]
        return self.lost_takes.pop(queue, [])

    def reclaim(self, queue: str, ids: tuple[bytes, ...]) -> int:
        self._called("reclaim", (queue, ids))
        if queue in self.refuses:
            raise self.refuses[queue]
        if queue in self.down:
            raise self.down[queue]
        return len(ids)

    def _called(self, name: str, what: Any) -> None:
        self.calls.append((name, what))
        self._clock.now_s += self.takes_s
        self.meanwhile()
        if self.failure is not None:
            raise self.failure

    def _settle(self, settlement: Settlement) -> FenceReply | None:
        if settlement.lease.queue in self.down:
            return None
        verdict = self.replies.get(settlement.lease.task_id, FenceReply.DONE)
        if verdict is not None:
            self.settled.append(settlement)
        return verdict

    def _take(self, ask: Ask) -> Taken | None:
        if ask.queue in self.down or ask.queue in self.refuses:
            return None
        if ask.queue in self.paused:
            return Taken(paused=True, now_wall_s=self._clock.now_s)
        here = self.pending[ask.queue]
        if self.too_late:
            return Taken(too_late=True, now_wall_s=self._clock.now_s)
        if not (ask.arrived or ask.count):
            return Taken(pending=len(here))
        count = len(ask.arrived) or ask.count
        tasks = tuple(here.popleft() for _ in range(min(count, len(here))))
        broken, self.broken = tuple(self.broken), []
        strays, self.strays = self.strays, 0
        return Taken(tasks, broken, False, strays, self._clock.now_s)


class FakeRunner:
    """Keeps what it is given until the test answers."""

    def __init__(self) -> None:
        self.ready = True
        self.recovery = "idle"
        self.refuses = False
        self.requests: list[Request] = []
        self.cancelled: list[str] = []
        self._open: dict[str, tuple[Request, Deliver]] = {}

    @property
    def running(self) -> list[str]:
        return list(self._open)

    def submit(self, request: Request, deliver: Deliver) -> None:
        if self.refuses:
            raise ProcessNotReady("the test says so")
        self.requests.append(request)
        self._open[request.task_id] = (request, deliver)

    def answer(self, task_id: str, outcome: Outcome | None = None) -> None:
        request, deliver = self._open.pop(task_id)
        deliver(request, outcome or Succeeded(b'"ok"'))

    def cancel(self, task_id: str, reason: str) -> None:
        self.cancelled.append(task_id)

    def state(self) -> RunnerState:
        return RunnerState(self.recovery, self.ready, 0, 0, ())


class FakeWatch:
    """Waits as long as it is armed; ids arrive when the test appends them."""

    def __init__(self) -> None:
        self.armed = False
        self.failed = False
        self.ended = False
        self.arrived: deque[bytes] = deque()

    def arm(self) -> None:
        self.armed = True

    def disarm(self) -> None:
        self.armed = False

    def end(self) -> None:
        self.ended = True


class World:
    """One dispatcher of two queues, high before low unless they are ``equal``, and everything around it."""

    def __init__(
        self,
        *,
        concurrency: int = 1,
        requeue_degraded: bool = True,
        equal: bool = False,
        shared_process: bool = True,
    ) -> None:
        self.clock = FakeClock()
        self.broker = FakeBroker(self.clock)
        self.runner = FakeRunner()
        self.watches = {HIGH: FakeWatch(), LOW: FakeWatch()}
        self.wake = Event()
        sources = [Source(queue, watch) for queue, watch in self.watches.items()]  # type: ignore[arg-type]
        self.large = LargeOutcomes(
            self.broker,  # type: ignore[arg-type]
            POLICY,
            self.clock,
            self.wake.set,
        )
        self.intake = Intake(sources, strict({HIGH: 1 if equal else 2, LOW: 1}))
        self.dispatcher = Dispatcher(
            self.intake,
            self.broker,  # type: ignore[arg-type]
            self.runner,  # type: ignore[arg-type]
            Unsettled(POLICY, {HIGH: Tally(), LOW: Tally()}, self.clock, self.large),
            DispatchSettings("inference", concurrency, requeue_degraded, shared_process),
            clock=self.clock,
            rng=random.Random(1),
            wake=self.wake,
        )

    def tick(self, after_s: float = 0.0) -> float | None:
        """Let time pass, then tick once."""
        self.clock.now_s += after_s
        return self.dispatcher.tick()

    def settle_down(self) -> float | None:
        """Tick until there is nothing to do at once; returns what the last tick did."""
        for _ in range(100):
            if (delay_s := self.tick()) != 0:
                return delay_s
        raise AssertionError("it never comes to rest")

    def make_tasks_short(self) -> None:
        """Let it learn that runs and exchanges take very little, so that tasks are fetched ahead."""
        for _ in range(20):
            self.dispatcher.slots.ahead.pace.ran(0.0001)

    def asked(self, name: str) -> list[Any]:
        """What Redis has been asked of that kind since the last time this was called."""
        found = [what for kind, what in self.broker.calls if kind == name]
        self.broker.calls = [call for call in self.broker.calls if call[0] != name]
        return found
