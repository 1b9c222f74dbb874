from pathlib import Path

import pytest

from harness import cli
from harness.bench.rig import page
from harness.bench.rig.figures import OURS, Figures
from harness.bench.scaling import report as scale_report
from harness.bench.scaling.plan import QUICK_SCALE

SECTION = "## Many workers\n\n### Of today\n\nfast\n"


def test_the_section_of_many_workers_replaces_the_one_there_was(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("# Page\n\n## Many workers\n\nslow\n\n### In detail\n\nvery\n\n## Method\n\nby clock\n")

    page.put(path, SECTION)

    assert path.read_text() == f"# Page\n\n{SECTION}\n## Method\n\nby clock\n"


def test_the_section_comes_last_on_a_page_that_has_none(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("# Page\n\nfull of ## Many workers\n")

    page.put(path, SECTION)

    assert path.read_text() == f"# Page\n\nfull of ## Many workers\n\n{SECTION}"


def test_what_people_wrote_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    written = "## Where the time goes\n\nby hand\n"
    path.write_text(f"# Page\n\nold\n\n{written}\n{SECTION}")

    page.rewrite(path, "# Page\n\nnew\n")
    assert path.read_text() == f"# Page\n\nnew\n\n{written}\n{SECTION}"

    page.put(path, SECTION)
    assert path.read_text() == f"# Page\n\nnew\n\n{written}\n{SECTION}"


def test_the_section_makes_a_page_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "page.md"

    page.put(path, SECTION)

    assert path.read_text() == f"# Benchmarks\n\n{SECTION}"


def test_the_rest_of_the_page_is_written_anew_and_the_section_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    page.rewrite(path, "# Page\n\nold\n")
    page.put(path, SECTION)

    page.rewrite(path, "# Page\n\nnew\n")

    assert path.read_text() == f"# Page\n\nnew\n\n{SECTION}"


@pytest.mark.parametrize(
    ("machine", "redis", "said"),
    [
        (190.0, 95.0, "the limit was the machine: its 2 cores were used up (150 of 200 % were ours)"),
        (150.0, 95.0, "the limit was Redis"),
        (150.0, 40.0, "neither Redis nor the machine was used up (150 of 200 %)"),
    ],
)
def test_the_limit_is_what_was_used_up(machine: float, redis: float, said: str) -> None:
    figures = _figures(2, 9_000, machine, redis)

    section = scale_report.section(_run(figures))

    assert f"- 2: {said}" in section


def test_a_row_says_how_many_times_as_fast_as_one_worker_it_is() -> None:
    figures = _figures(1, 5_000)
    figures.add(OURS, "tasks/s", 9_000, 10_000, 11_000, at=2)

    rows = [line for line in scale_report.section(_run(figures)).splitlines() if line.startswith("|")]

    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert cells[2][:4] == ["1", "5,000", "5,000 … 5,000", "1.00"]
    assert cells[3][:4] == ["2", "10,000", "9,000 … 11,000", "2.00"]
    assert set(cells[4][1:]) == {"–"}
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize("options", [["--peer", "RQ"], ["--no-peers"]])
def test_scaling_is_not_measured_beside_peers(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(["bench", "--scale", *options])

    assert ended.value.code == cli.MISUNDERSTOOD
    assert f"{options[0]}: --scale measures our workers alone" in capsys.readouterr().err


def _figures(workers: int, rate: float, machine: float = 100.0, redis: float = 30.0) -> Figures:
    figures = Figures()
    figures.add(OURS, "tasks/s", rate, at=workers)
    figures.add(OURS, "CPU of the machine, %", machine, at=workers)
    figures.add(OURS, "CPU of Redis, %", redis, at=workers)
    figures.add(OURS, "CPU of workers, %", 140.0 - redis, at=workers)
    figures.add(OURS, "CPU of task processes, %", 10.0, at=workers)
    return figures


def _run(figures: Figures) -> scale_report.ScaleRun:
    return scale_report.ScaleRun(
        date="2026-01-02",
        command="runqy-harness bench --scale",
        plan=QUICK_SCALE,
        figures=figures,
        machine={"processor": "two of them"},
        cores=2,
        failures=[],
        took_s=60.0,
    )
