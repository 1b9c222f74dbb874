"""The worker as a program: logging, signals, and an exit status that says how it ended."""

import os
import platform
import random
import re
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from secrets import token_hex
from typing import Any

import structlog

from appliance.clock import Clock, SystemClock
from appliance.config.options import secrets
from appliance.config.settings import Settings
from appliance.errors import (
    ApplianceError,
    DeploymentError,
    ProcessDegraded,
    ProcessError,
    ProtectionMissing,
    RegistrationError,
    StartupError,
)
from appliance.exits import Exit
from appliance.isolation.start import isolate
from appliance.masking.parts import passwords
from appliance.observe import log as logging
from appliance.observe.pulse import Pulses
from appliance.observe.recent import Recent
from appliance.observe.redaction import Redactor
from appliance.observe.stream import LogStream
from appliance.observe.timeline import Timeline
from appliance.process.inheritance import logins, remarks
from appliance.signals import Signals
from appliance.snapshot import Identity
from appliance.telemetry import Telemetry
from appliance.tools import Tools
from appliance.worker import Worker

log = structlog.get_logger()

#: The descriptor of what a program says of itself.
STDERR = 2
#: Seconds that the last lines of the log may take to be written.
LAST_LINES_S = 2.0
#: The exit status by what ended the worker; the first that fits.
_EXITS: Sequence[tuple[type[ApplianceError], Exit]] = (
    (RegistrationError, Exit.REGISTRATION),
    (DeploymentError, Exit.DEPLOYMENT),
    (StartupError, Exit.STARTUP),
    (ProcessDegraded, Exit.DEGRADED),
    (ProcessError, Exit.STARTUP),
    (ProtectionMissing, Exit.UNPROTECTED),
)


def run(settings: Settings, warnings: Sequence[str] = (), notes: Sequence[str] = ()) -> int:
    """Run a worker until it is told to stop; returns the exit status (:class:`~appliance.exits.Exit`).

    ``warnings`` and ``notes`` are the configuration's, logged first. What signals do is in
    :mod:`appliance.signals`.
    """
    redactor, recent, clock = Redactor(), Recent(), SystemClock()
    redactor.add(*secrets(settings), *logins(os.environ), *passwords(settings.server.url))
    identity = _identity(settings, clock)
    telemetry = Telemetry(settings.telemetry, identity, clock, redactor.text)

    def heard(event: Mapping[str, Any]) -> None:
        recent.add(event)
        telemetry.heard(event)

    stream = LogStream(STDERR)
    logging.configure(settings.log, redactor, stream, heard, identity.worker_id)
    try:
        _remark(warnings, notes)
        # Before anything is started that could look.
        confinement, isolation = isolate(settings, os.environ)
        tools = Tools(
            settings,
            clock,
            random.Random(),  # noqa: S311  jitter, not secrets
            redactor,
            Pulses(clock),
            Timeline(clock),
            identity,
            confinement,
            isolation,
            log_lost=lambda: stream.lost,
            traces=telemetry.traces,
        )
        return _serve(Worker(tools, recent), telemetry)
    finally:
        stream.drain(LAST_LINES_S)


def _remark(warnings: Sequence[str], notes: Sequence[str]) -> None:
    for warning in warnings:
        log.warning("config.warning", problem=warning)
    for variable, why in remarks(os.environ):
        log.warning("config.warning", problem=f"{variable} is not given to task code: {why}")
    for note in notes:
        log.info("config.note", note=note)


def _serve(worker: Worker, telemetry: Telemetry) -> int:
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
    telemetry.start(worker.snapshot)
    try:
        return _exit_status(worker.run())
    finally:
        telemetry.stop()


def _identity(settings: Settings, clock: Clock) -> Identity:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", os.uname().nodename) or "unknown"
    return Identity(
        worker_id=f"{host}-{os.getpid()}-{token_hex(4)}",
        version=version("runqy-appliance"),
        python=platform.python_version(),
        started_at_wall_s=clock.wall(),
        concurrency=settings.worker.concurrency,
        instance_id=settings.worker.instance_id,
    )


def _exit_status(failure: BaseException | None) -> int:
    if failure is None:
        log.info("worker.stopped")
        return Exit.OK
    for kind, status in _EXITS:
        if isinstance(failure, kind):
            log.error("worker.failed", reason=str(failure), exit_status=int(status))
            return status
    log.error("worker.failed", exc_info=failure, exit_status=int(Exit.INTERNAL))
    return Exit.INTERNAL
