"""One worker, from settings to exit status. The order of start and stop is written here and only here.

Start: register every parent queue · reach Redis · heartbeat (bootstrapping) · deliver what is left in the
state folder · deploy · start the processes and loops · heartbeat (running).
Stop, at any moment of that: take nothing new · let running tasks finish within ``shutdown_timeout`` · stop
the processes · return what did not finish · keep what Redis did not take · leave the set of workers.
"""

import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import gevent
import structlog

from appliance.assembly import assemble, running
from appliance.contracts import Contract, Contracts
from appliance.deploy.deployment import Deployer
from appliance.deploy.slots import Uses
from appliance.errors import (
    ProcessDegraded,
)
from appliance.event import Event
from appliance.isolation.start import confine_tool, insist
from appliance.lane import Lane, deploying
from appliance.observe.answer import answer
from appliance.observe.endpoints import Endpoints, Sources
from appliance.observe.recent import Recent
from appliance.observe.startup import Startup, age_of_process_s
from appliance.presence import Presence
from appliance.redeploy import Redeployer
from appliance.relocation import Relocation
from appliance.safekeeping import Safekeeping
from appliance.snapshot import Status, WorkerSnapshot
from appliance.tools import Tools

log = structlog.get_logger()


@dataclass
class _Asked:
    """What was asked of the worker by signals, or by its own failure: that is a ``stop``."""

    stop: Event = field(default_factory=Event)
    hurry: Event = field(default_factory=Event)
    redeploy: Event = field(default_factory=Event)
    quiet: bool = False


class Worker:
    """See the module."""

    def __init__(self, tools: Tools, recent: Recent) -> None:
        settings = tools.settings
        self._tools = tools
        self._asked = _Asked()
        self._status = Status.BOOTSTRAPPING
        self._failure: BaseException | None = None
        #: Empty until every parent queue is registered.
        self._contracts: tuple[Contract, ...] = ()
        #: Those that are at work, by parent queue.
        self._lanes: dict[str, Lane] = {}
        self._startup = Startup(tools.clock)
        self._presence = Presence(tools, self.snapshot)
        folder = settings.worker.state_dir
        self._safekeeping = Safekeeping(folder, self._lanes.values, tools) if folder else None
        moved = self._safekeeping.moved if self._safekeeping else lambda _: None
        self._relocation = Relocation(self._lanes.values, Contracts(tools).ask, moved, tools)
        sources = Sources(
            snapshot=self.snapshot,
            refresh=lambda: self._each_lane(Lane.refresh),
            moments=tools.timeline.moments,
            lines=recent.lines,
            redact=tools.redactor.text,
        )
        self._endpoints = Endpoints(settings.http.addr, sources, tools.clock) if settings.http.addr else None

    # What signals ask ----------------------------------------------------------------------------

    def ask_to_stop(self, number: signal.Signals) -> None:
        """Stop soon (first call) or sooner (second); called for a signal."""
        log.info("worker.stopping", signal=number.name, hurry=self._asked.stop.is_set())
        if self._asked.stop.is_set():
            self._asked.hurry.set()
        self._asked.stop.set()

    def quiet(self, *, on: bool) -> None:
        """Take nothing new until told otherwise; during bootstrap, from its end on."""
        if on is self._asked.quiet or self._asked.stop.is_set():
            return
        self._asked.quiet = on
        for lane in self._lanes.values():
            lane.quiet(on=on)
        if on:
            log.info("worker.quiet", running=sum(lane.in_flight for lane in self._lanes.values()))
        else:
            log.info("worker.resumed")

    def redeploy(self) -> None:
        """Redeploy beside what runs; during bootstrap, after its end."""
        if not self._asked.stop.is_set():
            log.info("worker.redeploying", parents=[contract.parent for contract in self._contracts])
            self._asked.redeploy.set()
            self._relocation.hurry()

    def log_state(self) -> None:
        """Log all there is to know: what is held, then where every greenlet stands."""
        answer(self.snapshot(), self._tools.redactor.text)

    # Start and stop ------------------------------------------------------------------------------

    def run(self) -> BaseException | None:
        """Start, serve, stop; returns what made it stop, None where it was asked to."""
        log.info(
            "worker.starting",
            version=self._tools.identity.version,
            queues=list(self._tools.settings.worker.queues),
            python=self._tools.identity.python,
        )
        gevent.get_hub().handle_error = self._unhandled  # type: ignore[method-assign, assignment]
        bootstrap = gevent.spawn(self._bootstrap)
        self._asked.stop.wait()
        # Ends whatever bootstrap is doing, a git clone or a wait; later, a redeployment under way.
        bootstrap.kill()
        self._shut_down()
        return self._failure

    def _bootstrap(self) -> None:
        if self._endpoints:
            self._endpoints.start()
        insist(self._tools.isolation)
        self._startup.add("import", age_of_process_s())
        contracts = Contracts(self._tools)
        with self._startup.phase("register"):
            self._contracts = contracts.ask_all()
        with self._startup.phase("redis"):
            self._presence.reach(contract.redis for contract in self._contracts)
        self._presence.begin()
        if self._safekeeping:
            self._safekeeping.begin(self._contracts)
        deployer = self._deployer()
        jobs = [gevent.spawn(self._start_lane, contract, deployer) for contract in self._contracts]
        try:
            gevent.joinall(jobs, raise_error=True)
        finally:
            gevent.killall(jobs)
        self._status = Status.RUNNING
        if self._endpoints:
            # Now, while the task processes start, rather than at the first scrape in the middle of the work.
            self._endpoints.prepare()
        log.info("worker.running", queues=[queue for one in self._contracts for queue in one.priorities])
        following = gevent.spawn(self._relocation.run)
        try:
            Redeployer(self._lanes.values, contracts.ask, deployer, self._tools).run(self._asked.redeploy)
        finally:
            following.kill()

    def _deployer(self) -> Deployer:
        settings, tools = self._tools.settings, self._tools
        confine = partial(confine_tool, settings, tools.confinement)
        return Deployer(
            settings.deployment, settings.bootstrap, settings.git, tools.clock, tools.redactor.text, confine
        )

    def _start_lane(self, contract: Contract, deployer: Deployer) -> None:
        spec, token, uses = contract.registration.deployment, contract.registration.git_token, Uses()
        with self._startup.phase("deploy"):
            deployed = deployer.deploy(contract.parent, spec, token, uses, may_stay=True)
        what, outlets = running(contract, deployed, self._tools), self._presence.outlets(contract.redis)
        lane = self._lanes[contract.parent] = assemble(what, uses, self._tools, outlets, self._changed)
        lane.quiet(on=self._asked.quiet)
        lane.start()

    def _shut_down(self) -> None:
        # Each of these, the last one first, whatever those before it have met.
        with ExitStack() as steps:
            if self._endpoints:
                steps.callback(self._endpoints.stop)
            steps.callback(self._presence.leave)
            steps.callback(setattr, self, "_status", Status.STOPPED)
            if self._safekeeping:
                steps.callback(self._safekeeping.finish)
            steps.callback(self._each_lane, Lane.stop)
            self._each_lane(lambda lane: lane.drain(self._asked.hurry))

    # While it runs -------------------------------------------------------------------------------

    def snapshot(self) -> WorkerSnapshot:
        """The worker at this moment."""
        return WorkerSnapshot(
            identity=self._tools.identity,
            status=self._status,
            quiet=self._asked.quiet,
            stopping=self._asked.stop.is_set(),
            parents=tuple(
                self._lanes[one.parent].snapshot()
                if one.parent in self._lanes
                else deploying(one, redis_reached="redis" in self._startup.phases)
                for one in self._contracts
            ),
            stuck=tuple(self._tools.pulses.problems()),
            now_wall_s=self._tools.clock.wall(),
            startup=self._startup.phases,
            started=self._startup.total_s is not None,
            outbox_bytes=self._safekeeping.size_bytes if self._safekeeping else 0,
            isolation=self._tools.isolation,
            log_lines_lost=self._tools.log_lost(),
        )

    def _changed(self) -> None:
        """A task process became ready, or is not any more."""
        parents = self.snapshot().parents
        policy = self._tools.settings.recovery.degraded_policy
        if policy == "exit" and all(parent.recovery == "degraded" for parent in parents):
            self._fail(ProcessDegraded("no task process is left to run tasks"))
        first = self._startup.total_s is None and not self._asked.stop.is_set()
        if first and all(parent.ready for parent in parents):
            self._startup.done()
            log.info("worker.ready", seconds=self._startup.total_s, **self._startup.phases)

    def _each_lane(self, do: Callable[[Lane], None]) -> None:
        doing = [gevent.spawn(do, lane) for lane in self._lanes.values()]
        gevent.joinall(doing)
        # Now: one that fails is not to end the others where they are.
        gevent.joinall(doing, raise_error=True)

    def _fail(self, why: BaseException) -> None:
        self._failure = self._failure or why
        self._asked.stop.set()

    def _unhandled(
        self, context: object, kind: type[BaseException], value: BaseException | None, _traceback: object
    ) -> None:
        """Stop because of what ended a greenlet and was not caught: a worker that lacks one is no worker.

        gevent's hub calls this (``Hub.handle_error``) with the greenlet as ``context``. Of a thread's
        error, too, with the thread's function: that one is raised where its result is waited for.
        """
        if not isinstance(context, tuple) and not issubclass(kind, gevent.GreenletExit):
            self._fail(value or kind())
