"""Prometheus reads a worker: an independent reader of what ``/metrics`` says, with the rules people copy."""

import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import wait
from harness.sandbox.ports import free_port
from tests.integration.world import World

COMPOSE = Path(__file__).parents[2] / "compose"
PROMETHEUS = shutil.which("prometheus")
#: What may pass until a scrape and an evaluation have come, on a machine that does other things.
PATIENCE_S = 60

pytestmark = pytest.mark.skipif(
    PROMETHEUS is None and (os.geteuid() != 0 or shutil.which("apt-get") is None),
    reason="no prometheus, and no root with apt-get to install it: it is in Debian's package prometheus",
)


class Prometheus:
    """One that runs, and what it answers."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1/"

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer; None while it does not answer."""
        try:
            query = urllib.parse.urlencode(parameters)
            with urllib.request.urlopen(f"{self._url}{path}?{query}", timeout=10) as response:
                return json.load(response)["data"]
        except OSError:
            return None

    def value(self, query: str) -> float | None:
        """The one value of a query; None where there is none."""
        found = self.get("query", query=query)
        return float(found["result"][0]["value"][1]) if found and found["result"] else None

    def health(self) -> set[tuple[str, str]]:
        """What is said of the rules, each once: ok, or not evaluated yet, or why it could not be."""
        found = self.get("rules") or {"groups": []}
        rules = [rule for group in found["groups"] for rule in group["rules"]]
        return {(rule["health"], rule.get("lastError", "")) for rule in rules}

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        found = self.get("alerts") or {"alerts": []}
        return {alert["labels"]["alertname"] for alert in found["alerts"] if alert["state"] == "firing"}


@contextmanager
def reading(worker_port: int, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes a worker every second under the job's name, and has our rules."""
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(COMPOSE / "monitoring" / "alerts.yml")],
        "scrape_configs": [
            {"job_name": "runqy-worker", "static_configs": [{"targets": [f"127.0.0.1:{worker_port}"]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                PROMETHEUS or "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait(60)


def test_prometheus_understands_a_worker_and_raises_the_alarm_at_a_crash_loop(
    world: World, tmp_path: Path
) -> None:
    # given a worker whose code cannot start, and tasks
    world.serve({"main.py": "raise SystemExit(3)\n"})
    waiting = world.seed(3, {})
    port = free_port()
    worker = world.worker(
        RUNQY_HTTP_ADDR=f"127.0.0.1:{port}",
        RUNQY_RECOVERY_MAX_RESTARTS="3",
        RUNQY_RECOVERY_INITIAL_DELAY="50ms",
        RUNQY_DEGRADED_POLICY="hold",
    )
    (tmp_path / "prometheus").mkdir()
    with reading(port, tmp_path / "prometheus") as prometheus:

        def until(done: Any, what: str) -> None:
            def log() -> str:
                return worker.tail() + (tmp_path / "prometheus" / "log").read_text()[-2_000:]

            wait.until(done, PATIENCE_S, what, log)

        # then the alert of a crash loop fires, and none that is for something else
        until(lambda: "RunqyCrashLoop" in prometheus.firing(), "the alert")
        assert prometheus.firing() <= {"RunqyCrashLoop", "RunqyWorkerDegraded"}
        # and every rule could be evaluated, over a target without errors
        until(lambda: prometheus.health() == {("ok", "")}, "every rule to have been evaluated")
        (target,) = prometheus.get("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        # and it knows what waits, as autoscaling asks for it, and counters before their first event
        scaled = yaml.safe_load((COMPOSE / "kubernetes" / "scaled-object-prometheus.yaml").read_text())
        (trigger,) = scaled["spec"]["triggers"]
        until(lambda: prometheus.value(trigger["metadata"]["query"]) == len(waiting), "the tasks that wait")
        assert prometheus.value("sum(runqy_worker_ready)") == 0
        assert (
            prometheus.value('max(runqy_queue_oldest_pending_seconds{queue="inference.default"}) > bool 0')
            == 1
        )
        assert prometheus.value('sum(runqy_worker_tasks_total{outcome="archived"})') == 0
