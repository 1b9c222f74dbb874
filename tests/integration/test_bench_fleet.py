"""The costs of a fleet, measured on a small one; test_bench_fleet.py of the unit tests has the sums."""

from pathlib import Path

from harness.bench.fleet import run as fleet_run
from harness.bench.fleet.run import FleetOptions
from harness.sandbox.redis import RedisServer

SMALL = FleetOptions(workers=3, window_s=4.0, lone=20, queued=1_000, concurrency=2)


def test_what_is_predicted_from_the_parts_is_what_is_seen_of_the_whole(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        measured = fleet_run.measure(server, tmp_path / "ours", SMALL)

    costs = measured.costs
    assert 0 < costs.idle.commands < 20
    assert 5 < costs.queued.commands < costs.lone.commands * 1.5
    assert 2 <= costs.connections <= 10
    least, seen = measured.checked["commands a second, at least"]
    most, _ = measured.checked["commands a second, at most"]
    assert 0.7 * least <= seen <= 1.3 * most, measured.checked
    assert any("1,000" in line for line in fleet_run.told(measured))
