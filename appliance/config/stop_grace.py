"""Whether the orchestrator waits long enough for the worker to stop. Pure.

A container engine asks with SIGTERM and kills a while later. The worker cannot see how much later;
``RUNQY_STOP_GRACE`` says it. Without it nothing is known, and nothing is warned about.
"""

import math

from appliance.config.durations import format_duration
from appliance.config.settings import ProcessSettings, WorkerSettings

#: Seconds that a stop may take beside running tasks and the process: last results, last heartbeat.
MARGIN_S = 10.0


def needed_s(worker: WorkerSettings, process: ProcessSettings) -> float:
    """The grace to give this worker: what a stop may take, and some seconds for a slow Redis."""
    return math.ceil(worker.shutdown_timeout_s + process.stop_grace_s + MARGIN_S)


def shortage(worker: WorkerSettings, process: ProcessSettings) -> str | None:
    """What happens when a stop takes as long as it may, and what to do; None where there is time enough."""
    stop_s = worker.shutdown_timeout_s + process.stop_grace_s
    if worker.stop_grace_s is None or stop_s <= worker.stop_grace_s:
        return None
    given, needed = format_duration(worker.stop_grace_s), needed_s(worker, process)
    return (
        f"a stop may take {format_duration(stop_s)} (worker.shutdown_timeout "
        f"{format_duration(worker.shutdown_timeout_s)}, process.stop_grace "
        f"{format_duration(process.stop_grace_s)}) but the worker is killed {given} after SIGTERM, and what "
        f"still runs then loses a retry: give it {needed:g} s (docker run --stop-timeout {needed:g}, "
        f"stop_grace_period: {needed:g}s, terminationGracePeriodSeconds: {needed:g}) and say so with "
        f"RUNQY_STOP_GRACE={format_duration(needed)}, or lower RUNQY_SHUTDOWN_TIMEOUT"
    )
