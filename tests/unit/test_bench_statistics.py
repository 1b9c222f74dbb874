import pytest

from harness.bench.compare import distance, reach, report
from harness.bench.compare.plan import QUICK
from harness.bench.rig import stats
from harness.bench.rig.figures import OURS, PIPE, Figures
from harness.bench.rig.stats import Reading, Window

PEERS = ["Slow", "Quick"]


def test_a_window_counts_only_what_lies_between_its_readings() -> None:
    window = Window(Reading(10.0, 200, 1_000, 400), Reading(12.0, 1_200, 6_000, 900))

    assert window.tasks == 1_000
    assert window.tasks_per_s == 500.0
    assert window.commands_per_task == 5.0
    assert window.requests_per_task == 0.5


@pytest.mark.parametrize("last", [Reading(12.0, 200), Reading(10.0, 300)])
def test_a_window_in_which_nothing_happened_is_refused(last: Reading) -> None:
    with pytest.raises(ValueError, match="nothing happened"):
        Window(Reading(10.0, 200), last)


@pytest.mark.parametrize(
    ("percent", "expected"), [(1, 1.0), (50, 50.0), (95, 95.0), (99, 99.0), (100, 100.0), (99.5, 100.0)]
)
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(
    percent: float, expected: float
) -> None:
    backwards = [float(n) for n in range(100, 0, -1)]

    assert stats.percentile(backwards, percent) == expected


def test_the_99th_percentile_of_few_values_is_the_largest() -> None:
    assert stats.percentile([1.0, 9.0, 3.0], 99) == 9.0


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_a_percentile_that_there_is_not_is_refused(values: list[float], percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        stats.percentile(values, percent)


def test_one_disturbed_repetition_does_not_move_the_median() -> None:
    assert stats.median([100.0, 101.0, 5.0, 99.0, 102.0]) == 100.0


def test_the_best_peer_is_the_one_with_the_highest_median_at_any_concurrency() -> None:
    figures = Figures()
    figures.add("Slow", "tasks/s", 10, 900, 10, at=1)
    figures.add("Quick", "tasks/s", 50, at=1)
    figures.add("Quick", "tasks/s", 70, at=8)
    figures.add(OURS, "tasks/s", 5_000, at=8)

    best = figures.best("tasks/s", PEERS, (1, 8, 32))

    assert best is not None
    assert (best.who, best.at, best.median) == ("Quick", 8, 70)


def test_concurrency_1_is_judged_by_peers_at_1_and_the_others_by_the_peers_best() -> None:
    figures = Figures()
    for who, at, rate in [
        ("Quick", 1, 100),
        ("Quick", 32, 200),
        (OURS, 1, 250),
        (OURS, 8, 999),
        (OURS, 32, 1_400),
    ]:
        figures.add(who, "tasks/s", rate, at=at)

    one, eight, many, pipe, *_ = reach.judge(figures, PEERS)

    assert (one.measured, one.holds) == (2.5, True)
    assert (eight.measured, eight.holds) == (4.995, False)
    assert (many.measured, many.holds) == (7.0, True)
    assert (pipe.measured, pipe.holds) == (None, None)


def test_a_limit_holds_up_to_its_bound() -> None:
    figures = Figures()
    figures.add(OURS, "start p50, ms", 1.5)
    figures.add(OURS, "start p99, ms", 5.01)

    results = {result.goal.text: result.holds for result in reach.judge(figures, PEERS)}

    assert results["idle start latency p50, ms"] is True
    assert results["idle start latency p99, ms"] is False


def test_the_page_has_every_goal_every_worker_and_what_was_not_measured() -> None:
    figures = Figures()
    figures.add(OURS, "tasks/s", 5_000, 4_000, 6_000, at=1)
    figures.add("Quick", "tasks/s", 1_000, at=1)
    figures.add(PIPE, "tasks/s", 60_000, at=50)

    page = report.markdown(_run(figures, failures=["Slow at 1: it ended"]))

    assert all(goal.text in page for goal in reach.GOALS)
    row = next(line for line in page.splitlines() if line.startswith(f"| {OURS}"))
    assert [cell.strip() for cell in row.split("|")][2:6] == ["1", "5,000", "4,000 … 6,000", "5.00"]
    assert "- Slow at 1: it ended" in page
    assert "- **Quick**: threads (quick 1.0)" in page


def test_a_process_is_at_work_from_the_begin_of_a_run_to_its_end() -> None:
    assert distance.share([(10.0, 11.0), (11.0, 12.0), (14.0, 99.0)]) == 0.5
    assert distance.share([(10.0, 11.0), (11.0, 12.0)]) == 1.0


def test_utilisation_has_a_row_for_each_length_and_a_column_for_each_round_trip() -> None:
    figures = Figures()
    figures.add(OURS, report.utilisation(20), 0.9754, at=10)
    rows = [
        line for line in report.tables(_run(figures)).splitlines() if "utilisation" in line or "10 ms" in line
    ]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert cells == [
        ["utilisation by task length and round trip", "0 ms", "20 ms"],
        ["10 ms", "–", "0.975"],
    ]


def test_every_row_of_a_table_is_as_wide_as_its_head() -> None:
    figures = Figures()
    figures.add(OURS, "tasks/s", 123_456, at=32)

    tables = report.tables(_run(figures)).split("\n\n")

    for table in tables[1::2]:
        assert len({(len(line), line.count("|")) for line in table.splitlines()}) == 1, table


def _run(figures: Figures, failures: list[str] | None = None) -> report.Run:
    return report.Run(
        date="2026-01-02",
        command="runqy-harness bench",
        plan=QUICK,
        figures=figures,
        peers=PEERS,
        hows={OURS: "as it is", "Quick": "threads"},
        versions={"Quick": "quick 1.0"},
        machine={"processor": "two of them"},
        failures=failures or [],
        took_s=60.0,
    )
