"""Warns of a Redis that evicts keys when its memory is full: tasks and results would just vanish."""

import structlog

from appliance.errors import QueueRejected
from appliance.queue.connection import Connection

log = structlog.get_logger()

#: Seconds between two looks: people change this while Redis runs.
LOOK_EVERY_S = 3600.0
_NEVER = "noeviction"


class Eviction:
    """Of the Redis of one parent queue; in a cluster each node has its own policy."""

    def __init__(self, parent: str, connection: Connection) -> None:
        self._parent = parent
        self._connection = connection
        self._said: set[tuple[str, str]] = set()

    def tick(self) -> float:
        """Look once; returns the seconds to the next look."""
        found = set()
        for channel in self._connection.masters():
            try:
                policy = _policy(channel.call("INFO", "memory"))
            except QueueRejected:
                continue  # a user who may not ask
            if policy != _NEVER:
                host, port = channel.address
                found.add((f"{host}:{port}", policy))
        for address, policy in sorted(found - self._said):
            log.warning(
                "redis.evicts_keys",
                parent=self._parent,
                redis=address,
                policy=policy,
                consequence="with its memory full, tasks and results vanish: set maxmemory-policy noeviction",
            )
        self._said = found
        return LOOK_EVERY_S


def _policy(info: bytes) -> str:
    """What ``INFO memory`` says; one without a limit, or that says nothing, evicts nothing."""
    pairs = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    facts = {name: value for name, _, value in pairs}
    return facts.get("maxmemory_policy", _NEVER) if facts.get("maxmemory", "0") != "0" else _NEVER
