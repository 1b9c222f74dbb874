"""A Redis Cluster as one connection: each command goes to the node that has its key.

What goes to several nodes goes to all of them at once, so a batch still costs one round trip. A command
that was sent elsewhere (MOVED) was not carried out and is sent again; one whose connection broke is not.

While a slot is being moved between nodes, its keys are on both sides, and a script would see half of a
queue. Redis answers ASK to a script then, because the key that routes it exists on neither side: that is
not followed. The queue counts as unavailable until the slot has arrived.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from itertools import chain
from typing import Any

import gevent
from redis import exceptions

from appliance.control.contract import RedisEndpoint
from appliance.errors import QueueError, QueueNodeUnavailable
from appliance.queue.connection import (
    REPLY_TIMEOUT_S,
    Address,
    Channel,
    Command,
    NodeUnavailable,
    Traffic,
    check,
    unavailable,
)
from appliance.queue.topology import Topology, shown, slot_of

#: How often one command is sent elsewhere before its slot counts as unavailable.
MOST_REDIRECTIONS = 5
#: First and longest pause between looks at unavailable nodes, and at a map that proved wrong, in seconds.
MEND_PAUSES_S = (0.1, 2.0)
#: Seconds a node that was away gets to answer a PING.
PROBE_TIMEOUT_S = 2.0

#: Where the key stands in a command; in all others it is the first argument.
_KEY_AT = {"EVALSHA": 3, "EVAL": 3}
#: Commands on more than the key they name.
_WHOLE_QUEUE = frozenset(_KEY_AT)


class ClusterChannel:
    """A :class:`~appliance.queue.connection.Connection` to a whole cluster, one connection a node.

    A node that fails is unavailable until it answers a PING: meanwhile its commands fail at once, and those
    of other nodes are not held up. ``endpoint`` is any node.
    """

    def __init__(
        self, endpoint: RedisEndpoint, name: str, *, reply_timeout_s: float = REPLY_TIMEOUT_S
    ) -> None:
        self.traffic = Traffic()
        self._name = name
        self._reply_timeout_s = reply_timeout_s
        self._topology = Topology(endpoint, name)
        self._nodes: dict[Address, Channel] = {}
        self._unavailable: dict[Address, str] = {}
        self._stale = False
        self._closed = False
        self._mending: gevent.Greenlet[..., None] | None = None

    def batch(self, commands: Sequence[Command]) -> list[Any]:
        """Send each command to its node and return the replies in order, as ``Channel.batch`` does.

        Never raises for a node: where one cannot serve, a :class:`NodeUnavailable` is in the reply's place.
        As with any lost connection, the command may have been carried out.
        """
        self._closed = False
        replies: list[Any] = [None] * len(commands)
        routes = self._route(commands, replies)
        for _ in range(MOST_REDIRECTIONS + 1):
            self._carry(commands, routes, replies)
            routes = self._redirect(commands, routes, replies)
            if not routes:
                return replies
        _refuse(replies, routes.values(), "nodes of the Redis Cluster send us round in circles")
        return replies

    def call(self, *command: str | bytes | int | float) -> Any:
        """Send one command and return its checked reply; raises like :func:`~.connection.check`."""
        return check(self.batch([command])[0])

    def at(self, address: Address) -> Channel:
        """The channel to the node at ``address``; raises :class:`QueueNodeUnavailable` while that fails."""
        if address in self._unavailable:
            raise QueueNodeUnavailable(self._unavailable[address])
        return self._node(address)

    def masters(self) -> Sequence[Channel]:
        """A channel to each node that has slots; raises :class:`QueueUnavailable` where none says which."""
        self._topology.refresh(self._unavailable)
        return [self._node(address) for address in self._topology.masters]

    def close(self) -> None:
        """Drop all connections; the next batch opens others. Batches that others have under way are lost."""
        self._closed = True
        if self._mending is not None:
            self._mending.kill()
        self._unavailable.clear()
        for node in self._nodes.values():
            node.close()

    # A batch -------------------------------------------------------------------------------------

    def _node(self, address: Address) -> Channel:
        if address not in self._nodes:
            endpoint = self._topology.at(address)
            self._nodes[address] = Channel(
                endpoint, self._name, reply_timeout_s=self._reply_timeout_s, traffic=self.traffic
            )
        return self._nodes[address]

    def _route(self, commands: Sequence[Command], replies: list[Any]) -> dict[Address, list[int]]:
        """Which commands go where; those that can go nowhere are answered."""
        if not self._topology.masters:
            try:
                self._topology.refresh()
            except QueueError as exc:
                replies[:] = [NodeUnavailable(str(exc)) for _ in commands]
                return {}
        routes: dict[Address, list[int]] = {}
        for position, command in enumerate(commands):
            address = self._owner(command)
            if address is None:
                self._mend_soon()
                replies[position] = NodeUnavailable("no node of the Redis Cluster has the key's slot")
            else:
                self._add(routes, address, position, replies)
        return routes

    def _owner(self, command: Command) -> Address | None:
        if len(command) == 1:
            masters = self._topology.masters
            return next((address for address in masters if address not in self._unavailable), masters[0])
        key = command[_KEY_AT.get(str(command[0]), 1)]
        assert isinstance(key, str | bytes)  # noqa: S101  what our commands have there
        return self._topology.owner(slot_of(key))

    def _add(
        self, routes: dict[Address, list[int]], address: Address, position: int, replies: list[Any]
    ) -> None:
        if address in self._unavailable:
            replies[position] = NodeUnavailable(self._unavailable[address])
        else:
            routes.setdefault(address, []).append(position)

    def _carry(
        self, commands: Sequence[Command], routes: dict[Address, list[int]], replies: list[Any]
    ) -> None:
        """Send everything, then wait for the answers."""
        sent: list[tuple[Channel, list[int]]] = []
        with ExitStack() as locks:
            # All locks before the first word, in an order that is the same for all.
            nodes = [(self._node(address), routes[address]) for address in sorted(routes)]
            for node, _ in nodes:
                locks.enter_context(node.lock)
            if self._closed:
                _refuse(replies, routes.values(), "the connections were closed meanwhile")
                return
            try:
                for node, positions in nodes:
                    try:
                        node.send([commands[position] for position in positions])
                        sent.append((node, positions))
                    except QueueError as exc:
                        self._lose(node, positions, replies, exc)
                for node, positions in sent:
                    try:
                        answers = node.receive(len(positions))
                    except QueueError as exc:
                        self._lose(node, positions, replies, exc)
                        continue
                    for position, answer in zip(positions, answers, strict=True):
                        replies[position] = answer
            except BaseException:
                # Killed in between: what the nodes have yet to answer is not for the next to read.
                for node, _ in nodes:
                    node.close()
                raise

    def _lose(self, node: Channel, positions: list[int], replies: list[Any], exc: QueueError) -> None:
        if not self._closed:
            self._unavailable[node.address] = str(exc)
            self._mend_soon()
        _refuse(replies, [positions], str(exc))

    def _redirect(
        self, commands: Sequence[Command], routes: dict[Address, list[int]], replies: list[Any]
    ) -> dict[Address, list[int]]:
        """Act on what the nodes refused; returns what is to be sent again, and where."""
        again: dict[Address, list[int]] = {}
        for sent_to, positions in routes.items():
            for position in positions:
                reply = replies[position]
                if not isinstance(reply, exceptions.RedisError) or isinstance(reply, NodeUnavailable):
                    continue
                if isinstance(reply, exceptions.MovedError):
                    address = (reply.host or sent_to[0], reply.port)
                    self._topology.moved(reply.slot_id, address)
                    self._mend_soon()
                    self._add(again, address, position, replies)
                elif isinstance(reply, exceptions.AskError):
                    replies[position] = self._ask(commands[position], reply, sent_to)
                elif unavailable(reply):
                    self._mend_soon()
                    replies[position] = NodeUnavailable(f"{shown(sent_to)} cannot serve now: {reply}")
        return again

    def _ask(self, command: Command, reply: exceptions.AskError, sent_to: Address) -> Any:
        """The answer of the node a slot is being moved to, for a command on one key that is there already."""
        if command[0] in _WHOLE_QUEUE:
            return NodeUnavailable(f"the Redis Cluster is moving slot {reply.slot_id}, in which the queue is")
        try:
            answer = self._node((reply.host or sent_to[0], reply.port)).batch([("ASKING",), command])[1]
        except QueueError as exc:
            return NodeUnavailable(str(exc))
        return NodeUnavailable(str(answer)) if unavailable(answer) else answer

    # What is away --------------------------------------------------------------------------------

    def _mend_soon(self) -> None:
        if self._closed:
            return
        self._stale = True
        if self._mending is None or self._mending.dead:
            self._mending = gevent.spawn(self._mend)

    def _mend(self) -> None:
        """Learn the map again and look at nodes that are unavailable, until there is nothing left to mend."""
        pause_s, longest_s = MEND_PAUSES_S
        while self._stale or self._unavailable:
            self._stale = False
            try:
                self._topology.refresh(self._unavailable)
            except QueueError:
                self._stale = True
            for address in list(self._unavailable):
                self._probe(address)
            self._forget_former()
            # Also after success: a map that changes with every command is not asked for with every one.
            gevent.sleep(pause_s)
            pause_s = min(pause_s * 2, longest_s)

    def _probe(self, address: Address) -> None:
        if address in self._topology.masters:
            endpoint = self._topology.at(address)
            probing = Channel(endpoint, self._name, reply_timeout_s=PROBE_TIMEOUT_S, traffic=self.traffic)
            with closing(probing) as probe:
                try:
                    probe.call("PING")
                except QueueError as exc:
                    self._unavailable[address] = str(exc)
                    return
        self._unavailable.pop(address, None)

    def _forget_former(self) -> None:
        """Close the connections to nodes that have no slots any more."""
        for address in self._nodes.keys() - set(self._topology.masters):
            node = self._nodes[address]
            if node.lock.acquire(blocking=False):
                del self._nodes[address]
                node.close()
                node.lock.release()


def _refuse(replies: list[Any], places: Iterable[Iterable[int]], reason: str) -> None:
    for position in chain.from_iterable(places):
        replies[position] = NodeUnavailable(reason)
