"""The worker for Prometheus: every metric is made from a report when it is scraped, none is kept here.

``docs/operations.md`` has a table of them, which a test holds against the live output.
"""

import resource
from collections.abc import Callable, Iterator

import psutil
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from appliance.observe.report import LaneReport, WorkerReport
from appliance.process.recycling import memory_bytes

#: What :func:`render` returns.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_RECOVERY_STATES = ("idle", "recovering", "degraded")


def render(report: WorkerReport, *, ready: bool) -> bytes:
    """All metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(report, ready=ready))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, report: WorkerReport, *, ready: bool) -> None:
        self._report = report
        self._ready = ready

    def collect(self) -> Iterator[Metric]:
        yield from self._of_worker()
        yield from self._of_lanes()
        yield from self._of_queues()

    def _of_worker(self) -> Iterator[Metric]:
        report = self._report
        build = GaugeMetricFamily(
            "runqy_worker_build_info", "Always 1; the labels say what runs.", labels=["version", "python"]
        )
        build.add_metric([report.version, report.python], 1)
        yield build
        yield GaugeMetricFamily(
            "runqy_worker_start_time_seconds",
            "When the worker started, unix time.",
            report.started_at_wall_s,
        )
        yield GaugeMetricFamily("runqy_worker_ready", "1 while /readyz says so.", int(self._ready))
        yield GaugeMetricFamily("runqy_worker_live", "1 while every loop turns.", int(not report.stuck))
        startup = GaugeMetricFamily(
            "runqy_worker_startup_seconds", "How long each phase of the start took.", labels=["phase"]
        )
        for phase, seconds in report.startup.items():
            startup.add_metric([phase], seconds)
        yield startup
        yield GaugeMetricFamily(
            "runqy_worker_outbox_bytes", "Unsettled outcomes kept in the state folder.", report.outbox_bytes
        )
        yield CounterMetricFamily(
            "runqy_worker_children_cpu_seconds",
            "CPU time of everything the worker started: task processes, git, installers.",
            _children_cpu_s([pid for lane in report.lanes for pid in lane.pids]),
        )

    def _of_lanes(self) -> Iterator[Metric]:
        gauges: tuple[tuple[str, str, Callable[[LaneReport], float]], ...] = (
            ("slots", "How many tasks may run at a time.", lambda lane: lane.slots),
            ("slots_in_use", "How many run.", lambda lane: lane.in_use),
            ("fetched_ahead_tasks", "Tasks taken that wait for a slot.", lambda lane: lane.fetched_ahead),
            ("unsettled_outcomes", "Outcomes Redis has not accepted yet.", lambda lane: lane.unsettled),
            (
                "unsettled_oldest_seconds",
                "How long the oldest of them has waited.",
                lambda lane: lane.unsettled_oldest_s,
            ),
            ("process_ready", "1 while the task process takes tasks.", lambda lane: int(lane.ready)),
            ("processes", "Task processes alive.", lambda lane: len(lane.pids)),
            (
                "process_memory_bytes",
                "Resident memory of the task processes and what they started.",
                lambda lane: sum(memory_bytes(pid) for pid in lane.pids),
            ),
            (
                "consecutive_failures",
                "Length of the present row of failures of the task process.",
                lambda lane: lane.consecutive_fails,
            ),
            ("redis_up", "1 while Redis answers.", lambda lane: int(lane.redis.reachable)),
        )
        counters: tuple[tuple[str, str, Callable[[LaneReport], float]], ...] = (
            (
                "restarts",
                "Starts of the process because of a failure.",
                lambda lane: lane.total_restarts,
            ),
            ("leases_lost", "Leases that ran out while their task was here.", lambda lane: lane.leases_lost),
            ("redis_errors", "Failed connections and error replies.", lambda lane: lane.redis.errors),
            ("redis_connections", "Connections made to Redis.", lambda lane: lane.redis.connects),
        )
        for name, text, value in gauges:
            gauge = GaugeMetricFamily(f"runqy_worker_{name}", text, labels=["parent"])
            for lane in self._report.lanes:
                gauge.add_metric([lane.parent], value(lane))
            yield gauge
        for name, text, value in counters:
            counter = CounterMetricFamily(f"runqy_worker_{name}", text, labels=["parent"])
            for lane in self._report.lanes:
                counter.add_metric([lane.parent], value(lane))
            yield counter
        states = GaugeMetricFamily(
            "runqy_worker_recovery_state",
            "1 for the state recovery is in, 0 for the others.",
            labels=["parent", "state"],
        )
        for lane in self._report.lanes:
            for state in _RECOVERY_STATES:
                states.add_metric([lane.parent, state], int(lane.recovery == state))
        yield states

    def _of_queues(self) -> Iterator[Metric]:
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
        for lane in self._report.lanes:
            for queue, tally in lane.tallies.items():
                for outcome, count in sorted(tally.outcomes.items()):
                    tasks.add_metric([queue, outcome], count)
                for reason, count in sorted(tally.failures.items()):
                    failures.add_metric([queue, reason], count)
                runs.add_metric([queue], tally.runs.cumulative(), tally.runs.sum_s)
                waits.add_metric([queue], tally.waits.cumulative(), tally.waits.sum_s)
        yield from (tasks, failures, runs, waits)


def _children_cpu_s(pids: list[int]) -> float:
    """Of those that have ended, and of those alive; one that ends in between is in either."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
