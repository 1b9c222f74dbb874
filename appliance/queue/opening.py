"""Connections to a queue's Redis, whatever it is: one server, one that Sentinels name, or a cluster."""

from collections.abc import Callable

from appliance.control.contract import RedisEndpoint
from appliance.errors import QueueUnavailable
from appliance.queue.cluster import ClusterChannel
from appliance.queue.connection import REPLY_TIMEOUT_S, Address, Channel, Connection, Traffic
from appliance.queue.sentinel import Sentinels
from appliance.queue.topology import Topology, slot_of


def open_connection(
    endpoint: RedisEndpoint, name: str, *, reply_timeout_s: float = REPLY_TIMEOUT_S
) -> Connection:
    """For commands on any keys."""
    if endpoint.settings.cluster:
        return ClusterChannel(endpoint, name, reply_timeout_s=reply_timeout_s)
    return open_channel(endpoint, name, reply_timeout_s=reply_timeout_s)


def open_channel(
    endpoint: RedisEndpoint,
    name: str,
    *,
    key: str = "",
    reply_timeout_s: float = REPLY_TIMEOUT_S,
    traffic: Traffic | None = None,
) -> Channel:
    """One connection, in a cluster to the node that has ``key`` at each connect, or to any for none."""
    locate = _locator(endpoint, name, key)
    return Channel(endpoint, name, reply_timeout_s=reply_timeout_s, traffic=traffic, locate=locate)


def _locator(endpoint: RedisEndpoint, name: str, key: str) -> Callable[[], Address] | None:
    if endpoint.settings.cluster:
        topology = Topology(endpoint, name)
        return _key_locator(topology, key) if key else _turn(topology, name)
    return Sentinels(endpoint).find_master if endpoint.settings.sentinels else None


def _key_locator(topology: Topology, key: str) -> Callable[[], Address]:
    def locate() -> Address:
        topology.refresh()
        address = topology.owner(slot_of(key))
        if address is None:
            raise QueueUnavailable(f"no node of the Redis Cluster has the slot of {key}")
        return address

    return locate


def _turn(topology: Topology, name: str) -> Callable[[], Address]:
    """Each time the next master; who is the first to be asked is spread over the workers by their names."""
    turn = slot_of(name)

    def locate() -> Address:
        nonlocal turn
        topology.refresh()
        turn += 1
        return topology.masters[turn % len(topology.masters)]

    return locate
