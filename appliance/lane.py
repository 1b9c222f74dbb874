"""One parent queue's way from registration to running tasks: contract, code, process, loops.

A worker has one lane per parent queue. Lanes share nothing but the machine, so that trouble in
one stays there.
"""

import os
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import gevent
import structlog
from gevent.event import AsyncResult, Event

from appliance.clock import Clock
from appliance.config.settings import Settings
from appliance.control import changes
from appliance.control.contract import Mode, Registration, SubQueue
from appliance.deploy.deployment import Deployed, Deployer
from appliance.deploy.slots import Uses
from appliance.errors import RedeployRefused
from appliance.loops import ticker
from appliance.loops.canceller import Canceller
from appliance.loops.dispatch import Dispatcher
from appliance.loops.forwarder import Forwarder
from appliance.loops.intake import Source
from appliance.loops.janitor import Janitor
from appliance.loops.leases import Leases
from appliance.loops.order import STRATEGIES
from appliance.loops.recoverer import Recoverer
from appliance.loops.unsettled import Backlog
from appliance.loops.watch import Watch
from appliance.observe.dossier import dossier
from appliance.observe.outbound import Outbound
from appliance.observe.output import Output
from appliance.observe.pulse import Pulse, Pulses
from appliance.observe.redaction import Redactor
from appliance.observe.report import LaneReport, RedisReport
from appliance.observe.timeline import Timeline
from appliance.process.environ import build_argv, build_environment
from appliance.process.long_running import LongRunning
from appliance.process.one_shot import OneShot
from appliance.process.supervisor import CrashReport, Hooks, ProcessSpec
from appliance.process.work import Runner, RunnerState
from appliance.queue import keys
from appliance.queue.broker import Broker
from appliance.queue.connection import Line, Traffic
from appliance.queue.depths import DepthGauge
from appliance.queue.opening import open_line
from appliance.queue.settlement import Policy, Settlement
from appliance.queue.subscription import Subscription
from appliance.queue.waiter import Waiter

log = structlog.get_logger()

#: Failures in a row of a connection after which Redis counts as out of reach.
LOST_AFTER = 2
#: What a lane says of a process that it has not got yet.
NOT_STARTED = RunnerState("idle", ready=False, consecutive_fails=0, total_restarts=0, pids=())
#: Seconds to get the last outcomes into Redis when stopping.
FINAL_SETTLE_S = 5.0


@dataclass(frozen=True)
class Tools:
    """What every lane is handed by the worker."""

    settings: Settings
    clock: Clock
    rng: random.Random
    redactor: Redactor
    pulses: Pulses
    timeline: Timeline
    worker_id: str


@dataclass(frozen=True)
class Outlets:
    """Where a lane's lines and crash dossiers go: to its own Redis, which several lanes may share."""

    output: Output
    crashes: Outbound


class Lane:
    """See the module. The order of calls is :meth:`deploy`, :meth:`start`, :meth:`drain`, :meth:`stop`."""

    def __init__(
        self, registration: Registration, sub_queues: tuple[SubQueue, ...], tools: Tools, outlets: Outlets
    ) -> None:
        self.parent = registration.parent
        self.endpoint = registration.redis
        self.sub_queues = sub_queues
        self.deployed: Deployed | None = None
        self._registration = registration
        self._tools = tools
        self._outlets = outlets
        self._quiet = False
        self._stop = Event()
        self._greenlets: list[gevent.Greenlet[..., Any]] = []
        self._lines: list[Line] = []
        self._listening = Traffic()
        self._upkeep: Line | None = None
        self._leases: Leases | None = None
        self._depths: DepthGauge | None = None
        self._runner: Runner | None = None
        self._dispatcher: Dispatcher | None = None
        self._dispatching: gevent.Greenlet[..., Any] | None = None
        self._spec: ProcessSpec | None = None
        self._uses = Uses()
        self._preparing = False
        #: What the last redeployment came to; empty before the first.
        self.redeployed: dict[str, str | int] = {}

    def deploy(self, deployer: Deployer) -> None:
        """Put code and environment in place; raises :class:`~appliance.errors.DeploymentError`."""
        self.deployed = self._deploy(deployer, self._registration, may_stay=True)

    def _deploy(self, deployer: Deployer, registration: Registration, *, may_stay: bool) -> Deployed:
        spec, token = registration.deployment, registration.git_token
        return deployer.deploy(self.parent, spec, token, self._uses, may_stay=may_stay)

    def redeploy(
        self, registration: Registration, sub_queues: tuple[SubQueue, ...], deployer: Deployer
    ) -> None:
        """Bring code, environment and contract up to date beside what runs, and swap; returns when it has.

        Raises :class:`~appliance.errors.ApplianceError` where what runs is kept.
        """
        runner, before = self._runner, self._registration
        assert runner is not None  # noqa: S101  start comes before redeploy
        if reason := changes.refusal(before, registration):
            raise RedeployRefused(reason)
        for problem in changes.left_for_restart(before, self.sub_queues, registration, sub_queues):
            log.warning("redeploy.needs_restart", queue=self.parent, problem=problem)
        self._preparing = True
        try:
            deployed = self._deploy(deployer, registration, may_stay=False)
            spec = self._process_spec(registration, deployed)
            if self._is_what_runs(deployed, spec):
                self._tell_redeployed("unchanged", deployed.commit, "")
                return
            swapped: AsyncResult[str | None] = AsyncResult()
            runner.succeed(spec, swapped.set)
            if reason := swapped.get():
                raise RedeployRefused(f"commit {deployed.commit}: {reason}")
            was, self.deployed = self.commit, deployed
            self._registration = replace(registration, redis=before.redis)
            self._spec = spec
            self._tell_redeployed("done", deployed.commit, f"was {was}")
        finally:
            self._preparing = False
            self._release_unused()

    def keep(self, reason: str) -> None:
        """Say that what runs is kept, and why."""
        self._tell_redeployed("refused", self.commit, reason)

    def _tell_redeployed(self, outcome: str, commit: str, reason: str) -> None:
        reason = self._tools.redactor.text(reason)
        self.redeployed = {
            "at": int(self._tools.clock.wall()),
            "outcome": outcome,
            "commit": commit,
            "reason": reason,
        }
        tell = log.error if outcome == "refused" else log.info
        tell(f"redeploy.{outcome}", queue=self.parent, running=commit, reason=reason)

    def _is_what_runs(self, deployed: Deployed, spec: ProcessSpec) -> bool:
        now = self.deployed
        same_code = now is not None and (now.commit, now.environment) == (
            deployed.commit,
            deployed.environment,
        )
        # The same commit in another folder has other paths, and is the same all the same.
        return same_code and _without_place(self._spec, now) == _without_place(spec, deployed)

    def _release_unused(self) -> None:
        """Let others change the folders that none of our processes runs from any more."""
        if self._runner is not None and not self._preparing:
            self._uses.keep_only(self._runner.folders())

    def start(self, changed: Callable[[], None]) -> None:
        """Start the process and the loops; ``changed`` is called when the runner's state did."""
        wake = Event()

        def on_change() -> None:
            wake.set()
            self._note()
            self._release_unused()
            changed()

        self._runner = self._make_runner(on_change)
        self._dispatcher = self._make_dispatcher(self._runner, wake)
        self._dispatcher.quiet(on=self._quiet)
        self._runner.start()

    def _note(self) -> None:
        if self._runner is not None:
            state = self._runner.state()
            what = "ready" if state.ready else "not_ready" if state.recovery == "idle" else state.recovery
            self._tools.timeline.state(self.parent, what)

    def quiet(self, *, on: bool) -> None:
        """Take nothing new for the time being, or take again; before the start, it starts so."""
        self._quiet = on
        if self._dispatcher is not None:
            self._dispatcher.quiet(on=on)

    def describe(self) -> dict[str, Any]:
        """A snapshot for people."""
        state = self._runner.state() if self._runner else None
        return {
            "queue": self.parent,
            "sub_queues": {sub.name: sub.priority for sub in self.sub_queues},
            "commit": self.deployed.commit if self.deployed else None,
            "redeployed": self.redeployed,
            "process": asdict(state) if state else "not started",
            "tasks": self._dispatcher.describe() if self._dispatcher else "not started",
            "loops": {loop.name: "ended" if loop.dead else "running" for loop in self._greenlets},
        }

    @property
    def commit(self) -> str:
        """The commit that runs; empty before it is deployed."""
        return self.deployed.commit if self.deployed else ""

    @property
    def runner(self) -> Runner | None:
        """The runner, once started."""
        return self._runner

    @property
    def in_flight(self) -> int:
        """How many tasks its process has."""
        return self._dispatcher.in_flight if self._dispatcher else 0

    @property
    def ready(self) -> bool:
        """Whether its process takes tasks."""
        return self._runner is not None and self._runner.ready

    @property
    def degraded(self) -> bool:
        """Whether its process crashed too often to be started again."""
        return self._runner is not None and self._runner.state().recovery == "degraded"

    @property
    def healthy(self) -> bool:
        """Whether its process works, or will as soon as it has started, and Redis does what it is asked."""
        process_works = self._runner is None or self._runner.state().recovery == "idle"
        redis_works = self._dispatcher is None or not self._dispatcher.in_trouble
        return process_works and redis_works

    def report(self) -> LaneReport:
        """The lane now, for those who watch."""
        state = self._runner.state() if self._runner else NOT_STARTED
        traffic = [self._listening, *(line.traffic for line in self._lines)]
        report = LaneReport(
            parent=self.parent,
            commit=self.deployed.commit if self.deployed else None,
            ready=state.ready,
            recovery=state.recovery,
            redis=RedisReport(
                address=f"{self.endpoint.host}:{self.endpoint.port}",
                reachable=self._redis_reachable(),
                connects=sum(one.connects for one in traffic),
                errors=sum(one.errors for one in traffic),
            ),
            mode=self._registration.deployment.mode.value,
            consecutive_fails=state.consecutive_fails,
            total_restarts=state.total_restarts,
            pids=state.pids,
            leases_lost=self._leases.lost_total if self._leases else 0,
            queues={sub_queue.name: sub_queue.priority for sub_queue in self.sub_queues},
        )
        dispatcher = self._dispatcher
        if dispatcher is None:
            return report
        backlog = dispatcher.backlog
        return replace(
            report,
            slots=dispatcher.slots,
            in_use=dispatcher.in_flight,
            fetched_ahead=dispatcher.fetched_ahead,
            unsettled=backlog.outcomes,
            unsettled_oldest_s=backlog.oldest_s,
            tasks=dispatcher.running(),
            tallies=dispatcher.tallies,
            depths=self._depths.depths if self._depths else {},
        )

    def refresh(self) -> None:
        """Learn how many tasks are where; Redis is asked, at most every other second."""
        if self._depths is not None:
            self._depths.refresh()

    def _redis_reachable(self) -> bool:
        # The dispatcher of a worker that takes nothing does not notice; upkeep speaks up every second.
        upkeep_lost = self._upkeep is not None and self._upkeep.traffic.losses_in_a_row >= LOST_AFTER
        return not upkeep_lost and not (self._dispatcher and self._dispatcher.in_trouble)

    @property
    def backlog(self) -> Backlog:
        """Outcomes its Redis has not accepted yet."""
        return self._dispatcher.backlog if self._dispatcher else Backlog(0, 0.0)

    def outcomes(self) -> list[Settlement]:
        """The same, as they are to be settled."""
        return self._dispatcher.outcomes() if self._dispatcher else []

    def deliverer(self) -> Broker:
        """A broker on a connection of its own, to settle in the name of workers that are no more."""
        # Not among our lines: seldom used, it may not have heard yet that Redis is back.
        return self._broker(open_line(self.endpoint, self._name("outbox")))

    def drain(self, hurry: Event) -> None:
        """Take nothing more and wait, at most ``shutdown_timeout``, for the tasks under way.

        ``hurry`` ends the waiting early.
        """
        if self._dispatcher is None or self._dispatching is None or self._dispatching.dead:
            return
        self._dispatcher.close_intake()
        deadline_s = self._tools.clock.monotonic() + self._tools.settings.worker.shutdown_timeout_s
        while not hurry.is_set() and self._dispatcher.in_flight:
            left_s = deadline_s - self._tools.clock.monotonic()
            if left_s <= 0:
                log.warning("lane.drain_timeout", queue=self.parent, tasks=self._dispatcher.in_flight)
                return
            self._dispatcher.wait_idle(min(left_s, 0.1))

    def stop(self) -> None:
        """End the process, give back what it had, and end the loops. Idempotent."""
        if self._runner is not None:
            self._runner.stop(self._tools.settings.process.stop_grace_s)
        if self._dispatcher is not None:
            self._dispatcher.finish(0 if self._dispatching and self._dispatching.dead else FINAL_SETTLE_S)
        self._stop.set()
        # What matters has been settled; a loop that waits for Redis to speak would wait on.
        gevent.killall(self._greenlets, timeout=1.0)
        for line in self._lines:
            line.close()

    def _process_spec(self, registration: Registration, deployed: Deployed) -> ProcessSpec:
        spec, settings = registration.deployment, self._tools.settings
        env, warnings = build_environment(
            os.environ, deployed.venv_dir, registration.vaults, allow_unsafe=settings.vaults.allow_unsafe
        )
        for warning in warnings:
            log.warning("vault.refused", queue=self.parent, reason=warning)
        return ProcessSpec(
            argv=build_argv(spec.startup_cmd, deployed.python),
            cwd=deployed.code_dir,
            env=env,
            startup_timeout_s=spec.startup_timeout_s,
            stop_grace_s=settings.process.stop_grace_s,
            commit=deployed.commit,
        )

    def _make_runner(self, on_change: Callable[[], None]) -> Runner:
        spec, settings = self._registration.deployment, self._tools.settings
        assert self.deployed is not None  # noqa: S101  deploy comes before start
        process = self._spec = self._process_spec(self._registration, self.deployed)
        hooks = Hooks(
            on_change=on_change,
            on_output=lambda source, text: self._outlets.output.add(self.parent, source, text),
            on_crash=self._report_crash,
            redact=self._tools.redactor.text,
        )
        if spec.mode is Mode.ONE_SHOT:
            return OneShot(self.parent, process, settings.recovery, self._tools.clock, hooks)
        return LongRunning(
            self.parent, process, settings.recovery, self._tools.clock, hooks, limits=settings.process
        )

    def _report_crash(self, crash: CrashReport) -> None:
        log.error(
            "child.crashed",
            queue=self.parent,
            exit=crash.exit,
            uptime_s=round(crash.uptime_s, 3),
            tasks=list(crash.task_ids),
            stderr=list(crash.stderr_tail[-3:]),
        )
        self._tools.timeline.crash(self.parent, crash.exit)
        record = dossier(
            queue=self.parent,
            commit=crash.commit,
            when_wall_s=crash.when_wall_s,
            exit_text=crash.exit,
            uptime_s=crash.uptime_s,
            was_ready=crash.was_ready,
            task_ids=crash.task_ids,
            stderr=crash.stderr_tail,
            memory_peak_bytes=crash.memory_peak_bytes,
            redact=self._tools.redactor.text,
        )
        self._outlets.crashes.add(record)

    def _make_dispatcher(self, runner: Runner, wake: Event) -> Dispatcher:
        tools, settings = self._tools, self._tools.settings
        policy = Policy(settings.retry, settings.tasks)
        names = [sub_queue.name for sub_queue in self.sub_queues]
        upkeep = self._upkeep = self._line("upkeep")
        self._depths = DepthGauge(self._line("status"), names, tools.clock)
        brokers = [self._broker(line) for line in (self._line("dispatch"), upkeep)]
        sources = [Source(name, Watch(name, self._waiter(name, upkeep), wake.set)) for name in names]
        strategy = STRATEGIES[settings.worker.queue_strategy]
        order = strategy({sub_queue.name: sub_queue.priority for sub_queue in self.sub_queues})
        dispatcher = Dispatcher(
            sources,
            order,
            brokers[0],
            runner,
            policy,
            concurrency=settings.worker.concurrency,
            lease_s=settings.worker.lease_duration_s,
            clock=tools.clock,
            rng=tools.rng,
            wake=wake,
            requeue_degraded=settings.recovery.degraded_policy == "requeue",
        )
        leases = self._leases = Leases(brokers[1], dispatcher.held, settings.worker.lease_duration_s)
        recoverer = Recoverer(brokers[1], policy, tools.clock, dispatcher.held)
        janitor = Janitor(brokers[1], tools.clock)
        # Of a cluster's queues each is looked after by itself: the node of one may be away.
        groups = [[name] for name in names] if self.endpoint.settings.cluster else [names]
        forwarders = [Forwarder(group, brokers[1], recoverer, janitor, tools.clock) for group in groups]
        subscription = Subscription(self.endpoint, keys.CANCEL, self._name("cancel"), self._listening)
        canceller = Canceller(subscription, dispatcher.cancel)
        self._dispatching = self._spawn("dispatcher", dispatcher.run)
        for source in sources:
            self._spawn(f"watch {source.queue}", source.watch.run)
        for name, tick in (
            ("leases", leases.tick),
            *(("forwarder", forwarder.tick) for forwarder in forwarders),
            ("canceller", canceller.tick),
        ):
            self._spawn(name, partial(ticker.run, tick=tick, stop=self._stop))
        return dispatcher

    def _waiter(self, queue: str, control: Line) -> Waiter:
        return Waiter(self.endpoint, queue, self._name("watch"), control, self._listening)

    def _spawn(self, name: str, loop: Callable[[Pulse], None]) -> "gevent.Greenlet[..., Any]":
        greenlet = gevent.spawn(loop, self._tools.pulses.new(f"{name} ({self.parent})"))
        greenlet.name = name  # for the state that SIGUSR1 logs
        self._greenlets.append(greenlet)
        return greenlet

    def _broker(self, line: Line) -> Broker:
        return Broker(
            line,
            self._tools.worker_id,
            self._tools.settings.worker.lease_duration_s,
            keep_results=self._registration.deployment.redis_storage,
        )

    def _line(self, purpose: str) -> Line:
        line = open_line(self.endpoint, self._name(purpose))
        self._lines.append(line)
        return line

    def _name(self, purpose: str) -> str:
        return f"runqy-appliance:{self._tools.worker_id}:{purpose}"


def _without_place(spec: ProcessSpec | None, deployed: Deployed | None) -> tuple[Any, ...]:
    """What a process is started with, whichever slot its code is in."""
    if spec is None or deployed is None:
        return ()

    def unplaced(text: str) -> str:
        if deployed.venv_dir is not None:
            text = text.replace(str(deployed.venv_dir), "{venv}")
        return text.replace(str(deployed.code_dir), "{code}")

    env = {name: unplaced(value) for name, value in spec.env.items()}
    return tuple(map(unplaced, spec.argv)), env, spec.startup_timeout_s
