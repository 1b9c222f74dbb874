"""The worker for Prometheus: every metric is made from a snapshot when it is scraped, none is kept here.

``runqy_worker_*`` is what this worker knows of itself, ``runqy_queue_*`` what Redis says of a queue: that is
the same from every worker, so that it is read with ``max by (queue)`` and never summed over workers.

``docs/operations.md`` has a table of them, which a test holds against the live output.
"""

import resource
from collections.abc import Callable, Iterator

import psutil
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from appliance.isolation.report import Protection
from appliance.observe.tally import FAILURES, OUTCOMES, Tally
from appliance.process.recycling import memory_bytes
from appliance.snapshot import ParentSnapshot, WorkerSnapshot

#: What :func:`render` returns.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_RECOVERY_STATES = ("idle", "recovering", "degraded")
_DEPTHS = ("pending", "active", "scheduled", "retry", "archived", "completed")


def render(snapshot: WorkerSnapshot, *, ready: bool) -> bytes:
    """All metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(snapshot, ready=ready))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def families(snapshot: WorkerSnapshot, *, ready: bool) -> Iterator[Metric]:
    """The same, for those who send them elsewhere."""
    registry = CollectorRegistry(auto_describe=False)
    yield from _Collector(snapshot, ready=ready).collect()
    yield from ProcessCollector(registry=registry).collect()


class _Collector(Collector):
    def __init__(self, snapshot: WorkerSnapshot, *, ready: bool) -> None:
        self._snapshot = snapshot
        self._ready = ready

    def collect(self) -> Iterator[Metric]:
        yield from self._of_worker()
        yield from self._of_parents()
        yield from self._of_tallies()
        yield from self._of_depths()

    def _of_worker(self) -> Iterator[Metric]:
        snapshot = self._snapshot
        build = GaugeMetricFamily(
            "runqy_worker_build_info", "Always 1; the labels say what runs.", labels=["version", "python"]
        )
        build.add_metric([snapshot.identity.version, snapshot.identity.python], 1)
        yield build
        yield GaugeMetricFamily(
            "runqy_worker_start_time_seconds",
            "When the worker started, unix time.",
            snapshot.identity.started_at_wall_s,
        )
        yield GaugeMetricFamily("runqy_worker_ready", "1 while /readyz says so.", int(self._ready))
        yield GaugeMetricFamily("runqy_worker_live", "1 while every loop turns.", int(not snapshot.stuck))
        startup = GaugeMetricFamily(
            "runqy_worker_startup_seconds", "How long each phase of the start took.", labels=["phase"]
        )
        for phase, seconds in snapshot.startup.items():
            startup.add_metric([phase], seconds)
        yield startup
        yield GaugeMetricFamily(
            "runqy_worker_outbox_bytes", "Unsettled outcomes kept in the state folder.", snapshot.outbox_bytes
        )
        yield CounterMetricFamily(
            "runqy_worker_log_lines_lost",
            "Lines of the log that could not be written: its reader stalled or ended, or its disk is full.",
            snapshot.log_lines_lost,
        )
        protections = GaugeMetricFamily(
            "runqy_worker_protection",
            "1 for what task code is kept from, 0 for what it is not.",
            labels=["protection"],
        )
        for protection in Protection:
            protections.add_metric([protection.value], int(protection not in snapshot.isolation.lacking))
        yield protections
        yield CounterMetricFamily(
            "runqy_worker_children_cpu_seconds",
            "CPU time of everything the worker started: task processes, git, installers.",
            _children_cpu_s([pid for parent in snapshot.parents for pid in parent.pids]),
        )

    def _of_parents(self) -> Iterator[Metric]:
        gauges: tuple[tuple[str, str, Callable[[ParentSnapshot], float]], ...] = (
            ("slots", "How many tasks may run at a time.", lambda parent: parent.slots),
            ("slots_in_use", "How many run.", lambda parent: parent.in_use),
            ("fetched_ahead_tasks", "Tasks taken that wait for a slot.", lambda parent: parent.fetched_ahead),
            ("unsettled_outcomes", "Outcomes Redis has not accepted yet.", lambda parent: parent.unsettled),
            (
                "unsettled_oldest_seconds",
                "How long the oldest of them has waited.",
                lambda parent: parent.unsettled_oldest_s,
            ),
            ("process_ready", "1 while the task process takes tasks.", lambda parent: int(parent.ready)),
            ("processes", "Task processes alive.", lambda parent: len(parent.pids)),
            (
                "process_memory_bytes",
                "Resident memory of the task processes and what they started.",
                lambda parent: sum(memory_bytes(pid) for pid in parent.pids),
            ),
            (
                "consecutive_failures",
                "Consecutive failures of the task process, up to now.",
                lambda parent: parent.consecutive_fails,
            ),
            ("redis_up", "1 while Redis answers.", lambda parent: int(parent.redis.available)),
            (
                "repository_up",
                "0 while code of an earlier start runs because the newest or its packages could not be had.",
                lambda parent: int(parent.repository_answers),
            ),
            (
                "redeploy_refused",
                "1 after a redeployment that was refused, until one is not.",
                lambda parent: int(parent.redeployed.get("outcome") == "refused"),
            ),
        )
        counters: tuple[tuple[str, str, Callable[[ParentSnapshot], float]], ...] = (
            (
                "restarts",
                "Starts of the process because of a failure.",
                lambda parent: parent.total_restarts,
            ),
            (
                "leases_lost",
                "Leases that ran out while their task was here.",
                lambda parent: parent.leases_lost,
            ),
            ("redis_errors", "Failed connections and error replies.", lambda parent: parent.redis.errors),
            ("redis_connections", "Connections made to Redis.", lambda parent: parent.redis.connects),
        )
        for name, text, value in gauges:
            gauge = GaugeMetricFamily(f"runqy_worker_{name}", text, labels=["parent"])
            for parent in self._snapshot.parents:
                gauge.add_metric([parent.name], value(parent))
            yield gauge
        for name, text, value in counters:
            counter = CounterMetricFamily(f"runqy_worker_{name}", text, labels=["parent"])
            for parent in self._snapshot.parents:
                counter.add_metric([parent.name], value(parent))
            yield counter
        states = GaugeMetricFamily(
            "runqy_worker_recovery_state",
            "1 for the state recovery is in, 0 for the others.",
            labels=["parent", "state"],
        )
        for parent in self._snapshot.parents:
            for state in _RECOVERY_STATES:
                states.add_metric([parent.name, state], int(parent.recovery == state))
        yield states

    def _of_tallies(self) -> Iterator[Metric]:
        tasks = CounterMetricFamily(
            "runqy_worker_tasks", "Tasks by what became of them.", labels=["queue", "outcome"]
        )
        failures = CounterMetricFamily(
            "runqy_worker_task_failures", "Runs that went wrong, by how.", labels=["queue", "reason"]
        )
        runs = HistogramMetricFamily(
            "runqy_worker_task_run_seconds", "Time of a task in the process.", labels=["queue"]
        )
        waits = HistogramMetricFamily(
            "runqy_worker_task_wait_seconds", "Time of a task from pending to taken.", labels=["queue"]
        )
        for parent in self._snapshot.parents:
            for queue in parent.queues:
                tally = parent.tallies.get(queue) or Tally()
                # All of them, from registration on: ``increase`` needs the series before its first event.
                for outcome in OUTCOMES:
                    tasks.add_metric([queue, outcome], tally.outcomes[outcome])
                for reason in FAILURES:
                    failures.add_metric([queue, reason], tally.failures[reason])
                runs.add_metric([queue], tally.runs.cumulative(), tally.runs.sum_s)
                waits.add_metric([queue], tally.waits.cumulative(), tally.waits.sum_s)
        yield from (tasks, failures, runs, waits)

    def _of_depths(self) -> Iterator[Metric]:
        """What Redis knows, the same from every worker; nothing while it does not answer."""
        tasks = GaugeMetricFamily(
            "runqy_queue_tasks", "Tasks of the queue by where they are.", labels=["queue", "state"]
        )
        oldest = GaugeMetricFamily(
            "runqy_queue_oldest_pending_seconds",
            "How long the task that is served next has waited.",
            labels=["queue"],
        )
        paused = GaugeMetricFamily("runqy_queue_paused", "1 while the queue is paused.", labels=["queue"])
        for parent in self._snapshot.parents:
            for queue, depths in parent.depths.items():
                for state in _DEPTHS:
                    tasks.add_metric([queue, state], getattr(depths, state))
                if depths.oldest_pending_s is not None:
                    oldest.add_metric([queue], depths.oldest_pending_s)
                paused.add_metric([queue], int(depths.paused))
        yield from (tasks, oldest, paused)


def _children_cpu_s(pids: list[int]) -> float:
    """Of those that have ended, and of those alive; one that ends in between is in either."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except (psutil.Error, OSError):
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
