"""One worker, from settings to exit status. The order of start and stop is written here and only here.

Start: register every parent queue · reach Redis · heartbeat (bootstrapping) · deploy · start the
processes and loops · heartbeat (running).
Stop, at any moment of that: take nothing new · let running tasks finish within
``shutdown_timeout`` · stop the processes · give back what did not finish · last heartbeat.
"""

import os
import platform
import random
import re
import signal
import socket
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version

import gevent
import gevent.pool
import structlog
from gevent.event import Event

from appliance.clock import Clock, SystemClock
from appliance.config.settings import Settings
from appliance.control.contract import RedisEndpoint
from appliance.control.registration import Registrar
from appliance.control.selection import plan_queues, select
from appliance.deploy.deployment import Deployer
from appliance.errors import (
    ApplianceError,
    DeploymentError,
    ProcessDegraded,
    ProcessError,
    QueueError,
    RegistrationError,
    StartupError,
)
from appliance.exits import Exit
from appliance.face import Face, Sources
from appliance.lane import Lane, Outlets, Tools
from appliance.loops import ticker
from appliance.loops.heartbeat import Heartbeat, Identity, Status, Vitals
from appliance.loops.keeper import Keeper
from appliance.loops.redelivery import Redelivery
from appliance.observe import log as logging
from appliance.observe.dossier import DOSSIER_TTL_S, KEPT_DOSSIERS
from appliance.observe.outbound import Outbound
from appliance.observe.output import KEPT_LINES, LOGS_TTL_S, Output
from appliance.observe.pulse import Pulses
from appliance.observe.recent import Recent
from appliance.observe.redaction import Redactor
from appliance.observe.report import WorkerReport
from appliance.observe.stacks import stack_lines
from appliance.observe.startup import Startup, age_of_process_s
from appliance.observe.system import SystemMetrics
from appliance.observe.timeline import Timeline
from appliance.queue import keys
from appliance.queue.opening import open_line
from appliance.queue.outbox import Outbox
from appliance.queue.settlement import Settlement
from appliance.redeploy import Contract, Redeployer
from appliance.signals import Signals

log = structlog.get_logger()

#: Seconds for the last heartbeat; a Redis that hangs must not hold up the end.
GOODBYE_S = 2.0
#: Seconds to get outcomes that Redis did not take onto the disk; it may be as sick.
LAST_KEEP_S = 2.0

_EXITS: Sequence[tuple[type[ApplianceError], Exit]] = (
    (RegistrationError, Exit.REGISTRATION),
    (DeploymentError, Exit.DEPLOYMENT),
    (StartupError, Exit.STARTUP),
    (ProcessDegraded, Exit.DEGRADED),
    (ProcessError, Exit.STARTUP),
)


def run(settings: Settings, warnings: Sequence[str] = ()) -> int:
    """Run a worker until it is told to stop; returns the exit status (:class:`~appliance.exits.Exit`).

    ``warnings`` are the configuration's, logged first. What signals do is in :mod:`appliance.signals`.
    """
    redactor = Redactor()
    redactor.add(settings.server.api_key, settings.git.token, settings.redis.sentinel_password)
    recent = Recent()
    logging.configure(settings.log, redactor, recent=recent)
    for warning in warnings:
        log.warning("config.warning", problem=warning)
    worker = Worker(settings, SystemClock(), random.Random(), redactor, recent)  # noqa: S311  jitter, not secrets
    Signals(
        {
            signal.SIGTERM: partial(worker.ask_to_stop, signal.SIGTERM),
            signal.SIGINT: partial(worker.ask_to_stop, signal.SIGINT),
            signal.SIGTSTP: partial(worker.quiet, on=True),
            signal.SIGCONT: partial(worker.quiet, on=False),
            signal.SIGHUP: worker.redeploy,
            signal.SIGUSR1: worker.log_state,
        }
    ).listen()
    return worker.run()


class Worker:
    """See the module."""

    def __init__(
        self, settings: Settings, clock: Clock, rng: random.Random, redactor: Redactor, recent: Recent
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._redactor = redactor
        worker_id = _worker_id(rng)
        self._pulses = Pulses(clock)
        self._timeline = Timeline(clock)
        self._tools = Tools(
            settings=settings,
            clock=clock,
            rng=rng,
            redactor=redactor,
            pulses=self._pulses,
            timeline=self._timeline,
            worker_id=worker_id,
        )
        self._identity = Identity(
            worker_id=worker_id,
            started_at_wall_s=clock.wall(),
            concurrency=settings.worker.concurrency,
            instance_id=settings.worker.instance_id,
        )
        self._status = Status.BOOTSTRAPPING
        self._lanes: list[Lane] = []
        self._registered = False
        self._startup = Startup(clock)
        self._outlets: dict[RedisEndpoint, Outlets] = {}
        self._heartbeats: list[Heartbeat] = []
        self._keeper: Keeper | None = None
        self._heart = gevent.pool.Group()
        self._quiet = False
        self._stop = Event()
        self._hurry = Event()
        self._redeploy = Event()
        self._heart_stop = Event()
        self._failure: BaseException | None = None
        sources = Sources(
            report=self._report,
            refresh=lambda: self._each_lane(Lane.refresh),
            moments=self._timeline.moments,
            lines=recent.lines,
            redact=redactor.text,
        )
        self._face = Face(settings.http.addr, sources) if settings.http.addr else None

    def ask_to_stop(self, number: signal.Signals) -> None:
        """Stop soon (first call) or sooner (second); called for a signal."""
        log.info("worker.stopping", signal=number.name, hurry=self._stop.is_set())
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def quiet(self, *, on: bool) -> None:
        """Take nothing new until told otherwise; during bootstrap, from its end on."""
        if on is self._quiet or self._stop.is_set():
            return
        self._quiet = on
        for lane in self._lanes:
            lane.quiet(on=on)
        if on:
            log.info("worker.quiet", running=sum(lane.in_flight for lane in self._lanes))
        else:
            log.info("worker.resumed")

    def redeploy(self) -> None:
        """Deploy anew beside what runs; during bootstrap, after its end."""
        if not self._stop.is_set():
            log.info("worker.redeploying", queues=[lane.parent for lane in self._lanes])
            self._redeploy.set()

    def log_state(self) -> None:
        """Log all there is to know: what is held, then where every greenlet stands."""
        vitals = self._vitals()
        logging.answer(
            "worker.state",
            worker_id=self._identity.worker_id,
            status=vitals.status.value,
            healthy=vitals.healthy,
            stopping=self._stop.is_set(),
            uptime_s=round(self._clock.wall() - self._identity.started_at_wall_s, 1),
            lanes=[lane.describe() for lane in self._lanes],
            heartbeats=len(self._heart),
        )
        for line in stack_lines(self._redactor.text):
            logging.answer("worker.stack", line=line)

    def run(self) -> int:
        """Start, serve, stop; returns the exit status."""
        log.info(
            "worker.starting",
            version=version("runqy-appliance"),
            worker_id=self._identity.worker_id,
            queues=list(self._settings.worker.queues),
            python=platform.python_version(),
        )
        gevent.get_hub().handle_error = self._unhandled  # type: ignore[method-assign, assignment]
        bootstrap = gevent.spawn(self._bootstrap)
        self._stop.wait()
        # Kills what bootstrap is doing, be it a git clone or a wait; later, a redeployment under way.
        bootstrap.kill()
        self._shut_down()
        if self._face:
            self._face.stop()
        return self._exit_status()

    def _bootstrap(self) -> None:
        if self._face:
            self._face.start()
        self._startup.add("import", age_of_process_s())
        with self._startup.phase("register"):
            self._register()
        with self._startup.phase("redis"):
            self._reach_redis()
        self._start_heartbeats()
        self._mind_outbox()
        deployer = self._make_deployer()
        jobs = [gevent.spawn(self._start_lane, lane, deployer) for lane in self._lanes]
        try:
            gevent.joinall(jobs, raise_error=True)
        finally:
            gevent.killall(jobs)
        self._status = Status.RUNNING
        if self._face:
            # Now, while the task processes start, rather than at the first scrape in the middle of the work.
            self._face.prepare()
        log.info("worker.running", queues=[sub.name for lane in self._lanes for sub in lane.sub_queues])
        Redeployer(lambda: self._lanes, self._ask_contract, deployer).run(self._redeploy)

    def _register(self) -> None:
        for parent in plan_queues(self._settings.worker.queues):
            registration, sub_queues = self._ask_contract(parent)
            log.info(
                "worker.registered",
                queue=parent,
                sub_queues={sub.name: sub.priority for sub in sub_queues},
                redis=f"{registration.redis.host}:{registration.redis.port}",
                mode=registration.deployment.mode.value,
                vaults=sorted(registration.vaults),
            )
            outlets = self._outlets.setdefault(registration.redis, self._make_outlets())
            lane = Lane(registration, sub_queues, self._tools, outlets)
            lane.quiet(on=self._quiet)
            self._lanes.append(lane)
        self._registered = True

    def _ask_contract(self, parent: str) -> Contract:
        settings = self._settings
        registrar = Registrar(
            settings.server, settings.bootstrap, self._clock, version("runqy-appliance"), self._tools.rng
        )
        registration = registrar.register(parent).reaching_redis(settings.redis)
        self._redactor.add(registration.redis.password, registration.git_token, *registration.vaults.values())
        sub_queues, warnings = select(registration, plan_queues(settings.worker.queues)[parent])
        self._redactor.publish(parent, *(sub.name for sub in sub_queues))
        for vault, problem in self._redactor.remarks(registration.vaults):
            log.warning("vault.value_is_common", queue=parent, vault=vault, problem=problem)
        if settings.redis.certified and not registration.redis.use_tls:
            problem = "certificates for Redis are set but not used: the server says it has no TLS"
            log.warning("registration.no_tls", queue=parent, problem=problem)
        for warning in warnings:
            log.warning("registration.queue_unknown", queue=parent, problem=warning)
        return registration, sub_queues

    def _make_outlets(self) -> Outlets:
        worker_id = self._identity.worker_id
        lines = Outbound(keys.worker_logs(worker_id), KEPT_LINES, LOGS_TTL_S)
        crashes = Outbound(keys.worker_crashes(worker_id), KEPT_DOSSIERS, DOSSIER_TTL_S)
        return Outlets(Output(self._clock, self._redactor.text, lines), crashes)

    def _reach_redis(self) -> None:
        attempts = 1 + self._settings.bootstrap.retries
        for endpoint in self._outlets:
            line = open_line(endpoint, f"runqy-appliance:{self._identity.worker_id}:start")
            for attempt in range(1, attempts + 1):
                try:
                    line.call("PING")
                    break
                except QueueError as exc:
                    log.warning("redis.unreachable", attempt=attempt, of=attempts, error=str(exc))
                    if attempt == attempts:
                        raise StartupError(f"gave up after {attempts} attempts: {exc}") from exc
                self._clock.sleep(self._settings.bootstrap.retry_delay_s)
            line.close()

    def _start_heartbeats(self) -> None:
        system = SystemMetrics(self._clock)
        for endpoint, outlets in self._outlets.items():
            line = open_line(endpoint, f"runqy-appliance:{self._identity.worker_id}:heartbeat")
            outbound = (outlets.output.outbound, outlets.crashes)
            heartbeat = Heartbeat(line, self._identity, self._vitals, outbound, system, self._clock)
            self._heartbeats.append(heartbeat)
            pulse = self._pulses.new("heartbeat")
            self._heart.spawn(ticker.run, pulse, heartbeat.tick, self._heart_stop)

    def _mind_outbox(self) -> None:
        """Deliver what dead workers left, before it is too late for it, and keep what we may leave."""
        folder = self._settings.worker.state_dir
        if folder is None:
            return
        brokers = {
            (lane.endpoint.identity, sub.name): broker
            for lane in self._lanes
            for broker in [lane.deliverer()]
            for sub in lane.sub_queues
        }
        redelivery = Redelivery(folder, brokers, self._clock)
        redelivery.tick()
        self._keeper = Keeper(Outbox(folder, self._identity.worker_id), self._outcomes, self._clock)
        self._heart.spawn(ticker.run, self._pulses.new("keeper"), self._keeper.tick, self._heart_stop)
        self._heart.spawn(ticker.run, self._pulses.new("redelivery"), redelivery.tick, self._heart_stop)

    def _outcomes(self) -> list[tuple[str, Settlement]]:
        return [(lane.endpoint.identity, outcome) for lane in self._lanes for outcome in lane.outcomes()]

    def _make_deployer(self) -> Deployer:
        settings = self._settings
        return Deployer(
            settings.deployment, settings.bootstrap, settings.git, self._clock, self._redactor.text
        )

    def _start_lane(self, lane: Lane, deployer: Deployer) -> None:
        with self._startup.phase("deploy"):
            lane.deploy(deployer)
        lane.start(self._changed)

    def _shown_status(self) -> Status:
        return Status.QUIET if self._quiet and self._status is Status.RUNNING else self._status

    def _vitals(self) -> Vitals:
        states = {lane.parent: lane.runner.state() for lane in self._lanes if lane.runner is not None}
        return Vitals(
            status=self._shown_status(),
            healthy=all(lane.healthy for lane in self._lanes),
            queues={sub.name: sub.priority for lane in self._lanes for sub in lane.sub_queues},
            recovery={
                parent: {
                    "state": state.recovery,
                    "consecutive_fails": state.consecutive_fails,
                    "total_restarts": state.total_restarts,
                }
                for parent, state in states.items()
            },
            commits={lane.parent: lane.commit for lane in self._lanes if lane.deployed},
            redeployed={lane.parent: lane.redeployed for lane in self._lanes if lane.redeployed},
        )

    def _report(self) -> WorkerReport:
        return WorkerReport(
            status=self._shown_status().value,
            stopping=self._stop.is_set(),
            lanes=tuple(lane.report() for lane in self._lanes) if self._registered else (),
            stuck=tuple(self._pulses.troubles()),
            worker_id=self._identity.worker_id,
            version=version("runqy-appliance"),
            python=platform.python_version(),
            instance_id=self._identity.instance_id,
            started_at_wall_s=self._identity.started_at_wall_s,
            now_wall_s=self._clock.wall(),
            startup=self._startup.phases,
            outbox_bytes=self._keeper.size_bytes if self._keeper else 0,
        )

    def _changed(self) -> None:
        self._mind_degraded()
        ready = self._startup.total_s is None and all(lane.ready for lane in self._lanes)
        if ready and self._registered and not self._stop.is_set():
            self._startup.done()
            log.info("worker.ready", seconds=self._startup.total_s, **self._startup.phases)

    def _mind_degraded(self) -> None:
        if self._settings.recovery.degraded_policy == "exit" and all(lane.degraded for lane in self._lanes):
            self._fail(ProcessDegraded("no task process is left to run tasks"))

    def _fail(self, why: BaseException) -> None:
        self._failure = self._failure or why
        self._stop.set()

    def _unhandled(
        self, context: object, kind: type[BaseException], value: BaseException | None, _traceback: object
    ) -> None:
        """Take what ended a greenlet and was caught by nobody: a worker that lacks one is no worker.

        gevent's hub calls this (``Hub.handle_error``) with the greenlet as ``context``. Of a thread's
        error, too, with the thread's function: that one is raised where its result is waited for.
        """
        if not isinstance(context, tuple) and not issubclass(kind, gevent.GreenletExit):
            self._fail(value or kind())

    def _shut_down(self) -> None:
        self._each_lane(lambda lane: lane.drain(self._hurry))
        self._each_lane(Lane.stop)
        if self._keeper is not None:
            self._keeper.last(LAST_KEEP_S)
        self._status = Status.STOPPED
        self._heart_stop.set()
        self._heart.join(timeout=1.0)
        self._heart.kill()
        goodbyes = [gevent.spawn(self._say_goodbye, heartbeat) for heartbeat in self._heartbeats]
        gevent.joinall(goodbyes, timeout=GOODBYE_S)
        gevent.killall(goodbyes)

    def _say_goodbye(self, heartbeat: Heartbeat) -> None:
        try:
            heartbeat.last()
        except QueueError as exc:
            log.warning("heartbeat.last_failed", error=str(exc))

    def _each_lane(self, do: Callable[[Lane], None]) -> None:
        gevent.joinall([gevent.spawn(partial(do, lane)) for lane in self._lanes], raise_error=True)

    def _exit_status(self) -> int:
        if self._failure is None:
            log.info("worker.stopped")
            return Exit.OK
        for kind, status in _EXITS:
            if isinstance(self._failure, kind):
                log.error("worker.failed", reason=str(self._failure), exit_status=int(status))
                return status
        log.error("worker.failed", exc_info=self._failure, exit_status=int(Exit.INTERNAL))
        return Exit.INTERNAL


def _worker_id(rng: random.Random) -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) or "unknown"
    return f"{host}-{os.getpid()}-{rng.randrange(16**8):08x}"
