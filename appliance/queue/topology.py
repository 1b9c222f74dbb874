"""Which node of a Redis Cluster has which keys, as the nodes themselves say (``CLUSTER SLOTS``)."""

from bisect import bisect_right
from collections import deque
from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from typing import Any

from redis.crc import key_slot

from appliance.control.contract import RedisEndpoint
from appliance.errors import QueueError, QueueRejected, QueueUnavailable
from appliance.queue.connection import CONNECT_TIMEOUT_S, Address, Channel


def slot_of(key: str | bytes) -> int:
    """The slot of a key: by what is in its first braces, or by all of it."""
    return _slot_of_text(key) if isinstance(key, str) else key_slot(key)


#: Of queues and workers, few and used again and again; ids of tasks are bytes.
@lru_cache(maxsize=1_024)
def _slot_of_text(key: str) -> int:
    return key_slot(key.encode())


class Topology:
    """The map of slots as it was last heard; empty until the first :meth:`refresh`.

    ``endpoint`` is any node; password, user and TLS are those of all of them.
    """

    def __init__(self, endpoint: RedisEndpoint, name: str) -> None:
        self._endpoint = endpoint
        self._name = name
        self._seed = (endpoint.host, endpoint.port)
        self._places = deque([self._seed])
        self._starts: list[int] = []
        self._ranges: list[tuple[int, Address]] = []
        self._moved: dict[int, Address] = {}
        self.masters: tuple[Address, ...] = ()

    def owner(self, slot: int) -> Address | None:
        """The node that serves ``slot``; None where none is known to."""
        if slot in self._moved:
            return self._moved[slot]
        at = bisect_right(self._starts, slot) - 1
        if at < 0:
            return None
        end, address = self._ranges[at]
        return address if slot <= end else None

    def moved(self, slot: int, address: Address) -> None:
        """A node has said who has ``slot`` now; it counts until the next :meth:`refresh`."""
        self._moved[slot] = address

    def at(self, address: Address) -> RedisEndpoint:
        """The node at ``address``, with what all nodes have in common."""
        return replace(self._endpoint, host=address[0], port=address[1])

    def refresh(self, unavailable: Collection[Address] = ()) -> None:
        """Ask one node after the other; raises :class:`QueueUnavailable` with what each said when none knows.

        Each time another is the first to be asked: one that is cut off from the rest may tell of old times.
        Those ``unavailable`` come last.
        """
        self._places.rotate(-1)
        heard = []
        for address in sorted(self._places, key=lambda place: place in unavailable):
            try:
                self._learn(address, self._ask(address))
            except QueueError as exc:
                heard.append(str(exc))
            else:
                return
        raise QueueUnavailable(f"no node of the Redis Cluster says where keys are: {'; '.join(heard)}")

    def _ask(self, address: Address) -> list[Any]:
        with closing(Channel(self.at(address), self._name, reply_timeout_s=CONNECT_TIMEOUT_S)) as channel:
            try:
                ranges: list[Any] = channel.call("CLUSTER", "SLOTS")
            except QueueRejected as exc:
                problem = f"{shown(address)} is no Redis Cluster, as RUNQY_REDIS_CLUSTER has it"
                raise QueueUnavailable(f"{problem}: {exc}") from exc
        if not ranges:
            raise QueueUnavailable(f"{shown(address)} knows of no node with keys")
        return ranges

    def _learn(self, told_by: Address, ranges: list[Any]) -> None:
        def address(node: list[Any]) -> Address:
            # Without a name it is the one we know the teller by; a node may not know its own.
            host = node[0].decode() if node[0] else ""
            return (host if host not in {"", "?"} else told_by[0]), int(node[1])

        found = sorted((int(start), int(end), address(nodes[0])) for start, end, *nodes in ranges)
        self._starts = [start for start, _, _ in found]
        self._ranges = [(end, owner) for _, end, owner in found]
        self._moved.clear()
        self.masters = tuple(dict.fromkeys(owner for _, owner in self._ranges))
        nodes = (address(node) for _, _, *nodes in ranges for node in nodes)
        known = dict.fromkeys((*nodes, self._seed))
        # The order of those asked before is kept, so that the turn goes round.
        turn = [place for place in self._places if place in known]
        self._places = deque([*turn, *(place for place in known if place not in turn)])


def shown(address: Address) -> str:
    """A node for people."""
    return f"Redis at {address[0]}:{address[1]}"
