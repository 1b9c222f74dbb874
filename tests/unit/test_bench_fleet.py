"""What a fleet costs its Redis, from the costs of its parts."""

import pytest

from harness.bench.fleet.costs import FULL, Cost, Costs, load, most_tasks_per_s, table

COSTS = Costs(
    idle=Cost(commands=2, redis_us=100, bytes=50),
    lone=Cost(commands=25, redis_us=200, bytes=1_000),
    queued=Cost(commands=14, redis_us=40, bytes=800),
    connections=4,
)


def test_workers_and_tasks_add_up() -> None:
    found = load(COSTS, 1_000, 100, lone=True)

    assert found.commands == 1_000 * 2 + 100 * 25
    assert found.redis_cores == pytest.approx((1_000 * 100 + 100 * 200) / 1e6)
    assert found.bytes == 1_000 * 50 + 100 * 1_000
    assert found.connections == 4_000


def test_redis_is_full_where_workers_and_tasks_together_fill_it() -> None:
    most = most_tasks_per_s(COSTS, 1_000, lone=False)

    assert load(COSTS, 1_000, most, lone=False).redis_cores == pytest.approx(FULL)
    assert most_tasks_per_s(COSTS, 1_000, lone=True) < most


def test_workers_alone_may_be_too_many() -> None:
    assert most_tasks_per_s(COSTS, 8_001, lone=False) == 0


def test_a_range_is_told_where_it_depends_on_how_tasks_arrive() -> None:
    idle, busy = table(COSTS, (10,), (0, 1_000))

    assert idle[:4] == ["10", "0", "0.1 %", "20"]
    assert busy[2:4] == ["4.1 to 20 %", "14,020 to 25,020"]
