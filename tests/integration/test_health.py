"""Readiness, liveness and the probe, of a real worker."""

import json
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from appliance.exits import Exit
from harness import wait
from harness.sandbox.ports import free_port
from harness.sandbox.runtimes.process import WorkerProcess
from harness.server.faults import Fault
from tests.integration.world import World

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"
MORTAL = """
import json, os, sys, time
print(json.dumps({"status": "ready"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    payload = request["payload"]
    if payload.get("leak"):
        print(os.environ["TOKEN"], file=sys.stderr, flush=True)
    if payload.get("die") and request["retry_count"] == 0:
        os._exit(3)
    time.sleep(payload.get("s", 0))
    error = "no good" if payload.get("fail") else None
    print(json.dumps({"task_id": request["task_id"], "result": 1, "error": error}), flush=True)
"""
STEADY = """
import json, sys
print(json.dumps({"status": "ready"}), flush=True)
for line in sys.stdin:
    print(json.dumps({"task_id": json.loads(line)["task_id"], "result": 1}), flush=True)
"""


class Watched:
    """A worker that serves its health."""

    def __init__(self, world: World, **env: str) -> None:
        self.port = free_port()
        self.process: WorkerProcess = world.worker(RUNQY_HTTP_ADDR=f"127.0.0.1:{self.port}", **env)

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)

    def text(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as response:
                return response.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.read().decode()

    def codes(self) -> list[str]:
        return [reason["code"] for reason in self.get("/readyz")[1]["reasons"]]

    def until(self, *codes: str) -> None:
        wait.until(lambda: self.codes() == list(codes), 60, f"reasons {codes}", self.process.tail)


def test_a_worker_gets_ready_step_by_step_and_is_alive_all_along(world: World) -> None:
    # For longer than this test may be late on a busy machine.
    world.server.faults.add("/worker/register", Fault(delay_s=4))
    world.serve({"main.py": "import time\ntime.sleep(4)\n" + STEADY})
    worker = Watched(world)
    seen: list[str] = []

    def ready() -> bool:
        status, answer = worker.get("/readyz")
        seen.extend(reason["code"] for reason in answer["reasons"] if reason["code"] not in seen)
        # For the moment between the server's answer and that of Redis, which a look may hit.
        seen[:] = [code for code in seen if code != "redis_unavailable"]
        assert worker.get("/livez") == (200, {"live": True, "stuck": []})
        return status == 200

    wait.until(ready, 60, "the worker to be ready", worker.process.tail, longest_pause_s=0.01)
    # The deployment takes as long as it takes, which may be between two looks.
    assert [code for code in seen if code != "deploying"] == ["registering", "process_not_ready"]
    assert "deploying" not in (seen[0], seen[-1])
    assert worker.get("/readyz") == (200, {"ready": True, "status": "running", "reasons": []})
    probed = worker.process.run("health")
    assert (probed.returncode, probed.stdout, probed.stderr) == (Exit.OK, "ready\n", "")
    probed = worker.process.run("health", "--live")
    assert (probed.returncode, probed.stdout) == (Exit.OK, "live\n")
    probed = worker.process.run("health", "--started")
    assert (probed.returncode, probed.stdout) == (Exit.OK, "started\n")


def test_a_degraded_worker_is_not_ready_but_alive(world: World) -> None:
    world.serve({"main.py": "raise SystemExit(3)\n"})
    worker = Watched(world, RUNQY_RECOVERY_MAX_RESTARTS="1")
    worker.until("process_degraded")

    probed = worker.process.run("health")
    assert probed.returncode == 1
    assert probed.stdout.startswith("not ready: inference: degraded: ")
    assert len(probed.stdout.splitlines()) == 1
    assert worker.process.run("health", "--live").returncode == Exit.OK
    # A release that cannot start passes no gate, however long it is looked at.
    probed = worker.process.run("health", "--started")
    assert probed.returncode == 1
    assert probed.stdout.startswith("not started: inference: degraded: ")


def test_a_crash_shows_until_the_process_is_back(world: World) -> None:
    world.serve({"main.py": STEADY})
    worker = Watched(world, RUNQY_RECOVERY_INITIAL_DELAY="1s")
    worker.until()
    (child,) = psutil.Process(worker.process.pid).children()
    child.kill()
    worker.until("process_recovering")
    worker.until()


@pytest.mark.parametrize("degraded", [False, True])
def test_a_redis_that_is_away_shows_until_it_is_back(world: World, degraded: bool) -> None:
    world.serve({"main.py": "raise SystemExit(3)\n" if degraded else STEADY})
    worker = Watched(world, RUNQY_RECOVERY_ENABLED="false")
    others = ["process_degraded"] if degraded else []
    worker.until(*others)
    world.redis.stop()
    worker.until("redis_unavailable", *others)
    assert worker.get("/livez")[0] == 200
    assert worker.get("/startedz")[0] == (503 if degraded else 200)
    world.redis.start()
    worker.until(*others)


def test_a_worker_that_drains_is_not_ready_any_more_and_then_gone(world: World) -> None:
    world.serve(
        {
            "main.py": STEADY.replace(
                'print(json.dumps({"task', 'import time; time.sleep(2)\n    print(json.dumps({"task'
            )
        }
    )
    world.seed(1)
    worker = Watched(world)
    world.event(worker.process, "process.ready")
    wait.until(lambda: world.db.llen("asynq:{inference.default}:active"), 60, "the run", worker.process.tail)
    worker.process.terminate()
    worker.until("stopping")
    assert worker.get("/livez")[0] == 200
    assert worker.process.wait(60) == Exit.OK
    probed = worker.process.run("health")
    assert probed.returncode == 1
    assert "nothing answers at 127.0.0.1" in probed.stdout


def test_a_worker_whose_event_loop_hangs_gives_no_answer(world: World) -> None:
    world.serve({"main.py": STEADY})
    worker = Watched(world)
    worker.until()
    worker.process.signal(signal.SIGSTOP)
    try:
        probed = worker.process.run("health", "--live")
    finally:
        worker.process.signal(signal.SIGCONT)
    assert probed.returncode == 1
    assert "no answer from 127.0.0.1" in probed.stdout


def test_a_port_in_use_ends_the_worker_with_the_start_up_status(world: World) -> None:
    world.serve({"main.py": STEADY})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        addr = f"127.0.0.1:{taken.getsockname()[1]}"
        worker = world.worker(RUNQY_HTTP_ADDR=addr)
        assert worker.wait(60) == Exit.STARTUP
    failed = world.event(worker, "worker.failed")
    assert failed["reason"] == f"RUNQY_HTTP_ADDR={addr!r}: cannot listen there: Address already in use"


def test_the_probe_reads_the_address_from_the_file_too(world: World, tmp_path: Path) -> None:
    world.serve({"main.py": STEADY})
    worker = Watched(world)
    worker.until()
    file = tmp_path / "own.yml"
    file.write_text(f"http:\n  addr: ':{worker.port}'\n")
    elsewhere = WorkerProcess((sys.executable, "-m", "appliance"), {}, tmp_path / "elsewhere")
    elsewhere.log_path.parent.mkdir()

    probed = elsewhere.run("health", "-config", str(file))
    assert (probed.returncode, probed.stdout) == (Exit.OK, "ready\n")
    unset = elsewhere.run("health")
    assert unset.returncode == Exit.CONFIGURATION
    assert "RUNQY_HTTP_ADDR: is not set" in unset.stderr


def _families(text: str) -> dict[str, tuple[str, set[str]]]:
    """Of each metric family its type and its labels."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            {label for sample in family.samples for label in sample.labels if label != "le"},
        )
        for family in text_string_to_metric_families(text)
    }


def _documented() -> dict[str, tuple[str, set[str]]]:
    rows = re.findall(r"^\| `((?:runqy|process)_\w+)` \| (\w+) \|([^|]*)\|", DOCS.read_text(), re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def _value(text: str, name: str, **labels: str) -> float:
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def test_metrics_count_what_happened_and_the_documentation_has_them_all(world: World) -> None:
    world.serve({"main.py": MORTAL})
    world.seed(5, {})
    world.seed(1, {"die": True})
    world.seed(1, {"fail": True})
    worker = Watched(world)
    world.completed(6, worker.process)
    text = worker.text("/metrics")

    def tasks(outcome: str) -> float:
        return _value(text, "runqy_worker_tasks_total", queue="inference.default", outcome=outcome)

    def settled() -> bool:
        nonlocal text
        text = worker.text("/metrics")
        return tasks("archived") == 1

    wait.until(settled, 60, "the failed task", worker.process.tail)
    assert (tasks("completed"), tasks("retried"), tasks("archived")) == (6, 1, 1)
    assert _value(text, "runqy_worker_task_failures_total", reason="crashed") == 1
    assert _value(text, "runqy_worker_task_failures_total", reason="failed") == 1
    assert _value(text, "runqy_worker_task_run_seconds_count") == 8
    assert _value(text, "runqy_worker_task_wait_seconds_count") >= 7
    assert _value(text, "runqy_worker_restarts_total") == 1
    assert _value(text, "runqy_worker_ready") == 1
    assert _value(text, "runqy_worker_process_memory_bytes", parent="inference") > 1_000_000
    assert _value(text, "runqy_worker_children_cpu_seconds_total") > 0
    assert _families(text) == _documented()


def test_the_status_tells_of_tasks_queues_crashes_and_lines_but_no_secrets(world: World) -> None:
    vaults = {"TOKEN": "vault-canary-77"}
    world.serve({"main.py": MORTAL}, vaults={"keys": vaults})
    world.seed(1, {"die": True})
    world.seed(1, {"leak": True, "s": 60}, id="named-vault-canary-77")
    waiting = world.seed(3, {})
    worker = Watched(world)
    world.event(worker.process, "process.crashed")

    def running() -> dict[str, Any] | None:
        content = worker.get("/status")[1]
        return content if content["parents"] and content["parents"][0]["tasks"] and content["ready"] else None

    content = wait.until(running, 60, "a running task", worker.process.tail)
    assert content is not None
    (parent,) = content["parents"]
    assert (parent["parent"], parent["state"], parent["slots"]) == (
        "inference",
        "ready",
        {"total": 1, "in_use": 1},
    )
    # Those that were fetched ahead go back: the run before was a short one, this one is not.
    wait.until(
        lambda: worker.get("/status")[1]["parents"][0]["queues"][0]["depth"]["pending"] >= len(waiting),
        60,
        "the others to wait",
        worker.process.tail,
    )
    assert [moment["what"] for moment in content["timeline"]] == ["ready", "crashed", "recovering", "ready"]
    assert set(content["startup"]) == {"import", "register", "redis", "deploy", "process"}
    wait.until(lambda: "********" in worker.text("/status"), 60, "the leak to be logged, masked")
    shown = "".join(worker.text(path) for path in ("/", "/status", "/metrics", "/readyz", "/livez"))
    shown += worker.process.run("status").stdout + worker.process.run("status", "--json").stdout
    assert "running " in shown
    for secret in (*vaults.values(), world.server.worker_key):
        assert secret not in shown


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium to look at the page with")
def test_the_page_shows_in_a_browser_what_goes_on_and_stays_fresh(world: World, tmp_path: Path) -> None:
    world.serve({"main.py": MORTAL})
    world.seed(1, {"s": 60}, id="<img src=x onerror=document.title='broken'>")
    worker = Watched(world)
    wait.until(lambda: "&lt;img" in worker.text("/"), 60, "the task to run", worker.process.tail)

    picture = tmp_path / "page.png"
    dom = _browse(worker, tmp_path, "--dump-dom")
    assert re.search(r'<html[^>]* data-refreshes="\d', dom), dom
    assert 'class="bad"' not in dom
    assert "<title>inference: ready · runqy worker</title>" in dom
    assert "&lt;img src=x onerror" in dom
    assert "<img" not in dom
    _browse(worker, tmp_path, f"--screenshot={picture}", "--window-size=390,844")
    content = picture.read_bytes()
    assert struct.unpack(">II", content[16:24]) == (390, 844)
    assert len(content) > 15_000, "an empty page is a small picture"


def _browse(worker: Watched, profile: Path, *options: str) -> str:
    browser = (
        "chromium",
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={profile}/browser",
    )
    page = f"http://127.0.0.1:{worker.port}/"
    shown = subprocess.run(
        [*browser, f"--user-data-dir={profile}/browser", "--virtual-time-budget=4000", *options, page],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return shown.stdout
