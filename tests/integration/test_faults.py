"""Each fault of programs, Redis, disks and clocks, by its measured effect, and that it ends."""

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from harness import wait
from harness.faults import clock, disk, processes
from harness.faults import redis as redis_faults
from harness.sandbox.redis import RedisServer
from harness.sandbox.runtimes.process import WorkerProcess
from tests.machine import left_out_where_nothing_can_be_mounted

TICKER = "import sys, time\nwhile True:\n    print(time.monotonic(), flush=True)\n    time.sleep(0.01)\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), persistent=True) as running:
        yield running


@pytest.fixture
def db(server: RedisServer) -> Iterator[redis.Redis]:
    with redis_faults.spare(server.client()) as client:
        client.flushall()
        yield client


@pytest.fixture
def ticking(tmp_path: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess([sys.executable, "-c", TICKER], {}, tmp_path) as worker:
        wait.until(worker.log_text, 60, "the first tick")
        yield worker


def test_a_process_that_is_stopped_does_nothing_until_it_goes_on(ticking: WorkerProcess) -> None:
    with processes.stopped(ticking.pid):
        stands = psutil.Process(ticking.pid)
        wait.until(lambda: stands.status() == psutil.STATUS_STOPPED, 60, "it to stand still")
        seen = ticking.log_text()
        time.sleep(0.1)
        assert ticking.log_text() == seen
    wait.until(lambda: ticking.log_text() != seen, 60, "it to go on")


def test_a_task_process_is_told_from_others_by_its_command_line_and_killed_alone(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("import time\ntime.sleep(60)\n")
    parent = f"import subprocess, sys; subprocess.run([sys.executable, 'main.py'], cwd={str(tmp_path)!r})"
    parent += "; import time; time.sleep(60)"
    with WorkerProcess([sys.executable, "-c", parent], {}, tmp_path) as worker:
        (victim,) = wait.until(lambda: processes.task_processes(worker, ["main.py"]), 60, "the task process")
        processes.kill(victim)
        wait.until(lambda: not processes.task_processes(worker, ["main.py"]), 60, "its end")
        assert worker.exit_status is None
        processes.kill(victim)  # gone already: nothing happens


def test_killed_clients_have_to_connect_again_and_spared_ones_do_not(
    server: RedisServer, db: redis.Redis
) -> None:
    with server.client() as client:
        before = client.client_id()
        spared = db.client_id()
        assert redis_faults.kill_clients(db) == 1
        assert client.client_id() > before
    assert db.client_id() == spared


def test_a_read_only_redis_refuses_writes_and_keeps_what_it_has(db: redis.Redis) -> None:
    db.set("key", "before")
    with redis_faults.read_only(db):
        with pytest.raises(redis.exceptions.ReadOnlyError):
            db.set("key", "during")
        assert db.get("key") == b"before"
    assert db.set("key", "after")


def test_flushed_scripts_are_unknown(db: redis.Redis) -> None:
    digest = db.script_load("return 1")
    redis_faults.flush_scripts(db)
    with pytest.raises(redis.exceptions.NoScriptError):
        db.evalsha(digest, 0)


def test_a_power_cut_refuses_connections_and_costs_nothing_that_was_persisted(
    server: RedisServer, db: redis.Redis
) -> None:
    db.set("key", "value")
    with redis_faults.down(server), pytest.raises(redis.ConnectionError):
        db.ping()
    assert db.get("key") == b"value"


def test_a_redis_that_forgets_is_empty_and_has_lost_its_clients(server: RedisServer, db: redis.Redis) -> None:
    db.set("key", "value")
    pid = server.pid
    redis_faults.forget(server, db)
    assert server.pid != pid
    assert db.keys() == []


def test_a_redis_that_stands_still_answers_afterwards(server: RedisServer, db: redis.Redis) -> None:
    assert server.pid is not None
    with server.client() as client, processes.stopped(server.pid):
        client.connection_pool.connection_kwargs["socket_timeout"] = 0.2
        with pytest.raises(redis.exceptions.TimeoutError):
            client.ping()
    assert db.ping()


def test_a_full_disk_takes_no_more_and_takes_it_again_afterwards(tmp_path: Path) -> None:
    with left_out_where_nothing_can_be_mounted(), disk.small_disk(tmp_path / "small", 1 << 20) as small:
        with small.full(), pytest.raises(OSError, match="No space left") as caught:
            (small.folder / "more").write_bytes(b"x" * 65_536)
        assert caught.value.errno == errno.ENOSPC
        (small.folder / "more").write_bytes(b"x" * 65_536)
    assert not os.path.ismount(tmp_path / "small")
    assert list((tmp_path / "small").iterdir()) == []


@pytest.mark.parametrize(
    "order",
    [
        "{work}; kill -TERM $PPID; sleep 1",
        "kill -TERM $PPID; sleep 0.2; {work}",
        # A terminal's Ctrl-C goes to the whole group.
        "kill -INT -$PPID; sleep 0.2; {work}",
    ],
)
@pytest.mark.parametrize("program", ["mount", "umount"])
def test_interrupted_while_it_is_mounted_or_taken_down_nothing_stays_mounted(
    tmp_path: Path, program: str, order: str
) -> None:
    with left_out_where_nothing_can_be_mounted(), disk.small_disk(tmp_path / "tried", 1 << 20):
        pass
    script = order.format(work=f'{shutil.which(program)} "$@"')
    (tmp_path / program).write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / program).chmod(0o755)
    small = tmp_path / "small"
    code = f"""
import pathlib
from harness.failure import interrupt, on_interruption
from harness.faults import disk

on_interruption(interrupt)
with disk.small_disk(pathlib.Path({str(small)!r}), 1 << 20):
    print("used")
"""
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            start_new_session=True,
        )
        assert "Interrupted: SIG" in done.stderr
        assert done.stdout == ("used\n" if program == "umount" else "")
        assert not os.path.ismount(small)
    finally:
        subprocess.run(["umount", "--lazy", str(small)], capture_output=True, check=False)


@pytest.mark.parametrize("offset_s", [3_600, -86_400])
def test_a_skewed_clock_is_wrong_by_so_much_and_measures_rightly(offset_s: int) -> None:
    code = "import time; print(time.time(), time.monotonic())"
    said = _run_skewed(code, offset_s)
    assert said.returncode == 0
    wall_s, monotonic_s = map(float, said.stdout.split())
    assert wall_s - time.time() == pytest.approx(offset_s, abs=10)
    assert monotonic_s == pytest.approx(time.monotonic(), abs=10)


def test_what_a_skewed_program_shares_is_cleared_away_when_it_was_killed() -> None:
    code = "import os; print(os.getpid(), flush=True); os.kill(os.getpid(), 9)"
    pid = int(_run_skewed(code, 60).stdout)
    assert _shared_by(pid)

    clock.clear_away(pid)

    assert _shared_by(pid) == []


def _run_skewed(code: str, offset_s: int) -> "subprocess.CompletedProcess[bytes]":
    try:
        environment = {**os.environ, **clock.skewed(offset_s)}
    except clock.Unavailable as exc:
        pytest.skip(str(exc))
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)


def _shared_by(pid: int) -> list[str]:
    return [entry.name for entry in Path("/dev/shm").iterdir() if entry.name.endswith(f"_{pid}")]
