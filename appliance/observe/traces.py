"""Each run of a task as spans of OpenTelemetry, by the official SDK; imported only where that is switched on.

``process QUEUE`` spans it all, and continues what the message's headers say (``traceparent``); in it ``wait``
is from pending to the start of the run, ``run`` the time in the process, ``settle`` until Redis has accepted
the outcome. They are made when all of it is known: a run whose outcome is not accepted here leaves no span.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

from appliance.clock import Clock
from appliance.process.outcome import Outcome, Succeeded
from appliance.queue.headers import headers_of
from appliance.queue.message import Lease, Task

#: Characters of an error that a span keeps.
_ERROR_CHARS = 500


class _Run(NamedTuple):
    task: Task
    outcome: Outcome
    began_s: float
    ended_s: float


class Traces:
    """See the module; a :class:`~appliance.observe.tally.TaskTrace`. ``redact`` cleans errors."""

    def __init__(
        self,
        exporter: OTLPSpanExporter,
        resource: Resource,
        version: str,
        clock: Clock,
        redact: Callable[[str], str],
    ) -> None:
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("runqy-appliance", version)
        self._clock = clock
        self._redact = redact
        self._runs: dict[Lease, _Run] = {}

    def ran(self, task: Task, outcome: Outcome, run_s: float) -> None:
        """A run has ended just now, after ``run_s``."""
        now_s = self._clock.wall()
        self._runs[task.lease] = _Run(task, outcome, now_s - run_s, now_s)

    def settled(self, lease: Lease, outcome: str) -> None:
        """Redis has answered to the task's outcome; of a task that did not run there is nothing to tell."""
        if run := self._runs.pop(lease, None):
            self._tell(run, outcome, self._clock.wall())

    def stop(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def _tell(self, run: _Run, outcome: str, settled_s: float) -> None:
        task = run.task
        # The clocks of two machines: what was enqueued after it ran did not wait.
        pending_s = min(task.pending_since_wall_s or run.began_s, run.began_s)
        whole = self._tracer.start_span(
            f"process {task.lease.queue}",
            propagate.extract(headers_of(task.message)),
            SpanKind.CONSUMER,
            _attributes(task, outcome),
            start_time=_ns(pending_s),
        )
        inside = trace.set_span_in_context(whole)
        for name, from_s, to_s in (
            ("wait", pending_s, run.began_s),
            ("run", run.began_s, run.ended_s),
            ("settle", run.ended_s, settled_s),
        ):
            span = self._tracer.start_span(name, inside, start_time=_ns(from_s))
            if name == "run":
                self._judge(span, run.outcome)
            span.end(_ns(to_s))
        self._judge(whole, run.outcome)
        whole.end(_ns(settled_s))

    def _judge(self, span: trace.Span, outcome: Outcome) -> None:
        if isinstance(outcome, Succeeded):
            return
        reason = str(getattr(outcome, "error", "") or getattr(outcome, "reason", ""))
        span.set_attribute("error.type", type(outcome).__name__.lower())
        span.set_status(Status(StatusCode.ERROR, self._redact(reason)[-_ERROR_CHARS:]))


def _attributes(task: Task, outcome: str) -> dict[str, Any]:
    return {
        "messaging.system": "runqy",
        "messaging.operation.type": "process",
        "messaging.destination.name": task.lease.queue,
        "messaging.message.id": task.lease.task_id,
        "runqy.task.type": task.type,
        "runqy.task.retried": task.retried,
        "runqy.task.attempt": task.lease.number,
        "runqy.task.outcome": outcome,
    }


def _ns(wall_s: float) -> int:
    return int(wall_s * 1e9)
