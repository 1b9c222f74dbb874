"""A load run's arithmetic: what kept up, percentiles, and how many workers with how many slots it wants."""

import io
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.dev.load import picture
from harness.dev.load.advice import advise
from harness.dev.load.figures import Asked, Measured, Run, Sample
from harness.dev.load.tell import tell
from harness.evidence.report.view import Curve
from harness.output.terminal import Terminal

ASKED = Asked(rate=10, duration_s=10, workers=1, concurrency=1, mode="long_running", cores=4)
MIB = 1 << 20


def measured(run_s: float = 0.05, wait_s: float = 0.01, **changes: object) -> Measured:
    """A hundred tasks, one each tenth of a second, that all ran and waited so long."""
    runs = [Run(n / 10, n / 10 + wait_s + run_s, run_s, "task.completed") for n in range(100)]
    samples = [Sample(n / 2, [60 * MIB], 0, 20.0) for n in range(20)]
    return replace(Measured(ASKED, 100, 9.9, runs, samples), **changes)


def test_times_are_told_by_kind_and_percentile() -> None:
    runs = [Run(0, (n + 1) / 100 + 0.5, 0.5, "task.completed") for n in range(100)]

    times = measured(runs=[*runs, Run(0, 99, 1, "task.archived")], sent=101).times()

    waits = {name: round(seconds, 4) for name, seconds in times["wait"].items()}
    assert waits == {"mean": 0.505, "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}
    assert times["run"]["max"] == 0.5
    assert times["total"]["p50"] == pytest.approx(1.0)


def test_clocks_that_disagree_make_no_wait_negative() -> None:
    assert Run(1.0, 1.4, 0.5, "task.completed").wait_s == 0


def test_what_becomes_of_tasks_is_counted() -> None:
    failed = Run(1, 2, 1, "task.archived")

    run = measured(runs=[*measured().runs[:90], failed], sent=100)

    assert (len(run.completed), run.failed, run.unfinished) == (90, 1, 9)


def test_a_load_that_could_not_be_sent_is_said() -> None:
    out = io.StringIO()
    tell(measured(sending_s=20.0), Terminal(out))

    assert not measured(sending_s=20.0).sent_as_asked
    assert "5.0 sent\n            this machine sends no more" in out.getvalue()
    assert measured().sent_as_asked


def test_tasks_that_failed_were_not_kept_up_with() -> None:
    out = io.StringIO()
    tell(measured(runs=[Run(n / 10, n / 10 + 0.1, 0.05, "task.archived") for n in range(100)]), Terminal(out))

    assert out.getvalue().startswith(
        "✗ kept up, but did not complete every task of 10 tasks a second for 10.0 s ("
    )


def test_the_report_has_a_line_for_each_kind_of_time_and_the_advice() -> None:
    out = io.StringIO()
    tell(measured(run_s=0.5), Terminal(out))

    lines = out.getvalue().splitlines()
    assert lines[0] == "✓ kept up with 10 tasks a second for 10.0 s (1 worker, 1 at a time each)"
    assert lines[4].split() == ["run", *["500", "ms"] * 6]
    assert "  For this load: 8 workers with RUNQY_CONCURRENCY=1" in lines


@pytest.mark.parametrize(
    ("wait_s", "kept_up", "left"),
    [(0.01, True, 1), (0.9, True, 10), (5.0, False, 51)],
    ids=["at once", "a second behind", "far behind"],
)
def test_a_load_is_kept_up_with_when_little_is_left_at_its_end(
    wait_s: float, kept_up: bool, left: int
) -> None:
    run = measured(wait_s=wait_s)

    assert (run.kept_up, run.left) == (kept_up, left)


def test_slots_are_in_use_while_tasks_run_in_them() -> None:
    assert measured(run_s=0.05).busy == pytest.approx(0.5, abs=0.01)
    assert measured(run_s=0.05, asked=replace(ASKED, concurrency=2)).busy == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("last_mib", "grown"), [(60, False), (64, False), (75, False), (100, True)], ids="{} MiB".format
)
def test_memory_grows_where_that_is_worth_a_word(last_mib: int, grown: bool) -> None:
    samples = [Sample(n / 2, [(60 + (last_mib - 60) * n // 19) * MIB], 0, 20.0) for n in range(20)]

    run = measured(samples=samples)

    assert run.peak_bytes == last_mib * MIB
    assert (run.growth_bytes > 0) is grown


@pytest.mark.parametrize(
    ("run_s", "changes", "workers", "concurrency"),
    [
        pytest.param(0.05, {}, 1, 1, id="light"),
        pytest.param(0.1, {}, 2, 1, id="a slot that is always in use is not enough"),
        pytest.param(0.5, {}, 8, 1, id="one slot each where no more were measured"),
        pytest.param(0.5, {"asked": replace(ASKED, concurrency=8)}, 1, 8, id="several at a time"),
        pytest.param(0.6, {"asked": replace(ASKED, concurrency=8)}, 2, 5, id="and shared out evenly"),
        pytest.param(
            0.5, {"asked": replace(ASKED, concurrency=8), "one_at_a_time": True}, 8, 1, id="not really"
        ),
        pytest.param(0.5, {"asked": replace(ASKED, mode="one_shot")}, 2, 4, id="a process for each task"),
    ],
)
def test_a_load_wants_so_many_workers(
    run_s: float, changes: dict[str, object], workers: int, concurrency: int
) -> None:
    advice = advise(measured(run_s=run_s, **changes))

    assert advice is not None
    assert (advice.workers, advice.concurrency) == (workers, concurrency)


def test_failing_tasks_need_their_slots_too_and_without_a_good_one_there_is_no_advice() -> None:
    failing = [replace(run, outcome="task.archived", run_s=0.5) for run in measured().runs]

    assert advise(measured(runs=failing)) is None
    mixed = advise(measured(runs=[*measured().runs[:50], *failing[50:]]))
    assert mixed is not None
    assert mixed.workers == 4


def test_a_machine_that_is_used_up_is_said() -> None:
    busy = [replace(sample, cpu_percent=97.0) for sample in measured().samples]

    advice = advise(measured(samples=busy))

    assert advice is not None
    assert "4 processors were in use at 97 %" in advice.reasons[-1]


def test_the_picture_has_what_was_done_and_what_waited(tmp_path: Path) -> None:
    run = measured(wait_s=0.25)

    curves: dict[str, Curve] = {curve.label: curve for curve in picture.view(run).curves}
    picture.write(run, "a <title>", tmp_path / "run.svg")
    picture.write(run, "a <title>", tmp_path / "run.png")

    assert curves["longest wait, s"].most == 0.25
    assert curves["memory, MiB"].most == 60
    assert 9 <= curves["done, tasks/s"].most <= 12
    root = ElementTree.parse(tmp_path / "run.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "a <title>" in "".join(root.itertext())
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
