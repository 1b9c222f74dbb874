"""Wires one lane: the only place that knows all its parts."""

import os
from collections.abc import Callable, Iterator
from functools import partial

import structlog

from appliance.contracts import Contract
from appliance.control.contract import Mode
from appliance.deploy.deployment import Deployed
from appliance.deploy.slots import Uses
from appliance.dispatch.dispatcher import Dispatcher, DispatchSettings
from appliance.dispatch.intake import Intake, Source
from appliance.dispatch.large import LARGE_TIMEOUT_S, LargeOutcomes
from appliance.dispatch.limits import Limits
from appliance.dispatch.order import STRATEGIES
from appliance.dispatch.progress import Progress
from appliance.dispatch.unsettled import Unsettled
from appliance.dispatch.watch import Watch
from appliance.event import Event
from appliance.isolation.places import Code, code_folder
from appliance.isolation.start import confine_task, temporary_folder
from appliance.lane import DISPATCHER, UPKEEP, Lane, Loop, Parts, Running
from appliance.loops import ticker
from appliance.loops.canceller import Canceller
from appliance.loops.eviction import Eviction
from appliance.loops.forwarder import Forwarder
from appliance.loops.janitor import Janitor
from appliance.loops.leases import Leases
from appliance.loops.recoverer import Recoverer
from appliance.observe.crash import report_crash
from appliance.observe.tally import Tally
from appliance.presence import Outlets
from appliance.process.environ import build_argv, build_environment, check_size
from appliance.process.launch import room_for_arguments
from appliance.process.progress import Report
from appliance.process.runner import Runner
from appliance.process.runners.long_running import LongRunning
from appliance.process.runners.one_shot import OneShot
from appliance.process.spec import Hooks, ProcessSpec
from appliance.queue import keys
from appliance.queue.broker import Broker
from appliance.queue.connection import Connection
from appliance.queue.connections import Connections
from appliance.queue.depths import DepthGauge
from appliance.queue.following import FollowingConnection
from appliance.queue.lookups import Owed
from appliance.queue.progress import ProgressStore
from appliance.queue.settlement import Policy
from appliance.queue.subscription import Subscription
from appliance.queue.waiter import Waiter
from appliance.tools import Tools

log = structlog.get_logger()


def running(contract: Contract, deployed: Deployed, tools: Tools) -> Running:
    """The code that was put in place, with the process that the contract makes of it."""
    spec, settings = contract.registration.deployment, tools.settings
    vaults = contract.registration.vaults
    env, warnings = build_environment(
        os.environ, deployed.venv_dir, vaults, allow_unsafe=settings.vaults.allow_unsafe
    )
    for warning in warnings:
        log.warning("vault.refused", parent=contract.parent, reason=warning)
    env |= temporary_folder(settings, contract.parent)
    code = Code(
        code_folder(settings.deployment.dir, deployed.code_dir), deployed.python, deployed.venv_dir, env
    )
    argv = build_argv(spec.startup_cmd, deployed.python)
    # Now, with a word on what it is: the system would refuse each start, and each would count as a crash.
    check_size(argv, env, room_for_arguments())
    process = ProcessSpec(
        argv=argv,
        cwd=deployed.code_dir,
        env=env,
        startup_timeout_s=spec.startup_timeout_s,
        stop_grace_s=settings.process.stop_grace_s,
        commit=deployed.commit,
        confine=partial(confine_task, code, settings, tools.confinement),
        one_task=spec.mode is Mode.ONE_SHOT,
        max_answer_bytes=settings.tasks.max_result_bytes,
    )
    return Running(contract, deployed, process)


def assemble(what: Running, uses: Uses, tools: Tools, outlets: Outlets, changed: Callable[[], None]) -> Lane:
    """A lane that runs ``what`` once it is started; ``changed`` is called when its process's state did."""
    wake = Event()

    def on_change() -> None:
        wake.set()
        lane.changed()
        changed()

    def on_progress(task_id: str, report: Report) -> None:
        lane.progressed(task_id, report)

    runner = _runner(what, tools, outlets, on_change, on_progress)
    lane = Lane(what, _parts(what.contract, uses, runner, tools, wake), tools)
    return lane


def outbox_brokers(contract: Contract, tools: Tools) -> tuple[Broker, Broker]:
    """Brokers with their own connections, to settle in the name of workers that have ended.

    The second is for large outcomes, which may take long to send.
    """
    # Not among a lane's connections: seldom used, they may not know yet that Redis is available again.
    place, name = tools.places.of(contract.redis), tools.client_name("outbox")
    return (
        _broker(FollowingConnection(place, name), contract, tools),
        _broker(FollowingConnection(place, name, LARGE_TIMEOUT_S), contract, tools),
    )


def _runner(
    what: Running,
    tools: Tools,
    outlets: Outlets,
    on_change: Callable[[], None],
    on_progress: Callable[[str, Report], None],
) -> Runner:
    parent, settings = what.contract.parent, tools.settings
    hooks = Hooks(
        on_change=on_change,
        on_output=partial(outlets.output.add, parent),
        on_crash=partial(report_crash, parent, tools.timeline, outlets.crashes, tools.redactor.text),
        redact=tools.redactor.text,
        on_progress=on_progress,
    )
    if what.contract.registration.deployment.mode is Mode.ONE_SHOT:
        return OneShot(parent, what.process, settings.recovery, tools.clock, hooks)
    return LongRunning(parent, what.process, settings.recovery, tools.clock, hooks, limits=settings.process)


def _parts(contract: Contract, uses: Uses, runner: Runner, tools: Tools, wake: Event) -> Parts:
    settings, stop = tools.settings, Event()
    policy = Policy(settings.retry, settings.tasks)
    queues = list(contract.priorities)
    connections = Connections(tools.places.of(contract.redis), tools.client_name)
    control = connections.open(UPKEEP)
    owed = Owed()
    upkeep = _broker(control, contract, tools, owed)
    sources = [
        Source(queue, Watch(queue, _waiter(queue, connections, control), wake.set)) for queue in queues
    ]
    sending_alone = connections.open("large outcomes", LARGE_TIMEOUT_S)
    large = LargeOutcomes(_broker(sending_alone, contract, tools, owed), policy, tools.clock, wake.set)
    tallies = {queue: Tally(tools.traces) for queue in queues}
    dispatcher = Dispatcher(
        Intake(sources, STRATEGIES[settings.worker.queue_strategy](contract.priorities)),
        _broker(connections.open("dispatch"), contract, tools, owed),
        runner,
        Unsettled(policy, tallies, tools.clock, large),
        DispatchSettings(
            parent=contract.parent,
            concurrency=settings.worker.concurrency,
            requeue_degraded=settings.recovery.degraded_policy == "requeue",
            shared_process=contract.registration.deployment.mode is not Mode.ONE_SHOT,
        ),
        clock=tools.clock,
        rng=tools.rng,
        wake=wake,
    )
    leases = Leases(upkeep, dispatcher.held, settings.worker.lease_extension_s)
    limits = Limits(upkeep, dispatcher.slots, policy, tools.clock)
    progress = Progress(ProgressStore(control), dispatcher.slots.find, tools.redactor.text, tools.clock)
    cancel = Subscription(connections.place, keys.CANCEL, tools.client_name("cancel"), connections.listening)

    def loops() -> Iterator[Loop]:
        yield Loop(DISPATCHER, dispatcher.run)
        yield Loop("large outcomes", large.run)
        yield Loop("progress", progress.run)
        for source in sources:
            yield Loop(f"watch {source.queue}", source.watch.run)
        for name, tick in (
            ("leases", leases.tick),
            ("limits", limits.tick),
            *(("forwarder", one.tick) for one in _forwarders(contract, upkeep, dispatcher, policy, tools)),
            ("canceller", Canceller(cancel, dispatcher.cancel).tick),
            ("eviction", Eviction(contract.parent, control).tick),
        ):
            yield Loop(name, partial(ticker.run, tick=tick, stop=stop))

    depths = DepthGauge(connections.open("status"), queues, tools.clock)
    return Parts(runner, dispatcher, leases, progress, depths, connections, uses, tuple(loops()), stop)


def _forwarders(
    contract: Contract, upkeep: Broker, dispatcher: Dispatcher, policy: Policy, tools: Tools
) -> list[Forwarder]:
    queues = list(contract.priorities)
    recoverer = Recoverer(upkeep, policy, tools.clock, dispatcher.held)
    janitor = Janitor(upkeep, tools.clock, tools.settings.tasks.ttl_archived_s)
    # In a cluster each queue has its own forwarder: the node of one may be unavailable.
    groups = [[queue] for queue in queues] if contract.redis.settings.cluster else [queues]
    lease_s = tools.settings.worker.lease_duration_s
    return [Forwarder(group, upkeep, recoverer, janitor, tools.clock, lease_s) for group in groups]


def _waiter(queue: str, connections: Connections, control: Connection) -> Waiter:
    name = connections.client_name("watch")
    return Waiter(connections.place, queue, name, control, connections.listening)


def _broker(connection: Connection, contract: Contract, tools: Tools, owed: Owed | None = None) -> Broker:
    return Broker(
        connection,
        tools.worker_id,
        tools.settings.worker.lease_duration_s,
        keep_results=contract.registration.deployment.redis_storage,
        owed=owed,
        clock=tools.clock,
        max_message_bytes=tools.settings.tasks.max_payload_bytes,
    )
