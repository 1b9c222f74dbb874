import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness import cli
from harness.bench.compare import run
from harness.bench.compare.plan import QUICK, Plan
from harness.bench.compare.run import ComparisonOptions
from harness.bench.rig import pipe
from harness.bench.rig.figures import OURS, PIPE
from harness.bench.rig.peers import PEERS, environment_of
from harness.failure import CommandFailed

ENVIRONMENTS = Path(__file__).parents[2] / ".bench"
PEER = next(peer for peer in PEERS if peer.name == "Huey")
#: As little as gives every figure.
TINY = replace(
    QUICK,
    ours={1: 600, 8: 1_500, 32: 1_500},
    peers={1: 500, 8: 500, 32: 500},
    latencies=5,
    idle_s=0.5,
    memory_of_ours=800,
    memory_of_peers=400,
    pending=(100, 5_000),
    pending_bursts=1,
    pending_burst=1_500,
    pipe_requests=2_000,
    round_trips_ms=(20,),
    utilisation_s=0.5,
)


def test_the_worker_is_measured_in_every_respect(tmp_path: Path) -> None:
    out, figures_file, page = io.StringIO(), tmp_path / "figures.json", tmp_path / "docs" / "benchmarks.md"

    status = run.run(out, _order(TINY), figures_file, page)

    assert status == 0, out.getvalue()
    measured = {
        (f["who"], f["what"], f["at"]): f["median"] for f in json.loads(figures_file.read_text())["figures"]
    }
    for concurrency in (1, 8, 32):
        assert measured[OURS, "tasks/s", concurrency] > 50
        # None where one exchange settles all of so few, as on a busy machine.
        assert 0 <= measured[OURS, "round trips/task", concurrency] < 5
        assert measured[OURS, "commands/task", concurrency] > 1
    assert any(measured[OURS, "round trips/task", concurrency] for concurrency in (1, 8, 32))
    assert measured[PIPE, "tasks/s", 1] > measured[OURS, "tasks/s", 1]
    assert 0 < measured[OURS, "start p50, ms", None] <= measured[OURS, "start p99, ms", None] < 10_000
    assert measured[OURS, "idle commands/s", None] >= 0
    assert 10 < measured[OURS, "PSS, MB", None] <= measured[OURS, "RSS, MB", None] < 500
    assert measured[OURS, "µs/task, many pending", None] > 0
    assert 0 < measured[OURS, "utilisation at 20 ms", 10] <= 1
    assert "| concurrency 1, tasks/s ÷ best peer" in page.read_text()
    assert str(tmp_path) not in page.read_text()


def test_a_peer_is_measured_beside_it(tmp_path: Path) -> None:
    if environment_of(PEER, ENVIRONMENTS) is None:
        pytest.skip(f"{PEER.name} is not installed: `make bench` does that")
    out, figures_file = io.StringIO(), tmp_path / "figures.json"

    status = run.run(out, _order(TINY, PEER.name), figures_file, None)

    assert status == 0, out.getvalue()
    measured = {
        (f["who"], f["what"], f["at"]): f["median"] for f in json.loads(figures_file.read_text())["figures"]
    }
    assert measured[PEER.name, "tasks/s", 8] > 50
    assert measured[PEER.name, "round trips/task", 1] > 1
    assert 0 < measured[PEER.name, "start p50, ms", None] < 10_000
    assert measured[PEER.name, "RSS, MB", None] > 10


def test_a_worker_that_ends_is_a_figure_less_and_a_failure_said(tmp_path: Path) -> None:
    out, page = io.StringIO(), tmp_path / "page.md"
    broken = replace(_order(TINY), worker_command=("false",))

    status = run.run(out, broken, None, page)

    assert status == 1
    assert "ended with exit status 1 while waiting for 200 results" in out.getvalue()
    assert "not measured" in page.read_text()


def test_peers_that_are_not_installed_are_named_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="not installed: Celery, RQ; `make bench`"):
        run.run(io.StringIO(), _order(TINY, "Celery", "RQ", environments=tmp_path), None, None)


def test_the_task_process_ends_with_its_measurement(tmp_path: Path) -> None:
    assert pipe.tasks_per_s(50, 1_000, tmp_path) > 100


def test_a_peer_nobody_knows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(["bench", "--peer", "Sidekiq"])

    assert ended.value.code == cli.MISUNDERSTOOD
    assert "--peer" in capsys.readouterr().err


def _medians(figures_file: Path) -> dict[tuple[str, str, int | None], float]:
    figures = json.loads(figures_file.read_text())["figures"]
    return {(each["who"], each["what"], each["at"]): each["median"] for each in figures}


def _order(plan: Plan, *peers: str, environments: Path = ENVIRONMENTS) -> ComparisonOptions:
    return ComparisonOptions(plan, environments, peers, "runqy-harness bench")
