"""Traces, metrics and errors, as a collector of OpenTelemetry and a Sentry get them from a real worker."""

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from harness import wait
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.sandbox.handlers import handler_files
from harness.sandbox.sdk import sdk_files
from tests.integration.world import QUEUE, World

TRACE, PARENT_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Collector:
    """What came in, decoded by the protocol's own messages; ``headers`` are those of the last request."""

    url: str = ""
    spans: list[Any] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    resources: list[dict[str, str]] = field(default_factory=list)
    envelopes: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append(attributes(resource.resource))
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.resources.append(attributes(resource.resource))
                self.metrics |= {one.name: one for scope in resource.scope_metrics for one in scope.metrics}
        elif path.endswith("/envelope/"):
            self.envelopes += [json.loads(line) for line in body.splitlines() if line.startswith(b"{")]


def attributes(of: Any) -> dict[str, str]:
    return {each.key: each.value.string_value or str(each.value.int_value) for each in of.attributes}


@contextmanager
def collector(status: int = 200) -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            found.headers = {name.lower(): value for name, value in self.headers.items()}
            found.take(self.path, body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        found.url = f"http://127.0.0.1:{listener.server_port}"
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield found
        finally:
            listener.shutdown()
            thread.join()


def test_a_collector_gets_each_tasks_spans_in_the_trace_of_who_sent_it_and_the_metrics(world: World) -> None:
    world.serve("raw_echo")
    with collector() as got:
        worker = world.worker(
            RUNQY_OTLP_ENDPOINT=got.url, RUNQY_OTLP_HEADERS="authorization=Bearer%20canary-of-otlp"
        )
        headers = {"traceparent": f"00-{TRACE}-{PARENT_SPAN}-01"}
        (task_id,) = asynq.seed_pending(world.db, QUEUE, NewTask({}, message={"headers": headers}))
        (alone,) = asynq.seed_pending(world.db, QUEUE, NewTask({}))
        world.completed(2, worker)
        # What is left is sent at the end.
        worker.terminate()
        assert worker.wait(60) == 0

    named = {(span.trace_id.hex(), span.name): span for span in got.spans}
    whole = named[TRACE, f"process {QUEUE}"]
    parts = [named[TRACE, name] for name in ("wait", "run", "settle")]
    assert len(got.spans) == 8
    assert whole.parent_span_id.hex() == PARENT_SPAN
    assert {part.parent_span_id for part in parts} == {whole.span_id}
    told = attributes(whole)
    assert (told["messaging.message.id"], told["runqy.task.outcome"]) == (task_id, "completed")
    # one after the other, and all of it
    moments = [whole.start_time_unix_nano]
    for part in parts:
        moments += [part.start_time_unix_nano, part.end_time_unix_nano]
    moments.append(whole.end_time_unix_nano)
    assert moments == sorted(moments)
    # a task without headers has a trace of its own
    others = [span for span in got.spans if span.trace_id.hex() != TRACE]
    assert {attributes(span).get("messaging.message.id") for span in others} == {alone, None}
    assert len({span.trace_id for span in others}) == 1
    # the metrics are those of /metrics
    tasks = {
        attributes(point)["outcome"]: point.as_double or point.as_int
        for point in got.metrics["runqy_worker_tasks_total"].sum.data_points
    }
    assert tasks["completed"] == 2
    (runs,) = got.metrics["runqy_worker_task_run_seconds"].histogram.data_points
    assert (runs.count, sum(runs.bucket_counts)) == (2, 2)
    assert got.metrics["runqy_worker_ready"].gauge.data_points
    assert {resource["service.name"] for resource in got.resources} == {"runqy-appliance"}
    assert got.headers["authorization"] == "Bearer canary-of-otlp"
    assert "canary-of-otlp" not in worker.log_text()


def test_a_failed_run_is_an_error_in_its_spans_and_each_attempt_has_its_own(world: World) -> None:
    world.serve("raw_error")
    with collector() as got:
        worker = world.worker(RUNQY_OTLP_ENDPOINT=got.url, RUNQY_RETRY_POLICY="always")
        (task_id,) = asynq.seed_pending(world.db, QUEUE, NewTask({}, retry=1))
        wait.until(lambda: asynq.where_is(world.db, QUEUE, task_id) == "archived", 60, "its end", worker.tail)
        worker.terminate()
        assert worker.wait(60) == 0

    wholes = [span for span in got.spans if span.name.startswith("process ")]
    assert [attributes(span)["runqy.task.outcome"] for span in wholes] == ["retried", "archived"]
    runs = [span for span in got.spans if span.name == "run"]
    assert {span.status.code for span in (*wholes, *runs)} == {2}
    assert all(span.status.message for span in runs)


FORKS = """
from appliance import patching; patching.patch()
import os, gevent, random
from gevent.subprocess import Popen
from appliance.clock import SystemClock
from appliance.config.settings import TelemetrySettings
from appliance.snapshot import Identity
from appliance.telemetry import Telemetry

settings = TelemetrySettings(otlp_endpoint="http://127.0.0.1:1", sentry_dsn="http://key@127.0.0.1:1/1")
identity = Identity("w", "1.0", "3", 0.0, 1)
telemetry = Telemetry(settings, identity, SystemClock(), str)
telemetry.start(lambda: None)
worker = os.getpid()

def goes_on():
    while True:
        if os.getpid() != worker:
            os.write(1, b"the worker went on in a child\\n")
        gevent.sleep(0)

gevent.spawn(goes_on)
for _ in range(5):
    Popen(["true"]).wait()
os.write(1, b"forked\\n")
os._exit(0)
"""


def test_between_fork_and_exec_nothing_of_the_worker_goes_on_in_the_child() -> None:
    """There it would read and write on the worker's own connections: an answer of Redis's was missing so."""
    ended = subprocess.run(
        (sys.executable, "-c", FORKS), check=False, capture_output=True, text=True, timeout=60
    )

    assert (ended.stdout, ended.returncode) == ("forked\n", 0), ended.stderr


def test_a_collector_that_refuses_or_is_away_is_said_in_the_log_and_stops_nothing(world: World) -> None:
    world.serve("raw_echo")
    with collector(status=403) as got:
        worker = world.worker(RUNQY_OTLP_ENDPOINT=got.url, RUNQY_OTLP_INTERVAL="1s")
        world.seed(3)
        world.completed(3, worker)
        world.event(worker, "telemetry.not_sent")
    # nothing listens there any more
    world.seed(1)
    world.completed(4, worker)
    worker.terminate()
    assert worker.wait(60) == 0


def test_sentry_gets_a_crash_as_the_log_has_it_without_secrets(world: World) -> None:
    world.serve(
        {**sdk_files(), **handler_files("segfault")}, vaults={"local": {"API_TOKEN": "correct-horse-battery"}}
    )
    with collector() as got:
        dsn = got.url.replace("http://", "http://public-key@") + "/7"
        worker = world.worker(RUNQY_SENTRY_DSN=dsn)
        world.seed(1)
        world.event(worker, "process.crashed")
        wait.until(lambda: got.envelopes, 60, "an event", worker.tail)
        worker.terminate()
        assert worker.wait(60) == 0

    crash = next(each for each in got.envelopes if each.get("message") == "process.crashed")
    assert crash["fingerprint"] == ["process.crashed", "inference"]
    assert crash["tags"]["parent"] == "inference"
    assert "SIGSEGV" in crash["extra"]["exit"]
    everything = json.dumps(got.envelopes)
    assert "correct-horse-battery" not in everything
    assert world.server.worker_key not in everything


@pytest.mark.parametrize(
    ("setting", "value", "package"),
    [
        ("RUNQY_OTLP_ENDPOINT", "http://127.0.0.1:1", "opentelemetry"),
        ("RUNQY_SENTRY_DSN", "http://key@127.0.0.1:1/1", "sentry_sdk"),
    ],
)
def test_without_its_packages_a_setting_ends_the_worker_with_what_to_install(
    world: World, setting: str, value: str, package: str
) -> None:
    script = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv = ['x']; import appliance.__main__ as m; "
    )
    command = (sys.executable, "-c", f"{script}sys.exit(m.main())")
    worker = world.worker(command, **{setting: value})

    assert worker.wait(60) == 2

    assert f"{setting}: needs packages that are not installed ({package}" in worker.log_text()


def test_nothing_of_them_is_imported_where_nothing_is_switched_on(world: World) -> None:
    """Redis's client, for one, imports OpenTelemetry by itself where that is installed."""
    script = """
import atexit, sys

def tell():
    names = [name for name, module in sys.modules.items() if module]
    print("imported:", [name for name in names if name.startswith(("opentelemetry", "sentry_sdk"))])

atexit.register(tell)
sys.argv = ["x"]
import appliance.__main__ as main
sys.exit(main.main())
"""
    world.serve("raw_echo")
    worker = world.worker((sys.executable, "-c", script))
    world.running(worker)
    worker.terminate()

    assert worker.wait(60) == 0
    assert "imported: []" in worker.log_text()
