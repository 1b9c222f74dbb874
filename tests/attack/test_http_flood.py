"""The attacker is an HTTP client: bursts, floods and clients that say nothing cost tasks next to nothing."""

import contextlib
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.observe.http import BURST_S, COST_S, SHARE
from harness import wait
from harness.queue import asynq
from harness.sandbox.ports import free_port
from harness.sandbox.runtimes.process import WorkerProcess
from tests.integration import world as worlds
from tests.integration.world import QUEUE, World

FILES = 1_024


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with worlds.world(tmp_path_factory.mktemp("world")) as fresh:
        fresh.serve_sleeper()
        yield fresh


@pytest.fixture(scope="module")
def addr() -> tuple[str, int]:
    return "127.0.0.1", free_port()


@pytest.fixture(scope="module")
def worker(world: World, addr: tuple[str, int]) -> WorkerProcess:
    """One that may open as many files as a shell usually lets it."""
    started = world.worker(RUNQY_HTTP_ADDR=f"{addr[0]}:{addr[1]}", RUNQY_RECOVERY_MAX_RESTARTS="1000")
    world.running(started)
    resource.prlimit(started.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
    return started


def _get(addr: tuple[str, int], path: str) -> bytes:
    with socket.create_connection(addr, 30) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        received = b""
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(65_536):
                received += chunk
        return received


def _open_files(worker: WorkerProcess) -> int:
    return len(_descriptors(worker))


def _descriptors(worker: WorkerProcess) -> set[int]:
    return {int(path.name) for path in Path(f"/proc/{worker.pid}/fd").iterdir()}


def _works(world: World, worker: WorkerProcess) -> None:
    (task_id,) = world.seed(1)
    done = f"{task_id} to be done"
    wait.until(lambda: asynq.where_is(world.db, QUEUE, task_id) == "completed", 60, done, worker.tail)


def test_a_burst_of_connections_is_bounded_and_the_next_probe_answered(
    world: World, worker: WorkerProcess, addr: tuple[str, int]
) -> None:
    before = _open_files(worker)
    with contextlib.ExitStack() as stack:
        for _ in range(2 * FILES):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex(addr)
        most = 0

        def answered() -> bool:
            nonlocal most
            most = max(most, _open_files(worker))
            with contextlib.suppress(OSError):
                return b'"live": true' in _get(addr, "/livez")
            return False

        wait.until(answered, 60, "a probe's answer", worker.tail)
        assert most < before + 100
        _works(world, worker)


def test_metrics_are_made_at_most_once_a_second_and_probes_at_once(
    worker: WorkerProcess, addr: tuple[str, int]
) -> None:
    """By the time a process has run, which every rendering reads anew."""
    begun_s = time.monotonic()
    made = {_get(addr, "/metrics") for _ in range(50)}
    took_s = time.monotonic() - begun_s

    assert 1 <= len(made) <= 2 + took_s


def test_a_flood_gets_no_more_than_its_share_and_a_probe_in_the_middle_an_answer(
    worker: WorkerProcess, addr: tuple[str, int]
) -> None:
    served, stop = [0], threading.Event()

    def flood() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                served[0] += b"200 OK" in _get(addr, "/metrics")

    begun_s = time.monotonic()
    threads = [threading.Thread(target=flood) for _ in range(16)]
    for thread in threads:
        thread.start()
    try:
        # More than they may have at once: without the share they would be there long before their time.
        many, over_s = 1.25 * BURST_S / COST_S, begun_s + 3
        wait.until(lambda: served[0] > many or time.monotonic() > over_s, 60, "the flood", worker.tail)
        assert b'"live": true' in _get(addr, "/livez")
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert served[0] <= (BURST_S + SHARE * (time.monotonic() - begun_s)) / COST_S


def test_without_a_descriptor_left_nothing_ends_and_all_goes_on_later(
    world: World, worker: WorkerProcess, addr: tuple[str, int]
) -> None:
    """Accept, psutil, spawn and connections fail alike."""
    (beat,) = world.heartbeats()
    crashes = len([event for event in worker.log_events() if event["event"] == "process.crashed"])
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (_lowest_free(worker), FILES))

    with socket.create_connection(addr, 30) as waiting:
        waiting.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
        world.event(worker, "http.exhausted")
        world.event(worker, "system.unreadable")
        os.kill(_task_process(worker), signal.SIGKILL)
        world.event(worker, "process.crashed", crashes + 3)
        for client in world.db.client_list():
            if beat["worker_id"] in client["name"]:
                with contextlib.suppress(Exception):
                    world.db.client_kill_filter(_id=client["id"])
        world.event(worker, "loop.redis_unavailable")

        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        waiting.settimeout(30)
        assert b'"live": true' in waiting.recv(10_000)
    _works(world, worker)
    last = int(beat["last_beat"])
    wait.until(lambda: int(world.heartbeats()[0]["last_beat"]) > last, 60, "the next beat", worker.tail)


def _lowest_free(worker: WorkerProcess) -> int:
    """The limit at which no further descriptor can be had: below what is open there may be gaps."""
    taken = _descriptors(worker)
    return next(number for number in range(len(taken) + 1) if number not in taken)


def _task_process(worker: WorkerProcess) -> int:
    pids = [event["pid"] for event in worker.log_events() if event["event"] == "process.ready"]
    assert pids
    return int(pids[-1])
