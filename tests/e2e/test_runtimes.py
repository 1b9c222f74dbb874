"""What every runtime does with a worker: one suite, played on each of them."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from harness import wait
from harness.sandbox.runtimes.docker import OWNER_LABEL, RUN_LABEL, DockerRuntime, sweep_dead
from harness.sandbox.runtimes.owner import is_dead, ours
from harness.sandbox.runtimes.process import ProcessRuntime
from harness.sandbox.runtimes.protocol import CannotRun, Runtime, Worker

#: Stands for a worker: has a child, counts in a file while it is not frozen, ends with 7 when asked to.
SCRIPT = """
import json, os, pathlib, signal, subprocess, sys, time
scratch = pathlib.Path(os.environ["SCRATCH"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
signal.signal(signal.SIGUSR1, lambda *_: print("told", flush=True))
child = subprocess.Popen(["sleep", "1000"])
(scratch / "child").write_text(str(child.pid))
print("in the log: " + os.environ["WORD"], flush=True)
print(json.dumps({"event": "up"}), file=sys.stderr, flush=True)
hoard = bytearray(int(os.environ.get("HOARD", "0")))
for number in range(10 ** 9):
    with (scratch / "count").open("a") as count:
        count.write(".")
    time.sleep(0.02)
"""

Make = Callable[..., Worker]


@pytest.fixture(scope="module", params=["process", pytest.param("docker", marks=pytest.mark.image)])
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    stand_in: Runtime
    if request.param == "docker":
        image = request.getfixturevalue("image")
        stand_in = DockerRuntime(image, ["python3", "-c", SCRIPT])
    else:
        stand_in = ProcessRuntime([sys.executable, "-c", SCRIPT])
    with stand_in as entered:
        yield entered


@pytest.fixture
def make(runtime: Runtime, tmp_path: Path) -> Iterator[Make]:
    made: list[Worker] = []

    def worker(memory_bytes: int | None = None, **env: str) -> Worker:
        env = {
            "WORD": "hello",
            "SCRATCH": runtime.scratch(tmp_path / "w"),
            **runtime.settings(tmp_path),
            **env,
        }
        made.append(runtime.worker("stand-in", env, tmp_path / "w", memory_bytes=memory_bytes))
        return made[-1]

    yield worker
    for each in made:
        each.close()


def up(worker: Worker) -> Worker:
    """Wait until the stand-in counts."""
    wait.until(lambda: counted(worker), 60, "the worker to be up", worker.tail)
    return worker


def counted(worker: Worker) -> int:
    return len(worker.read_text(worker.environment["SCRATCH"] + "/count"))


def child_of(worker: Worker) -> int:
    return int(worker.read_text(worker.environment["SCRATCH"] + "/child"))


def test_a_worker_is_seen_by_its_log_its_files_and_its_processes(make: Make) -> None:
    worker = up(make(WORD="grüße").start())
    assert worker.exit_status is None
    assert "in the log: grüße" in worker.log_text()
    assert {"event": "up"} in worker.log_events()
    assert "in the log" in worker.tail()
    assert worker.read_text(worker.environment["SCRATCH"] + "/no-such-file") == ""
    assert worker.children() == [child_of(worker)]


def test_a_worker_is_asked_to_end_and_its_files_can_still_be_read(make: Make) -> None:
    worker = up(make().start())
    worker.terminate()
    assert worker.wait(60) == 7
    assert worker.exit_status == 7
    assert counted(worker)
    worker.signal(signal.SIGTERM)  # nobody is there to hear it


def test_a_worker_that_is_killed_has_the_signals_status(make: Make) -> None:
    worker = up(make().start())
    worker.kill()
    assert worker.wait(60) == -signal.SIGKILL


def test_a_wait_that_is_too_long_shows_the_log(make: Make) -> None:
    worker = up(make().start())
    with pytest.raises(wait.TimedOut, match="in the log: hello"):
        worker.wait(0.1)


def test_a_signal_reaches_the_worker_and_not_its_child(make: Make) -> None:
    worker = up(make().start())
    worker.signal(signal.SIGUSR1)
    wait.until(lambda: "told" in worker.log_text(), 60, "the signal to arrive", worker.tail)
    assert worker.children() == [child_of(worker)]


def test_a_child_is_signalled_without_the_worker(make: Make) -> None:
    worker = up(make().start())
    worker.signal_child(child_of(worker), signal.SIGKILL)
    wait.until(lambda: worker.children() == [], 60, "the child to be gone")
    worker.signal_child(child_of(worker), signal.SIGKILL)  # it has ended: nothing happens
    assert worker.exit_status is None


def test_a_paused_worker_stands_still_and_then_goes_on(make: Make) -> None:
    worker = up(make().start())
    worker.pause()
    before = counted(worker)
    until_s = time.monotonic() + 0.5
    wait.until(lambda: time.monotonic() > until_s, 60, "half a second to pass")
    assert counted(worker) == before
    assert worker.exit_status is None
    worker.resume()
    wait.until(lambda: counted(worker) > before, 60, "it to go on")


def test_a_paused_worker_can_be_closed(make: Make) -> None:
    worker = up(make().start())
    worker.pause()
    worker.close()
    worker.close()


def test_a_restarted_worker_has_its_files_and_its_log_goes_on(make: Make) -> None:
    worker = up(make().start())
    with pytest.raises(RuntimeError, match="still runs"):
        worker.restart()
    worker.terminate()
    worker.wait(60)
    before = counted(worker)
    worker.restart()
    wait.until(lambda: counted(worker) > before, 60, "it to count on", worker.tail)
    assert worker.log_text().count("in the log: hello") == 2


def test_a_worker_is_started_once(make: Make) -> None:
    worker = make()
    with pytest.raises(RuntimeError, match="not started yet"):
        _ = worker.exit_status
    worker.start()
    with pytest.raises(RuntimeError, match="started already"):
        worker.start()


def test_memory_is_limited_where_the_runtime_can(runtime: Runtime, make: Make) -> None:
    if runtime.name == "process":
        with pytest.raises(CannotRun, match="the docker runtime can"):
            make(memory_bytes=64 * 2**20)
        return
    # given a limit of 64 MiB, and a worker that wants 512
    worker = make(memory_bytes=64 * 2**20, HOARD=str(512 * 2**20)).start()
    # then the kernel ends it
    assert worker.wait(60) == -signal.SIGKILL


# Clean-up at the engine --------------------------------------------------------------------------------


def left(run: str) -> list[str]:
    ours = {"label": f"{RUN_LABEL}={run}"}
    engine = docker.DockerClient.from_env()
    return [
        *(each.name for each in engine.containers.list(all=True, filters=ours, ignore_removed=True)),
        *(each.name for each in engine.networks.list(filters=ours)),
    ]


def killed_run(image: str, containers: int) -> str:
    """A run whose process is killed with so many containers up."""
    script = (
        "import pathlib, sys, time\nfrom harness.sandbox.runtimes.docker import DockerRuntime\n"
        f"runtime = DockerRuntime({image!r}, ['sleep', '1000']).__enter__()\n"
        f"for n in range({containers}): runtime.worker(f'w{{n}}', {{}}, pathlib.Path('/nowhere')).start()\n"
        "print(runtime.run_id, flush=True)\ntime.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        run = process.stdout.readline().strip()
        # Before its end: from then on any run may remove what it left.
        assert len(left(run)) == containers + 1
        process.kill()
    return run


@pytest.mark.image
def test_runs_that_begin_at_once_remove_together_what_a_killed_one_left(image: str) -> None:
    run = killed_run(image, 4)
    # So many that one of them asks for a removal just as another's ends.
    engines = [docker.DockerClient.from_env() for _ in range(6)]
    with ThreadPoolExecutor(len(engines)) as pool:
        assert list(pool.map(sweep_dead, engines)) == [None] * len(engines)
    assert left(run) == []


@pytest.mark.image
def test_what_a_killed_run_left_is_removed_by_the_next_one_and_a_living_runs_is_not(image: str) -> None:
    run = killed_run(image, 1)
    # when another run begins, while a third one is under way
    with DockerRuntime(image) as living, DockerRuntime(image):
        # then
        assert left(run) == []
        assert len(left(living.run_id)) == 1
    assert left(living.run_id) == []


def test_an_owner_is_dead_when_its_pid_is_gone_or_somebody_elses() -> None:
    host, boot, namespace, pid, started = ours().split("/")

    def owner(**changes: str) -> str:
        parts = {"host": host, "boot": boot, "namespace": namespace, "pid": pid, "started": started}
        return "/".join((parts | changes).values())

    assert not is_dead(ours())
    assert is_dead(owner(pid="4194305"))
    assert is_dead(owner(started="1"))
    assert is_dead(owner(boot="before"))
    # nothing is known of these
    assert not is_dead(owner(host="another", pid="4194305"))
    assert not is_dead(owner(namespace="pid:[1]", pid="4194305"))
    assert not is_dead("nonsense")


@pytest.mark.image
def test_owner_and_run_are_on_everything_a_run_makes(image: str) -> None:
    with DockerRuntime(image) as runtime:
        engine = docker.DockerClient.from_env()
        (network,) = engine.networks.list(filters={"label": f"{RUN_LABEL}={runtime.run_id}"})
        assert network.attrs["Labels"][OWNER_LABEL] == ours()
