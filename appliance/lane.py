"""One parent queue at work: its process, its slots, its loops. It starts, drains, and stops.

A worker has one lane per parent queue. Lanes share nothing but the machine, so that what goes wrong in
one stays there. :mod:`~appliance.assembly` makes them, once the code is in place.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import gevent
import structlog
from gevent.event import AsyncResult

from appliance.contracts import Contract
from appliance.deploy.deployment import Deployed
from appliance.deploy.slots import Uses
from appliance.dispatch.dispatcher import Dispatcher
from appliance.dispatch.progress import Progress
from appliance.event import Event
from appliance.loops.leases import Leases
from appliance.observe.pulse import Pulse
from appliance.process.progress import Report
from appliance.process.runner import Runner
from appliance.process.spec import ProcessSpec
from appliance.queue.connections import Connections
from appliance.queue.depths import DepthGauge
from appliance.queue.place import RedisPlace
from appliance.queue.settlement import Settlement
from appliance.snapshot import ParentSnapshot, RedisSnapshot
from appliance.tools import Tools
from appliance.values import value_class

log = structlog.get_logger()

#: The loop without which nothing can be settled, and the connection that upkeep uses every second.
DISPATCHER, UPKEEP = "dispatcher", "upkeep"
#: Seconds to get the last outcomes into Redis when stopping.
FINAL_SETTLE_S = 5.0
#: Longest time in seconds until a drain notices that it should hurry.
_DRAIN_STEP_S = 0.1
#: Seconds for the loops to end.
_LOOPS_END_S = 1.0


@value_class
class Running:
    """What a lane runs: the code, by which contract, and the process made of both."""

    contract: Contract
    deployed: Deployed
    process: ProcessSpec


@value_class
class Loop:
    """One of a lane's loops; ``run`` returns when the loop is told to end."""

    name: str
    run: Callable[[Pulse], None]


@value_class
class Parts:
    """What a lane is made of. ``stop`` ends those of the loops that only tick."""

    runner: Runner
    dispatcher: Dispatcher
    leases: Leases
    progress: Progress
    depths: DepthGauge
    connections: Connections
    uses: Uses
    loops: tuple[Loop, ...]
    stop: Event


class Lane:
    """See the module. ``running`` changes with a redeployment, nothing else does."""

    def __init__(self, running: Running, parts: Parts, tools: Tools) -> None:
        self.parent = running.contract.parent
        self.running = running
        #: The last redeployment; empty before the first.
        self.redeployed: dict[str, str | int] = {}
        self._parts = parts
        self._runner = parts.runner
        self._dispatcher = parts.dispatcher
        self._tools = tools
        self._greenlets: list[gevent.Greenlet[..., None]] = []
        self._preparing = False

    # Its life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the loops and the process; returns at once."""
        for loop in self._parts.loops:
            greenlet = gevent.spawn(loop.run, self._tools.pulses.new(f"{loop.name} ({self.parent})"))
            greenlet.name = loop.name  # for the stacks that SIGUSR1 logs
            self._greenlets.append(greenlet)
        self._runner.start()

    def quiet(self, *, on: bool) -> None:
        """Take nothing new for the time being, or take again."""
        self._dispatcher.quiet(on=on)

    def drain(self, hurry: Event) -> None:
        """Take nothing more and wait, at most ``shutdown_timeout``, for tasks and large outcomes under way.

        ``hurry`` ends the waiting early.
        """
        if not self._dispatching:
            return
        self._dispatcher.close_intake()
        clock = self._tools.clock
        deadline_s = clock.monotonic() + self._tools.settings.worker.shutdown_timeout_s
        while not hurry.is_set() and (self.in_flight or self._dispatcher.sending):
            left_s = deadline_s - clock.monotonic()
            if left_s <= 0:
                log.warning("drain.timed_out", parent=self.parent, tasks=self.in_flight)
                return
            if self.in_flight:
                self._dispatcher.slots.wait_idle(min(left_s, _DRAIN_STEP_S))
            else:
                clock.sleep(min(left_s, _DRAIN_STEP_S))

    def stop(self) -> None:
        """End the process, return what it had, and end the loops. Idempotent."""
        with ExitStack() as steps:
            steps.callback(self._end_loops)
            steps.callback(lambda: self._dispatcher.finish(FINAL_SETTLE_S if self._dispatching else 0))
            self._runner.stop(self._tools.settings.process.stop_grace_s)

    def _end_loops(self) -> None:
        self._parts.stop.set()
        # What matters has been settled; a loop that waits for Redis to speak would wait on.
        gevent.killall(self._greenlets, block=False)
        ended = gevent.joinall(self._greenlets, timeout=_LOOPS_END_S)
        # On a busy machine one may need longer: the end of the process will do, for connections too.
        if len(ended) == len(self._greenlets):
            self._parts.connections.close()

    @property
    def _dispatching(self) -> bool:
        return any(greenlet.name == DISPATCHER and not greenlet.dead for greenlet in self._greenlets)

    # Redeployment --------------------------------------------------------------------------------

    @contextmanager
    def preparing(self) -> Iterator[Uses]:
        """Inside, folders that no process runs from yet stay reserved; what is yielded takes them."""
        self._preparing = True
        try:
            yield self._parts.uses
        finally:
            self._preparing = False
            self._release_unused()

    def hand_over(self, running: Running) -> str | None:
        """Let a process of ``running`` take over when it works; returns when it has, or why it has not."""
        answer: AsyncResult[str | None] = AsyncResult()
        self._runner.hand_over(running.process, answer.set)
        reason = answer.get()
        if reason is None:
            self.running = running
        return reason

    def _release_unused(self) -> None:
        """Let other workers change the folders that no process of this lane runs from any more."""
        if not self._preparing:
            self._parts.uses.keep_only(self._runner.folders())

    # What it says of itself ----------------------------------------------------------------------

    def changed(self) -> None:
        """The runner's state has changed."""
        state = self._runner.state()
        what = "ready" if state.ready else "not_ready" if state.recovery == "idle" else state.recovery
        self._tools.timeline.state(self.parent, what)
        self._release_unused()

    def progressed(self, task_id: str, report: Report) -> None:
        """A task that its process runs has said how far it is."""
        self._parts.progress.note(task_id, report)

    @property
    def in_flight(self) -> int:
        """How many tasks its process has."""
        return self._dispatcher.slots.in_use

    @property
    def redis(self) -> str:
        """The identity of its Redis, as outcomes on disk have it."""
        return self.place.endpoint.identity

    @property
    def place(self) -> RedisPlace:
        """Where its Redis is."""
        return self._parts.connections.place

    @property
    def redis_available(self) -> bool:
        """Whether its Redis answers."""
        # The dispatcher of a worker that takes nothing does not notice; upkeep asks every second.
        return not (self._dispatcher.redis_failing or self._parts.connections.lost(UPKEEP))

    @property
    def redis_refused(self) -> bool:
        """Whether its Redis does not accept the password that the server gave us."""
        return self._parts.connections.refused

    def outcomes(self) -> list[Settlement]:
        """Outcomes its Redis has not accepted yet, as they are to be settled."""
        return self._dispatcher.outcomes()

    def refresh(self) -> None:
        """Learn how many tasks are where; Redis is asked, at most every other second."""
        self._parts.depths.refresh()

    def snapshot(self) -> ParentSnapshot:
        """The parent queue at this moment."""
        running, state, slots = self.running, self._runner.state(), self._dispatcher.slots
        backlog = self._dispatcher.backlog
        return ParentSnapshot(
            name=self.parent,
            commit=running.deployed.commit,
            ready=state.ready,
            recovery=state.recovery,
            redis=self._redis(),
            notes=running.deployed.notes,
            repository_answers=not running.deployed.repository_problem,
            redeployed=self.redeployed,
            mode=running.contract.registration.deployment.mode.value,
            consecutive_fails=state.consecutive_fails,
            total_restarts=state.total_restarts,
            pids=state.pids,
            slots=slots.total,
            in_use=slots.in_use,
            fetched_ahead=slots.fetched_ahead,
            unsettled=backlog.outcomes,
            unsettled_oldest_s=backlog.oldest_s,
            leases_lost=self._parts.leases.lost_total,
            tasks=slots.report(),
            queues=running.contract.priorities,
            depths=self._parts.depths.depths,
            tallies=self._dispatcher.tallies,
            dispatch=self._dispatcher.describe(),
            loops={one.name: "ended" if one.dead else "running" for one in self._greenlets},
        )

    def _redis(self) -> RedisSnapshot:
        connections = self._parts.connections
        return RedisSnapshot(
            address=self.place.endpoint.address,
            available=self.redis_available,
            problem=connections.problem,
            connects=connections.connects,
            errors=connections.errors,
        )


def deploying(contract: Contract, *, redis_reached: bool) -> ParentSnapshot:
    """A parent queue that has no lane yet; ``redis_reached`` is whether its Redis has answered once."""
    problem = "" if redis_reached else f"{contract.address} has not answered yet"
    return ParentSnapshot(
        name=contract.parent,
        commit=None,
        ready=False,
        recovery="idle",
        redis=RedisSnapshot(contract.address, available=redis_reached, problem=problem),
        mode=contract.registration.deployment.mode.value,
        queues=contract.priorities,
    )
