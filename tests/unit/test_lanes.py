"""The runner of all tests: its last lines say what failed and how to run that again alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import wait

RUNNER = Path(__file__).parents[2] / ".ci" / "lanes.py"
#: Notes who ran it.
SHARES = (
    "import os, pathlib, pytest\n\n@pytest.mark.image\ndef test_it():\n"
    "    with open('ran', 'a') as ran:\n"
    "        ran.write(f'{pathlib.Path(__file__).parent.name} {os.getpid()} {os.nice(0)}\\n')\n"
)
#: Gives a folder what this project's own tests have in common.
COMMON = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("common", {str(RUNNER.parents[1] / "tests" / "conftest.py")!r})
common = importlib.util.module_from_spec(spec)
spec.loader.exec_module(common)
"""
FILES = {
    "pytest.ini": "[pytest]\nmarkers = image: needs an engine\n",
    **{f"tests/image/test_{name}.py": SHARES for name in "pqrstuvw"},
    "tests/integration/test_b.py": "def test_bad():\n    assert 1 == 2\n",
    "tests/process/test_c.py": "import pytest\n\n@pytest.mark.skip(reason='no engine')\n"
    "def test_left_out(): pass\n",
    "tests/contract/conftest.py": "import pytest\n\n@pytest.fixture\ndef there(): return 7\n",
    "tests/contract/test_e.py": "def test_good(there): assert there == 7\n",
    "tests/e2e/test_f.py": f"{SHARES}\ndef test_good(): pass\n",
    "tests/chaos/test_g.py": "def test_good(): pass\n",
    "tests/integration/test_h.py": "import no_such_module\n",
    "tests/e2e/conftest.py": f"""{COMMON}
import types, pytest
pytest_runtest_makereport = common.pytest_runtest_makereport

@pytest.fixture
def world():
    log = chr(10).join(f"line {{number}}" for number in range(40))
    return types.SimpleNamespace(
        workers=[types.SimpleNamespace(name="worker1", log_path="/logs/worker1.log", tail=lambda: log)]
    )
""",
    "tests/e2e/test_i.py": "def test_with_worker(world):\n    assert 1 == 3\n",
    "tests/unit/test_d.py": "import pytest\n\n@pytest.fixture\ndef broken(): raise OSError('no disk')\n\n"
    "@pytest.mark.parametrize('n', [1])\ndef test_error(broken, n): pass\n",
}


def _begin(folder: Path, files: dict[str, str], lanes: int = 2) -> "subprocess.Popen[str]":
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return subprocess.Popen(
        [sys.executable, str(RUNNER)],
        cwd=folder,
        env=os.environ | {"LANES": str(lanes)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _run(folder: Path, files: dict[str, str], lanes: int = 2) -> "subprocess.CompletedProcess[str]":
    with _begin(folder, files, lanes) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lanes")


@pytest.fixture(scope="module")
def run(folder: Path) -> "subprocess.CompletedProcess[str]":
    return _run(folder, FILES)


def test_the_last_line_counts_the_tests_of_all_lanes_each_once(
    run: "subprocess.CompletedProcess[str]",
) -> None:
    assert run.returncode == 1
    assert "2 failed, 12 passed, 1 skipped, 2 errors in " in run.stdout.splitlines()[-1]


def test_what_shares_an_image_is_run_by_one_lane_for_each_folder(
    run: "subprocess.CompletedProcess[str]", folder: Path
) -> None:
    ran = [line.split() for line in (folder / "ran").read_text().splitlines()]
    assert sorted(path for path, _, _ in ran) == ["e2e"] + ["image"] * 8
    assert len({lane for path, lane, _ in ran if path == "image"}) == 1


def test_what_makes_the_image_comes_first_and_others_give_way_to_it(tmp_path: Path) -> None:
    plain = SHARES.replace("@pytest.mark.image\n", "")
    files = {
        "tests/chaos/test_g.py": plain,
        **{name: FILES[name] for name in ("pytest.ini", "tests/e2e/test_f.py")},
    }

    done = _run(tmp_path, files, lanes=1)

    assert done.returncode == 0, done.stdout
    ran = [line.split() for line in (tmp_path / "ran").read_text().splitlines()]
    given_way = min(os.nice(0) + 5, 19)  # the most there is: this may be run by nice itself
    assert [(path, int(nice)) for path, _, nice in ran] == [("e2e", os.nice(0)), ("chaos", given_way)]


def test_each_file_is_read_by_the_lane_that_runs_it_alone(tmp_path: Path) -> None:
    reads = "with open('read', 'a') as read: print(__name__, file=read)\n\ndef test_good(): pass\n"

    done = _run(tmp_path, {f"tests/unit/test_{name}.py": reads for name in "ab"}, lanes=3)

    assert done.returncode == 0, done.stdout
    assert sorted((tmp_path / "read").read_text().split()) == ["test_a", "test_b"]
    assert "2 passed in " in done.stdout.splitlines()[-1]


def test_where_there_is_nothing_to_run_is_no_success(tmp_path: Path) -> None:
    done = _run(tmp_path, {"tests/unit/test_a.py": "def helper(): pass\n"})

    assert done.returncode == 5
    assert "no tests ran in " in done.stdout.splitlines()[-1]


def test_what_failed_is_named_with_the_command_that_runs_it_alone(
    run: "subprocess.CompletedProcess[str]",
) -> None:
    assert "FAILED tests/integration/test_b.py::test_bad" in run.stdout
    assert "assert 1 == 2" in run.stdout
    assert "  again: .venv/bin/python -m pytest tests/integration/test_b.py::test_bad" in run.stdout
    assert "  again: .venv/bin/python -m pytest 'tests/unit/test_d.py::test_error[1]'" in run.stdout


def test_what_failed_shows_how_its_workers_log_ends_and_where_all_of_it_is(
    run: "subprocess.CompletedProcess[str]",
) -> None:
    shown = run.stdout.partition("FAILED tests/e2e/test_i.py::test_with_worker\n")[2].partition("  again: ")[
        0
    ]

    assert "assert 1 == 3" in shown
    assert "the log of worker1 ends (all: /logs/worker1.log)" in shown
    assert shown.count("  line ") == 40


def test_what_was_left_out_is_said_with_its_reason(run: "subprocess.CompletedProcess[str]") -> None:
    assert "SKIPPED tests/process/test_c.py::test_left_out: no engine" in run.stdout


@pytest.mark.parametrize(
    "numbers",
    # Twice: from timeout, which signals the whole group, and from make, which passes it on.
    [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM], [signal.SIGHUP]],
    ids=lambda numbers: numbers[0].name,
)
def test_an_interrupted_run_takes_down_what_its_tests_have_started(
    tmp_path: Path, numbers: list[signal.Signals]
) -> None:
    lasting = (
        "import pathlib, pytest, time\n\n@pytest.fixture\ndef server():\n"
        "    yield\n    time.sleep(1)\n    pathlib.Path({0!r}).unlink()\n\n"
        # Not in the fixture: one that is interrupted before its yield has nothing to take down.
        "def test_it(server):\n    pathlib.Path({0!r}).touch()\n    time.sleep(1000)\n"
    )
    started = tmp_path / "started"
    with _begin(tmp_path, {"tests/unit/test_a.py": lasting.format(str(started))}) as run:
        wait.until(started.exists, 300, "the test to be under way")

        # As a terminal does it: to the whole group.
        first, *more = numbers
        os.killpg(run.pid, first)
        for number in more:
            # Not before the first has arrived: two that wait for a program are one.
            assert run.stdout is not None
            while "interrupted: " not in run.stdout.readline():
                assert run.poll() is None
            os.killpg(run.pid, number)

        out, _ = run.communicate(timeout=300)
    assert not started.exists()
    assert run.returncode == 130
    assert " interrupted after " in out.splitlines()[-1]


@pytest.mark.parametrize("under_way", ["during", "teardown", "after"])
def test_a_command_that_runs_in_a_lane_keeps_no_interruption_from_it(tmp_path: Path, under_way: str) -> None:
    # given a test that runs a command of the harness in its own process, and one after it
    files = {
        "tests/unit/conftest.py": f"{COMMON}\npytest_runtest_protocol = common.pytest_runtest_protocol\n",
        "tests/unit/test_a.py": f"""
import contextlib, pathlib, pytest, time
from harness import failure

def lasts(step):
    pathlib.Path(step).touch()
    if step == {under_way!r}:
        time.sleep(1000)

@pytest.fixture
def something():
    yield
    lasts("teardown")

def test_command(something):
    # As cli.run does it.
    failure.on_interruption(failure.interrupt)
    with contextlib.suppress(failure.Interrupted):
        lasts("during")

def test_after():
    lasts("after")
""",
    }
    with _begin(tmp_path, files, lanes=1) as run:
        wait.until((tmp_path / under_way).exists, 300, "the test to be under way")

        # when
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=300)

    # then it has come to an end by itself, with what it had started
    assert "KeyboardInterrupt" in (tmp_path / "build" / "tests" / "lane-1.log").read_text()
    assert (tmp_path / "after").exists() == (under_way == "after")


def test_a_lane_that_does_not_come_to_its_end_is_an_error(tmp_path: Path) -> None:
    dies = {
        "tests/unit/test_d.py": "import os\n\ndef test_dies():\n    os._exit(7)\n",
        "tests/e2e/test_f.py": "def test_good(): pass\n",
    }

    done = _run(tmp_path, dies)

    assert done.returncode == 7
    assert "ERRORS lane " in done.stdout
    assert "ended with status 7" in done.stdout
    assert "1 errors in " in done.stdout.splitlines()[-1]
