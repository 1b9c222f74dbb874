"""The map of a Redis Cluster's slots, from what nodes answer."""

from typing import Any

import pytest

from appliance.config.settings import RedisSettings
from appliance.control.contract import RedisEndpoint
from appliance.errors import QueueUnavailable
from appliance.queue.connection import Address
from appliance.queue.topology import Topology, slot_of

SEED, ONE, TWO, THREE = ("seed", 6379), ("one", 7001), ("two", 7002), ("three", 7003)


class Nodes:
    """What each node answers to CLUSTER SLOTS, and who was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ranges: list[Any] = []
        self.silent: set[Address] = set()
        self.asked: list[Address] = []
        monkeypatch.setattr(Topology, "_ask", lambda _, address: self._answer(address))

    def _answer(self, address: Address) -> list[Any]:
        self.asked.append(address)
        if address in self.silent:
            raise QueueUnavailable(f"{address[0]} is silent")
        return self.ranges


def node(address: Address) -> list[Any]:
    return [address[0].encode(), address[1], b"id"]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    return Nodes(monkeypatch)


@pytest.fixture
def topology() -> Topology:
    settings = RedisSettings(cluster=True)
    return Topology(RedisEndpoint(*SEED, password="", db=0, use_tls=False, settings=settings), "test")


def test_all_keys_of_a_queue_are_in_one_slot() -> None:
    assert slot_of("asynq:{inference.high}:pending") == slot_of(b"asynq:{inference.high}:t:1")
    assert slot_of("asynq:{inference.high}:pending") == slot_of("inference.high")


def test_a_slot_belongs_to_the_range_it_is_in_and_to_nobody_between_two(
    nodes: Nodes, topology: Topology
) -> None:
    nodes.ranges = [[200, 300, node(TWO)], [10, 100, node(ONE), node(THREE)]]

    topology.refresh()

    assert [topology.owner(slot) for slot in (9, 10, 100, 101, 199, 200, 300, 301)] == [
        *(None, ONE, ONE),
        *(None, None, TWO),
        *(TWO, None),
    ]
    assert topology.masters == (ONE, TWO)


@pytest.mark.parametrize("nameless", [None, b"", b"?"])
def test_a_node_that_has_no_name_is_where_we_asked(
    nodes: Nodes, topology: Topology, nameless: bytes | None
) -> None:
    nodes.ranges = [[0, 16_383, [nameless, 7001, b"id"]]]

    topology.refresh()

    assert topology.owner(5) == (SEED[0], 7001)


def test_what_a_node_says_of_one_slot_counts_until_the_map_is_learnt_anew(
    nodes: Nodes, topology: Topology
) -> None:
    nodes.ranges = [[0, 16_383, node(ONE)]]
    topology.refresh()

    topology.moved(5, TWO)

    assert (topology.owner(5), topology.owner(6)) == (TWO, ONE)
    topology.refresh()
    assert topology.owner(5) == ONE


def test_another_node_is_the_first_to_be_asked_each_time_and_those_away_come_last(
    nodes: Nodes, topology: Topology
) -> None:
    nodes.ranges = [[0, 100, node(ONE), node(THREE)], [101, 16_383, node(TWO)]]
    topology.refresh()
    nodes.asked.clear()

    for _ in range(4):
        topology.refresh()

    assert set(nodes.asked) == {SEED, ONE, TWO, THREE}
    nodes.asked.clear()
    nodes.silent = {SEED, ONE, TWO, THREE}
    with pytest.raises(QueueUnavailable, match="one is silent") as caught:
        topology.refresh(unavailable={TWO, SEED})
    assert "says where keys are" in str(caught.value)
    assert set(nodes.asked[:2]) == {ONE, THREE}
    assert set(nodes.asked[2:]) == {SEED, TWO}


def test_the_map_stays_as_it_was_where_nobody_answers(nodes: Nodes, topology: Topology) -> None:
    nodes.ranges = [[0, 16_383, node(ONE)]]
    topology.refresh()
    nodes.silent = {SEED, ONE}

    with pytest.raises(QueueUnavailable):
        topology.refresh()

    assert topology.owner(5) == ONE
