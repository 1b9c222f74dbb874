"""A Redis Cluster for one run: a few nodes on loopback, and what may happen to one."""

import random
import socket
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import redis
from redis.crc import key_slot

from harness import wait
from harness.queue import asynq
from harness.sandbox.certificates import Certificates
from harness.sandbox.redis import HOST, RedisServer, tls_options

SLOTS = 16_384
#: What is between a node's port and the one its peers use; Redis 6.2 cannot be told another.
BUS_OFFSET = 10_000
#: So that both are below the range outgoing connections get their ports from.
PORTS = range(11_000, 21_000)
FORM_TIMEOUT_S = 90.0
FAILOVER_TIMEOUT_S = 90.0


class RedisCluster:
    """``masters`` nodes that share the slots evenly, each with ``replicas`` replicas; one context manager.

    A node counts as failed when it is silent for ``node_timeout_ms``. The other parameters are
    :class:`~harness.sandbox.redis.RedisServer`'s, for each node.
    """

    host = HOST

    def __init__(
        self,
        folder: Path,
        *,
        masters: int = 3,
        replicas: int = 0,
        node_timeout_ms: int = 2_000,
        password: str | None = None,
        persistent: bool = False,
        tls: Certificates | None = None,
        extra_args: Sequence[str] = (),
    ) -> None:
        self._password = password
        self._tls = tls
        self._masters = masters
        self._exits = ExitStack()
        options: tuple[str, ...] = (
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            str(node_timeout_ms),
        )
        # A replica need not wait for others to share the work, and counts from its master's first PING on.
        options += ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
        secured = ("--tls-cluster", "yes") if tls else ()
        #: All nodes; the first ``masters`` of them began as masters.
        self.nodes = [
            RedisServer(
                folder / f"node-{number}",
                port=port,
                password=password,
                persistent=persistent,
                tls=tls,
                extra_args=(*options, *secured, *extra_args),
            )
            for number, port in enumerate(_free_ports(masters * (1 + replicas)), 1)
        ]

    @property
    def port(self) -> int:
        """The port of one node, as a worker is told it."""
        return self.nodes[0].port

    @property
    def url(self) -> str:
        """The URL of one node."""
        return self.nodes[0].url

    def client(self) -> redis.Redis:
        """A new client of the whole cluster that answers in bytes; close it after use."""
        options: dict[str, Any] = {"ssl": True, **tls_options(self._tls)} if self._tls else {}
        found = redis.RedisCluster(host=HOST, port=self.port, password=self._password, **options)
        # It has the commands of redis.Redis, as far as the harness uses them.
        return cast(redis.Redis, found)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            self._form()
            self._exits = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.__exit__(kind, error, trace)

    # What is where -------------------------------------------------------------------------------

    def owner(self, queue: str) -> RedisServer:
        """The node that has the queue, by what a live node says."""
        wanted = slot_of(queue)
        alive = next(node for node in self.nodes if node.pid is not None)
        for start, end, master, *_ in _slots(alive):
            if start <= wanted <= end:
                return next(node for node in self.nodes if node.port == master[1])
        raise LookupError(f"no node has slot {wanted}")

    def queues_apart(self, parent: str) -> list[str]:
        """Names of sub-queues of ``parent``, one for each master."""
        found: dict[int, str] = {}
        number = 0
        while len(found) < self._masters:
            number += 1
            found.setdefault(self.owner(f"{parent}.q{number}").port, f"{parent}.q{number}")
        return list(found.values())

    def settled(self) -> None:
        """Wait until every node that runs says that all slots are served."""
        for node in self.nodes:
            if node.pid is not None:
                wait.until(partial(_is_well, node), FORM_TIMEOUT_S, "the cluster to be well")

    # What may happen -----------------------------------------------------------------------------

    def begin_move(self, queue: str, to: RedisServer) -> None:
        """Have the queue's slot on its way to another node; its keys are still where they were."""
        source, slot = self.owner(queue), slot_of(queue)
        _ask(to, "CLUSTER SETSLOT", slot, "IMPORTING", _id(source))
        _ask(source, "CLUSTER SETSLOT", slot, "MIGRATING", _id(to))

    def move_keys(self, queue: str, to: RedisServer, at_most: int = SLOTS) -> int:
        """Move so many of the slot's keys over; returns how many there were."""
        source, slot = self.owner(queue), slot_of(queue)
        keys = _ask(source, "CLUSTER GETKEYSINSLOT", slot, at_most)
        if keys:
            auth = ("AUTH", self._password) if self._password else ()
            _ask(source, "MIGRATE", HOST, to.port, "", 0, 5_000, *auth, "KEYS", *keys)
        return len(keys)

    def end_move(self, queue: str, to: RedisServer) -> None:
        """Move what is left and tell everybody."""
        source, slot = self.owner(queue), slot_of(queue)
        while self.move_keys(queue, to, 100):
            pass
        masters = {entry[2][1] for entry in _slots(source)}
        others = [node for node in self.nodes if node.port in masters and node not in (to, source)]
        for node in (to, source, *others):
            _ask(node, "CLUSTER SETSLOT", slot, "NODE", _id(to))

    def fail_over(self, master: RedisServer) -> RedisServer:
        """Have a replica take the place of ``master``, which stays its replica; returns the new master."""
        replica = self.replica_of(master)
        _ask(replica, "CLUSTER FAILOVER")
        self.await_master(replica)
        return replica

    def await_master(self, replica: RedisServer) -> None:
        """Wait until all nodes that run count this one as a master."""
        for node in self.nodes:
            if node.pid is not None:
                wait.until(partial(_counts_as_master, node, replica.port), FAILOVER_TIMEOUT_S, "the failover")
        self.settled()

    def replica_of(self, master: RedisServer) -> RedisServer:
        """A replica of ``master``."""
        for _, _, first, *others in _slots(master):
            if first[1] == master.port and others:
                return next(node for node in self.nodes if node.port == others[0][1])
        raise LookupError("it has none")

    def _form(self) -> None:
        masters = self.nodes[: self._masters]
        for number, node in enumerate(masters):
            mine = range(SLOTS * number // len(masters), SLOTS * (number + 1) // len(masters))
            _ask(node, "CLUSTER ADDSLOTS", *mine)
            # Or they would have to quarrel about it first.
            _ask(node, "CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            _ask(self.nodes[0], "CLUSTER MEET", HOST, node.port)
        count = len(self.nodes)
        for node in self.nodes:
            wait.until(partial(_knows, node, count), FORM_TIMEOUT_S, "the nodes to meet")
        for number, node in enumerate(self.nodes[self._masters :]):
            _ask(node, "CLUSTER REPLICATE", _id(masters[number % len(masters)]))
        self.settled()
        for node in self.nodes[self._masters :]:
            wait.until(partial(_follows, node), FORM_TIMEOUT_S, "the replicas to have all")
        for node in self.nodes:
            wait.until(partial(_names, node, count), FORM_TIMEOUT_S, "all to name all")


def slot_of(queue: str) -> int:
    """The slot of all of a queue's keys."""
    return int(key_slot(asynq.key(queue, "").encode()))


def _ask(node: RedisServer, *command: Any) -> Any:
    with closing(node.client()) as client:
        return cast(Any, client).execute_command(*command)


def _slots(node: RedisServer) -> list[Any]:
    """Ranges of slots: first, last, master, replicas; each node as host, port, id."""
    with closing(node.client()) as client:
        client.set_response_callback("CLUSTER SLOTS", lambda reply, **_: reply)
        return list(cast(Any, client).execute_command("CLUSTER SLOTS"))


def _is_well(node: RedisServer) -> bool:
    return bool(_ask(node, "CLUSTER INFO")["cluster_state"] == "ok")


def _knows(node: RedisServer, count: int) -> bool:
    return int(_ask(node, "CLUSTER INFO")["cluster_known_nodes"]) == count


def _follows(node: RedisServer) -> bool:
    return bool(_ask(node, "INFO", "replication")["master_link_status"] == "up")


def _names(node: RedisServer, count: int) -> bool:
    return sum(len(entry) - 2 for entry in _slots(node)) == count


def _counts_as_master(node: RedisServer, port: int) -> bool:
    return any(entry[2][1] == port for entry in _slots(node))


def _id(node: RedisServer) -> str:
    return str(_ask(node, "CLUSTER MYID").decode())


def _free_ports(count: int) -> list[int]:
    """Ports that are free, and so are those their peers use."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(PORTS)
        if port not in found and _is_free(port) and _is_free(port + BUS_OFFSET):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
