"""OpenTelemetry and Sentry, where they are switched on: what is sent, how often, and the end of it.

Both are extras (``otel``, ``sentry``): nothing of them is imported unless the setting that says where to
send to is there.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import gevent
import structlog

from appliance.clock import Clock
from appliance.config.settings import TelemetrySettings
from appliance.errors import ConfigurationError
from appliance.observe.tally import TaskTrace
from appliance.snapshot import Identity, WorkerSnapshot

log = structlog.get_logger()

#: Seconds that sending what is left may take at the end, of each of them.
LAST_S = 5.0


class _Part(Protocol):
    def stop(self) -> None: ...


class Telemetry:
    """Nothing but a few attributes where nothing is switched on.

    Raises :class:`~appliance.errors.ConfigurationError` where a package is missing, or a setting is wrong.
    """

    def __init__(
        self, settings: TelemetrySettings, identity: Identity, clock: Clock, redact: Callable[[str], str]
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._clock = clock
        self._redact = redact
        self._parts: list[_Part] = []
        self._sending: Any = None
        with _no_part_in_forks():
            #: What the dispatcher tells of tasks.
            self.traces: TaskTrace | None = self._traces() if settings.otlp_endpoint else None
            self._sentry = self._make_sentry() if settings.sentry_dsn else None

    def heard(self, event: Mapping[str, Any]) -> None:
        """An event of the log, free of secrets."""
        if self._sentry:
            self._sentry.add(event)

    def start(self, snapshot: Callable[[], WorkerSnapshot]) -> None:
        """Send metrics from now on."""
        if not self._settings.otlp_endpoint:
            return
        with _no_part_in_forks():
            metrics = self._metrics(snapshot)
        self._parts.append(metrics)

        def send() -> None:
            while True:
                self._clock.sleep(self._settings.otlp_interval_s)
                metrics.send()

        self._sending = gevent.spawn(send)

    def stop(self) -> None:
        """Send what is left, and end. A collector that is away does not hold up the worker's end for long."""
        if self._sending:
            self._sending.kill()
        for part in self._parts:
            with suppress(gevent.Timeout), gevent.Timeout(LAST_S):
                part.stop()

    def _traces(self) -> TaskTrace:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

            from appliance.observe.traces import Traces  # noqa: PLC0415
        except ImportError as exc:
            raise _missing("RUNQY_OTLP_ENDPOINT", "otel", exc) from exc
        _hear_exporters(self._redact)
        exporter = OTLPSpanExporter(f"{self._settings.otlp_endpoint}/v1/traces", headers=self._headers())
        traces = Traces(exporter, self._resource(), self._identity.version, self._clock, self._redact)
        self._parts.append(traces)
        return traces

    def _metrics(self, snapshot: Callable[[], WorkerSnapshot]) -> Any:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415

        from appliance.observe.metrics import families  # noqa: PLC0415
        from appliance.observe.otlp_metrics import OtlpMetrics  # noqa: PLC0415
        from appliance.observe.readiness import reasons  # noqa: PLC0415

        def collect() -> Any:
            now = snapshot()
            return families(now, ready=not reasons(now))

        exporter = OTLPMetricExporter(f"{self._settings.otlp_endpoint}/v1/metrics", headers=self._headers())
        began_wall_s = self._identity.started_at_wall_s
        return OtlpMetrics(
            exporter, self._resource(), self._identity.version, collect, began_wall_s, self._clock
        )

    def _make_sentry(self) -> Any:
        try:
            from appliance.observe.sentry import Sentry  # noqa: PLC0415
        except ImportError as exc:
            raise _missing("RUNQY_SENTRY_DSN", "sentry", exc) from exc
        sentry = Sentry(self._settings.sentry_dsn or "", self._identity.version, self._identity.worker_id)
        self._parts.append(sentry)
        return sentry

    def _resource(self) -> Any:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

        known = {
            "service.version": self._identity.version,
            "service.instance.id": self._identity.worker_id,
        }
        # Of the name, what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say wins.
        named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        )
        return Resource.create(known if named else {"service.name": "runqy-appliance", **known})

    def _headers(self) -> dict[str, str] | None:
        if not self._settings.otlp_headers:
            return None
        from opentelemetry.util.re import parse_env_headers  # noqa: PLC0415

        headers: dict[str, str] = parse_env_headers(self._settings.otlp_headers, liberal=True)
        return headers


@contextmanager
def _no_part_in_forks() -> Iterator[None]:
    """Have nothing that is set up meanwhile be called after a fork.

    OpenTelemetry's SDK would start its threads again in each child, which with gevent is a switch to the hub:
    until the child became the program it is to be, it would go on with all that the worker was about to do,
    on the worker's own connections, and answers of Redis's would be read there that are missing here.
    """
    register = os.register_at_fork
    os.register_at_fork = lambda **_: None
    try:
        yield
    finally:
        os.register_at_fork = register


def _missing(variable: str, extra: str, exc: ImportError) -> ConfigurationError:
    return ConfigurationError(
        (
            f"{variable}: needs packages that are not installed ({exc.name or exc}): install the worker with "
            f"its extra {extra}, as in pip install '.[{extra}]'",
        )
    )


def _hear_exporters(redact: Callable[[str], str]) -> None:
    """Have what the exporters complain of stand in the worker's own log."""

    class _ToLog(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.warning("telemetry.not_sent", reason=redact(record.getMessage())[:500])

    theirs = logging.getLogger("opentelemetry")
    theirs.handlers = [_ToLog(logging.WARNING)]
    theirs.propagate = False
