"""Answers SIGUSR1: logs the state of the worker, then where every greenlet and thread stands."""

from collections.abc import Callable

import structlog

from appliance.observe.stacks import stack_lines
from appliance.observe.state import state
from appliance.snapshot import WorkerSnapshot


def answer(snapshot: WorkerSnapshot, redact: Callable[[str], str]) -> None:
    """Logged whatever the level is set to: an operator has just asked for it."""
    factory = structlog.get_config()["logger_factory"]
    log = structlog.wrap_logger(factory(), wrapper_class=structlog.make_filtering_bound_logger(0))
    log.info("worker.state", **state(snapshot))
    for line in stack_lines(redact):
        log.info("worker.stack", line=line)
