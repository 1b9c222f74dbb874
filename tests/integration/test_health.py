"""Readiness, liveness and the probe, of a real worker."""

import json
import signal
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from appliance.exits import Exit
from harness import wait
from harness.ports import free_port
from harness.runtimes.process import WorkerProcess
from harness.server.faults import Fault
from tests.integration.world import World

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

    def codes(self) -> list[str]:
        return [reason["code"] for reason in self.get("/readyz")[1]["reasons"]]

    def until(self, *codes: str) -> None:
        wait.until(lambda: self.codes() == list(codes), 30, f"reasons {codes}", self.process.tail)


def test_a_worker_gets_ready_step_by_step_and_is_alive_all_along(world: World) -> None:
    world.server.faults.add("/worker/register", Fault(delay_s=1))
    world.serve({"main.py": "import time\ntime.sleep(1)\n" + STEADY})
    worker = Watched(world)
    seen: list[str] = []

    def ready() -> bool:
        status, answer = worker.get("/readyz")
        seen.extend(reason["code"] for reason in answer["reasons"] if reason["code"] not in seen)
        assert worker.get("/livez") == (200, {"live": True, "stuck": []})
        return status == 200

    wait.until(ready, 30, "the worker to be ready", worker.process.tail, longest_pause_s=0.01)
    assert seen == ["registering", "deploying", "process_not_ready"]
    assert worker.get("/readyz") == (200, {"ready": True, "status": "running", "reasons": []})
    probed = worker.process.run("health")
    assert (probed.returncode, probed.stdout, probed.stderr) == (Exit.OK, "ready\n", "")
    probed = worker.process.run("health", "--live")
    assert (probed.returncode, probed.stdout) == (Exit.OK, "live\n")


def test_a_degraded_worker_is_not_ready_but_alive(world: World) -> None:
    world.serve({"main.py": "raise SystemExit(3)\n"})
    worker = Watched(world, RUNQY_RECOVERY_MAX_RESTARTS="1")
    worker.until("process_degraded")

    probed = worker.process.run("health")
    assert probed.returncode == 1
    assert probed.stdout.startswith("not ready: inference: degraded: ")
    assert len(probed.stdout.splitlines()) == 1
    assert worker.process.run("health", "--live").returncode == Exit.OK


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
    worker.until("redis_unreachable", *others)
    assert worker.get("/livez")[0] == 200
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
    world.event(worker.process, "child.ready")
    wait.until(lambda: world.db.llen("asynq:{inference.default}:active"), 10, "the run", worker.process.tail)
    worker.process.terminate()
    worker.until("stopping")
    assert worker.get("/livez")[0] == 200
    assert worker.process.wait(10) == Exit.OK
    probed = worker.process.run("health")
    assert probed.returncode == 1
    assert "nobody answers at 127.0.0.1" in probed.stdout


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
        assert worker.wait(20) == Exit.STARTUP
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
    assert "RUNQY_HTTP_ADDR is not set" in unset.stderr
