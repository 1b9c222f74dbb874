"""A Redis Sentinel for one run: it watches one Redis and, where that dies, puts its replica in its place."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import redis

from harness import wait
from harness.sandbox.certificates import Certificates
from harness.sandbox.redis import RedisServer

#: The name by which it knows the Redis it watches.
MASTER = "harness"
FAILOVER_TIMEOUT_S = 90.0


@contextmanager
def sentinel(
    folder: Path,
    watched: RedisServer,
    *,
    replica: RedisServer | None = None,
    password: str | None = None,
    tls: Certificates | None = None,
    down_after_ms: int = 1_000,
) -> Iterator[RedisServer]:
    """A Sentinel that decides alone, once it knows ``replica``, which is made one of ``watched``.

    ``password`` is what it wants of its clients, and what it gives to ``watched``.
    """
    server = RedisServer(folder, password=password, tls=tls, extra_args=("--sentinel",))
    with server as running, closing(running.client()) as client:
        if replica is not None:
            with closing(replica.client()) as db:
                db.replicaof(watched.host, watched.port)
                wait.until(lambda: db.info("replication")["master_link_status"] == "up", 20, "the replica")
        client.sentinel_monitor(MASTER, watched.host, watched.port, 1)
        client.sentinel_set(MASTER, "down-after-milliseconds", down_after_ms)
        client.sentinel_set(MASTER, "failover-timeout", 5_000)
        if password:
            client.sentinel_set(MASTER, "auth-pass", password)
        replicas = 0 if replica is None else 1
        wait.until(lambda: _known(client)["num-slaves"] == replicas, 20, "the Sentinel to look round")
        yield running


def failed_over(running: RedisServer, to: RedisServer) -> None:
    """Wait until the Sentinel names ``to`` as the master."""
    with closing(running.client()) as client:
        wait.until(
            lambda: (_known(client)["ip"], _known(client)["port"]) == (to.host, to.port),
            FAILOVER_TIMEOUT_S,
            "the failover",
        )


def _known(client: redis.Redis) -> dict[str, Any]:
    """What the Sentinel knows of the master."""
    return dict(client.sentinel_master(MASTER))  # type: ignore[arg-type]
