"""Faults of a Redis: what an operator, a failover, a power cut and a full disk do to it.

That it stands still is :func:`harness.faults.processes.stopped` with its pid.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import redis

from harness.sandbox.redis import RedisServer

#: The name by which a client of the harness is spared.
SPARED = "runqy-harness"


def spare(db: redis.Redis) -> redis.Redis:
    """Have :func:`kill_clients` leave this client's connections alone, those of later too."""
    db.connection_pool.connection_kwargs["client_name"] = SPARED
    db.connection_pool.disconnect()
    return db


def kill_clients(db: redis.Redis) -> int:
    """Close the connection of every client that was not spared; returns how many (``CLIENT KILL``)."""
    listed: Any = db.client_list()
    killed: Any = [db.client_kill_filter(_id=each["id"]) for each in listed if each["name"] != SPARED]
    return sum(killed)


@contextlib.contextmanager
def read_only(db: redis.Redis) -> Iterator[None]:
    """Inside, it is a replica of a master that is unavailable, as in the middle of a failover."""
    db.replicaof("127.0.0.1", "1")
    try:
        yield
    finally:
        # The new master has none of the old one's clients.
        db.replicaof("NO", "ONE")


def flush_scripts(db: redis.Redis) -> None:
    """Have it forget every script (``SCRIPT FLUSH``)."""
    db.script_flush()


@contextlib.contextmanager
def down(server: RedisServer) -> Iterator[None]:
    """Inside, it was killed; afterwards it is back with what it had persisted, which may be nothing."""
    server.kill()
    try:
        yield
    finally:
        server.start()


def forget(server: RedisServer, db: redis.Redis) -> None:
    """Restart it without persistence: everything is gone, and every connection."""
    db.flushall()
    server.restart()
