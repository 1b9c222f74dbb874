"""The workers a user would pick instead, each from its own environment, in one process.

Each is set up as its own documentation would have it for many short tasks: results in Redis, nothing
logged for a task, no forks. Their task code is in ``programs``.
"""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import redis

from harness.bench.rig.common import CONCURRENCIES
from harness.bench.rig.contestant import LOOK_EVERY_S, Running
from harness.failure import CommandFailed
from harness.sandbox import patience
from harness.sandbox.redis import RedisServer
from harness.sandbox.runtimes.process import WorkerProcess

PROGRAMS = Path(__file__).with_name("programs")
#: Seconds for enqueueing, or for a whole latency measurement.
CLIENT_TIMEOUT_S = 600.0
START_TIMEOUT_S = 60.0
BROKER_DB, RESULT_DB = 0, 1


@dataclass(frozen=True)
class Peer:
    """How one of them is started (arguments after its environment's Python) and where its results are.

    ``results`` counts them with one command, given a client of the broker's and one of the results'
    database; ``enqueued`` are the tasks put in so far, for those where only what is left can be counted.
    """

    name: str
    how: str
    worker: Callable[[int], list[str]]
    results: Callable[[Any, Any, int], int]
    concurrencies: tuple[int, ...] = CONCURRENCIES


def _celery(concurrency: int) -> list[str]:
    pool = ["--pool=solo"] if concurrency == 1 else ["--pool=threads", f"--concurrency={concurrency}"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"]
    return ["-m", "celery", "-A", "on_celery", "worker", *pool, *quiet]


def _rq(_: int) -> list[str]:
    return ["-m", "rq.cli", "worker", "-w", "rq.SimpleWorker", "-q", "-u", "{broker}", "bench"]


def _dramatiq(concurrency: int) -> list[str]:
    return ["-m", "dramatiq", "on_dramatiq", "--processes", "1", "--threads", str(concurrency)]


def _huey(concurrency: int) -> list[str]:
    workers = ["-k", "thread", "-w", str(concurrency)]
    return ["-m", "huey.bin.huey_consumer", "on_huey.huey", *workers, "-n", "-q"]


def _arq(_: int) -> list[str]:
    # Its command line would log every task.
    return ["-c", "import arq, on_arq; arq.run_worker(on_arq.WorkerSettings)"]


PEERS = (
    Peer(
        "Celery",
        "solo pool at 1, threads above; prefetch 64 messages; no gossip, mingle or heartbeat",
        _celery,
        lambda _, results, __: results.dbsize(),
    ),
    Peer(
        "RQ",
        "SimpleWorker (no fork); one task at a time is all it can do in one process",
        _rq,
        lambda broker, _, __: broker.zcard("rq:finished:bench"),
        concurrencies=(1,),
    ),
    Peer(
        "Dramatiq",
        "1 process, as many threads; prefetch 64 messages; Results in Redis",
        _dramatiq,
        lambda _, results, __: results.dbsize(),
    ),
    Peer(
        "Huey",
        "threads; blocking pop; no periodic tasks; results in a hash",
        _huey,
        lambda broker, _, __: broker.hlen("huey.results.bench"),
    ),
    Peer(
        "arq",
        "max_jobs; poll_delay 1 ms instead of 500 ms: at max_jobs 1 it takes one task a poll",
        _arq,
        lambda broker, _, enqueued: max(0, enqueued - broker.zcard("arq:queue")),
    ),
)


class PeerContestant:
    """A peer in the run's Redis; ``environment`` is the virtual environment it is installed in."""

    def __init__(self, peer: Peer, environment: Path, server: RedisServer, folder: Path) -> None:
        self._peer = peer
        self._python = environment / "bin" / "python"
        self._folder = folder
        self._broker = redis.Redis(host=server.host, port=server.port, db=BROKER_DB)
        self._results = redis.Redis(host=server.host, port=server.port, db=RESULT_DB)
        self._variables = {
            "BENCH_REDIS_HOST": server.host,
            "BENCH_REDIS_PORT": str(server.port),
            "PYTHONPATH": str(PROGRAMS),
            "PYTHONDONTWRITEBYTECODE": "1",
            "dramatiq_queue_prefetch": "64",
        }
        self._url = f"redis://{server.host}:{server.port}/{BROKER_DB}"
        self._enqueued = 0
        self._started = 0
        self.name, self.how, self.concurrencies = peer.name, peer.how, peer.concurrencies

    def enqueue(self, count: int) -> None:
        """See :class:`~harness.bench.rig.contestant.Contestant`; by the peer's own client."""
        # Redis is emptied between measurements, never within one.
        fresh: Any = self._broker.dbsize()
        self._enqueued = count if fresh == 0 else self._enqueued + count
        self._client("enqueue", count)

    def done(self) -> int:
        """Results stored."""
        return self._peer.results(self._broker, self._results, self._enqueued)

    def start(self, concurrency: int) -> WorkerProcess:
        """Start its worker."""
        self._started += 1
        arguments = [part.format(broker=self._url) for part in self._peer.worker(concurrency)]
        variables = {**self._variables, "BENCH_CONCURRENCY": str(concurrency)}
        name = f"{self.name.lower()}-{self._started}"
        command = [str(self._python.absolute()), *arguments]
        return WorkerProcess(command, variables, self._folder, name).start()

    def running(self, process: WorkerProcess) -> Running:
        """All its processes: a task is run inside of them."""
        what = f"{self.name} to connect"
        patience.until(
            process, lambda: self._connected(process), START_TIMEOUT_S, what, longest_pause_s=LOOK_EVERY_S
        )
        return Running(process, (process.pid, *process.children()))

    def latencies(self, count: int) -> list[float]:
        """By the peer's own client; its worker has to be started already."""
        return [float(value) for value in json.loads(self._client("latency", count))]

    def _connected(self, process: WorkerProcess) -> bool:
        ours = {process.pid, *process.children()}
        return any(
            connection.status == psutil.CONN_ESTABLISHED and connection.raddr
            for pid in ours
            for connection in psutil.Process(pid).net_connections("tcp")
        )

    def _client(self, command: str, count: int) -> str:
        program = [str(PROGRAMS / "send.py"), f"on_{self.name.lower()}"]
        done = subprocess.run(
            [str(self._python), *program, command, str(count)],
            env={**os.environ, **self._variables},
            capture_output=True,
            text=True,
            timeout=CLIENT_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            last = done.stderr.strip().rpartition("\n")[2]
            raise CommandFailed(f"{self.name}'s client ({command} {count}): {last}\n{done.stderr[-2000:]}")
        return done.stdout


def environment_of(peer: Peer, environments: Path) -> Path | None:
    """Where ``peer`` is installed, below ``environments``; None where it is not."""
    folder = environments / peer.name.lower()
    return folder if (folder / "bin" / "python").exists() else None
