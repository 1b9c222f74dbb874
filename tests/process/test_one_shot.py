"""A process a task: at once as many as tasks were submitted, each with an end of its own."""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace

import gevent
import pytest
from structlog.testing import capture_logs

from appliance.config.settings import RecoverySettings
from appliance.errors import ProcessNotReady
from appliance.process.outcome import Cancelled, Crashed, Failed, Returned, Succeeded, TimedOut
from appliance.process.runners.one_shot import OneShot
from harness import wait
from harness.sandbox.handlers import handler_source
from tests.process.bench import PATIENT, SOON_S, Bench

#: Reads to the end of its input, then answers with its process id.
PID = """
from raw import *
import os
ready()
(task,) = tasks()
answer(task, os.getpid())
"""
HOLD = """
from raw import *
import sys, time
ready()
for task in tasks():
    print("holding", task["task_id"], file=sys.stderr)
    time.sleep(1000)
"""
#: Answers, and then stays as long as the file is there.
LINGER = """
from raw import *
import os, time
open("linger", "a").close() if not os.path.exists("let go") else None
ready()
for task in tasks():
    answer(task, os.getpid())
while os.path.exists("linger"):
    time.sleep(0.01)
"""
#: Cannot start as long as the file is there.
BROKEN_WHILE = (
    """
import os, sys
if os.path.exists("broken"):
    print("no weights", file=sys.stderr)
    sys.exit(1)
"""
    + PID
)


def pid_of(outcome: object) -> int:
    assert isinstance(outcome, Succeeded)
    return int(outcome.result)


def test_the_real_sdk_answers_each_task_in_a_process_of_its_own(bench: Bench) -> None:
    runner = bench.one_shot(handler_source("one_shot"))

    for number in range(3):
        bench.submit(runner, f"t{number}", json.dumps({"n": number}).encode())

    outcomes = [bench.outcome(f"t{number}") for number in range(3)]
    assert all(isinstance(outcome, Succeeded) for outcome in outcomes)
    assert len({outcome.result for outcome in outcomes}) == 3
    wait.until(lambda: runner.state().pids == (), SOON_S, "the processes to exit")
    assert bench.crashes == []


def test_its_input_ends_behind_the_one_task(bench: Bench) -> None:
    runner = bench.one_shot(PID)
    assert runner.ready
    assert runner.state().pids == ()

    bench.submit(runner, "t1")
    bench.submit(runner, "t2")

    assert pid_of(bench.outcome("t1")) != pid_of(bench.outcome("t2"))


def test_as_many_run_at_once_as_were_submitted(bench: Bench) -> None:
    runner = bench.one_shot(HOLD)

    for number in range(4):
        bench.submit(runner, f"t{number}")

    for number in range(4):
        bench.printed(f"holding t{number}")
    assert len(runner.state().pids) == 4


def test_a_task_that_outlives_its_limit_ends_alone(bench: Bench) -> None:
    runner = bench.one_shot(HOLD, stop_grace_s=0.2)

    bench.submit(runner, "slow", run_limit_s=0.3)
    bench.submit(runner, "other")

    assert bench.outcome("slow") == TimedOut("timeout: still running after 0.3 s")
    assert runner.ready
    assert runner.state().recovery == "idle"
    assert [task_id for task_id, _ in bench.outcomes] == ["slow"]
    assert bench.crashes == []


def test_the_time_to_get_ready_is_not_part_of_the_run_limit(bench: Bench) -> None:
    runner = bench.one_shot("import time; time.sleep(2.5)\n" + PID)

    bench.submit(runner, run_limit_s=2.4)

    assert isinstance(bench.outcome(), Succeeded)


def test_a_cancelled_task_ends_alone(bench: Bench) -> None:
    runner = bench.one_shot(HOLD)
    bench.submit(runner, "t1")
    bench.submit(runner, "t2")
    bench.printed("holding t1")

    runner.cancel("nobody", "asked")
    runner.cancel("t1", "asked")

    assert bench.outcome("t1") == Cancelled("asked")
    assert [task_id for task_id, _ in bench.outcomes] == ["t1"]


def test_a_task_can_be_cancelled_before_its_process_is_ready(bench: Bench) -> None:
    runner = bench.one_shot("import time; time.sleep(1000)")
    bench.submit(runner)

    runner.cancel("t1", "asked")

    assert bench.outcome() == Cancelled("asked")
    assert bench.crashes == []
    assert runner.state().recovery == "idle"


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ("os.kill(os.getpid(), 9)", "SIGKILL"),
        ("os._exit(0)", "exit status 0"),
        ("os._exit(4)", "exit status 4"),
    ],
)
def test_a_crash_with_the_task_in_hand_is_the_tasks_death_and_no_matter_of_recovery(
    bench: Bench, end: str, text: str
) -> None:
    runner = bench.one_shot(f"from raw import *\nimport os\nready()\nfor task in tasks(): {end}")

    bench.submit(runner)

    assert bench.outcome() == Crashed(f"the task process ended while the task ran: {text}")
    assert bench.crash().task_ids == ("t1",)
    assert runner.ready
    assert runner.state().consecutive_fails == 0


def test_an_error_of_the_sdk_is_a_failure(bench: Bench) -> None:
    runner = bench.one_shot(
        "from runqy_python import *\n@task\ndef handle(payload): raise RetryableError('again')\nrun_once()"
    )

    bench.submit(runner)

    assert bench.outcome() == Failed("again", retry=True)


def test_a_process_that_does_not_start_returns_its_task_and_closes_the_intake_until_the_next_attempt(
    bench: Bench,
) -> None:
    runner = bench.one_shot(BROKEN_WHILE, replace(PATIENT, initial_delay_s=0.2, max_delay_s=0.2))
    (bench.folder / "broken").touch()

    bench.submit(runner, "t1")
    outcome = bench.outcome("t1")

    assert outcome == Returned("the task process did not start: exit status 1; last error line: no weights")
    assert not runner.ready
    assert runner.state().recovery == "recovering"
    with pytest.raises(ProcessNotReady, match="waiting"):
        bench.submit(runner, "refused")

    (bench.folder / "broken").unlink()
    bench.ready(runner)
    bench.submit(runner, "t2")
    assert isinstance(bench.outcome("t2"), Succeeded)
    state = runner.state()
    assert (state.recovery, state.consecutive_fails, state.total_restarts) == ("idle", 0, 1)


def test_a_process_that_is_not_ready_in_time_returns_its_task(bench: Bench) -> None:
    runner = bench.one_shot("import time; time.sleep(1000)", startup_timeout_s=0.2)

    bench.submit(runner)

    outcome = bench.outcome()
    assert isinstance(outcome, Returned)
    assert "was not ready within 0.2 s" in outcome.reason
    assert not bench.crash().was_ready


def test_starts_that_fail_again_and_again_end_degraded(bench: Bench) -> None:
    settings = RecoverySettings(max_restarts=2, initial_delay_s=0.01, max_delay_s=0.01)
    runner = bench.one_shot("raise SystemExit(1)", settings)

    for number in range(3):
        bench.ready(runner)
        bench.submit(runner, f"t{number}")
        assert isinstance(bench.outcome(f"t{number}"), Returned)

    assert runner.state().recovery == "degraded"
    assert runner.state().consecutive_fails == 3
    with pytest.raises(ProcessNotReady, match="degraded"):
        bench.submit(runner, "refused")


def test_processes_started_together_that_fail_together_are_one_failure(bench: Bench) -> None:
    settings = RecoverySettings(max_restarts=1, initial_delay_s=1000.0, max_delay_s=1000.0)
    runner = bench.one_shot("raise SystemExit(1)", settings)

    for number in range(4):
        bench.submit(runner, f"t{number}")

    for number in range(4):
        assert isinstance(bench.outcome(f"t{number}"), Returned)
    assert runner.state().recovery == "recovering"
    assert runner.state().consecutive_fails == 1


def test_a_failure_of_a_process_that_was_started_before_the_last_one_is_not_counted_again(
    bench: Bench,
) -> None:
    runner = bench.one_shot(
        "import os, sys, time\n"
        "try: os.mkdir('first')\n"
        "except FileExistsError:\n"
        "    while not os.path.exists('go'): time.sleep(0.01)\n"
        "sys.exit(1)\n"
    )
    bench.submit(runner, "t1")
    bench.submit(runner, "t2")
    wait.until(lambda: bench.outcomes, SOON_S, "the first failure", bench.diagnose)
    bench.ready(runner)

    (bench.folder / "go").touch()

    wait.until(lambda: len(bench.outcomes) == 2, SOON_S, "the second failure", bench.diagnose)
    assert runner.state().consecutive_fails == 1
    assert runner.ready


# Lingering ------------------------------------------------------------------------------------------


def test_a_process_that_lingers_after_its_answer_keeps_its_place(bench: Bench) -> None:
    runner = bench.one_shot(LINGER)
    bench.submit(runner, "t1")
    first = pid_of(bench.outcome("t1"))
    assert runner.state().pids == (first,)

    with capture_logs() as events:
        bench.submit(runner, "t2")
    # The log says it at once; a second process would have its id only a moment later.
    assert [event for event in events if event["event"] == "process.starting"] == []
    assert runner.state().pids == (first,)

    (bench.folder / "let go").touch()
    (bench.folder / "linger").unlink()
    assert pid_of(bench.outcome("t2")) != first


def test_a_process_that_lingers_too_long_is_ended(bench: Bench) -> None:
    runner = bench.one_shot(LINGER, stop_grace_s=0.2)
    bench.submit(runner, "t1")
    first = pid_of(bench.outcome("t1"))

    bench.submit(runner, "t2")

    assert pid_of(bench.outcome("t2")) != first
    assert bench.crashes == []
    assert runner.state().recovery == "idle"


def test_a_task_that_waits_for_a_lingering_process_can_be_cancelled_and_expires(bench: Bench) -> None:
    runner = bench.one_shot(LINGER)
    bench.submit(runner, "t1")
    bench.submit(runner, "t2")
    pids = {pid_of(bench.outcome("t1")), pid_of(bench.outcome("t2"))}

    bench.submit(runner, "t3")
    bench.submit(runner, "t4", deadline_monotonic_s=time.monotonic() + 0.2)
    runner.cancel("t3", "asked")

    assert bench.outcome("t3") == Cancelled("asked")
    assert bench.outcome("t4") == TimedOut("deadline: it passed before the run")
    assert set(runner.state().pids) == pids


def test_an_answer_that_comes_during_the_stop_counts_and_does_not_prolong_it(bench: Bench) -> None:
    runner = bench.one_shot(
        "from raw import *\nimport signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: answer(held, 'late'))\n"
        "ready()\n"
        "for held in tasks():\n"
        "    print('holding', file=sys.stderr)\n"
        "    while True: time.sleep(1)\n",
        stop_grace_s=5 * SOON_S,
    )
    bench.submit(runner)
    bench.printed("holding")
    began_s = time.monotonic()

    runner.stop(0.5)

    assert bench.outcomes == [("t1", Succeeded(b'"late"'))]
    assert time.monotonic() - began_s < 2 * SOON_S


# Stop -----------------------------------------------------------------------------------------------


def stopped_idle(bench: Bench) -> OneShot:
    return bench.one_shot(PID)


def stopped_while_starting(bench: Bench) -> OneShot:
    runner = bench.one_shot("import time; time.sleep(1000)")
    bench.submit(runner)
    wait.until(lambda: runner.state().pids, SOON_S, "the process")
    return runner


def stopped_while_busy(bench: Bench) -> OneShot:
    runner = bench.one_shot(HOLD)
    for number in range(3):
        bench.submit(runner, f"t{number}")
    bench.printed("holding t0")
    return runner


def stopped_while_lingering_with_a_task_that_waits(bench: Bench) -> OneShot:
    runner = bench.one_shot(LINGER)
    bench.submit(runner, "t1")
    bench.outcome("t1")
    bench.submit(runner, "t2")
    return runner


def stopped_while_waiting_to_restart(bench: Bench) -> OneShot:
    runner = bench.one_shot("", replace(PATIENT, initial_delay_s=1000.0, max_delay_s=1000.0))
    bench.submit(runner)
    bench.outcome()
    return runner


def stopped_while_degraded(bench: Bench) -> OneShot:
    runner = bench.one_shot("", replace(PATIENT, max_restarts=0))
    bench.submit(runner)
    bench.outcome()
    return runner


@pytest.mark.parametrize(
    "arrange",
    [
        stopped_idle,
        stopped_while_starting,
        stopped_while_busy,
        stopped_while_lingering_with_a_task_that_waits,
        stopped_while_waiting_to_restart,
        stopped_while_degraded,
    ],
    ids=lambda arrange: arrange.__name__,
)
def test_it_can_be_stopped_at_any_moment_and_again(bench: Bench, arrange: Callable[[Bench], OneShot]) -> None:
    runner = arrange(bench)
    settled = list(bench.outcomes)
    began_s = time.monotonic()

    gevent.joinall([gevent.spawn(runner.stop, 1.0) for _ in range(2)], raise_error=True)
    runner.stop(1.0)

    assert time.monotonic() - began_s < SOON_S
    assert bench.alive() == []
    for _, outcome in bench.outcomes[len(settled) :]:
        assert isinstance(outcome, Returned)
        assert "the worker stops" in outcome.reason
    with pytest.raises(ProcessNotReady):
        bench.submit(runner, "late")


def test_a_killed_process_among_others_ends_its_own_task_only(bench: Bench) -> None:
    runner = bench.one_shot(HOLD)
    for number in range(3):
        bench.submit(runner, f"t{number}")
    for number in range(3):
        bench.printed(f"holding t{number}")

    os.kill(runner.state().pids[0], signal.SIGKILL)

    wait.until(lambda: bench.outcomes, SOON_S, "the outcome")
    ((_, outcome),) = bench.outcomes
    assert isinstance(outcome, Crashed)
    assert len(runner.state().pids) == 2
