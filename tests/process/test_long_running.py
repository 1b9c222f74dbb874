"""One process for all tasks: started, asked, answered, replaced, restarted, given up."""

import itertools
import os
import signal
import time
from collections.abc import Callable, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import psutil
import pytest
from gevent import monkey
from structlog.testing import capture_logs

from appliance.clock import SystemClock
from appliance.config.settings import RecoverySettings
from appliance.errors import ProcessNotReady
from appliance.process.outcome import Cancelled, Crashed, Failed, Outcome, Returned, Succeeded, TimedOut
from appliance.process.runner import Request
from appliance.process.runners.long_running import LongRunning
from appliance.process.spec import Hooks, ProcessSpec
from harness import wait
from harness.sandbox.handlers import handler_source
from tests.process.bench import PATIENT, SOON_S, Bench

ECHO = """
from raw import *
ready()
for task in tasks():
    answer(task, task["payload"])
"""
#: Holds its tasks for ever, and says when it has one.
HOLD = """
from raw import *
import sys, time
ready()
for task in tasks():
    print("holding", task["task_id"], file=sys.stderr)
    if task["payload"] == "sleep":
        time.sleep(1000)
"""
NEVER_READY = "import time; time.sleep(1000)"
SDK_SLEEP = """
import time
from runqy_python import run, task

@task
def handle(payload):
    print("sleeping", payload)
    time.sleep(payload)
    return "slept"

run()
"""


# Ready ----------------------------------------------------------------------------------------------


def test_the_real_sdk_gets_ready_and_answers(bench: Bench) -> None:
    runner = bench.long_running(handler_source("echo"))
    bench.ready(runner)

    bench.submit(runner, payload=b'{"n": 12345678901234567890}')

    outcome = bench.outcome()
    assert isinstance(outcome, Succeeded)
    assert b'"echo": {"n": 12345678901234567890}' in outcome.result
    assert runner.state().pids == (int(outcome.result.rpartition(b":")[2].strip(b" }")),)


def test_an_answer_with_something_behind_it_on_its_line_is_taken(bench: Bench) -> None:
    # Colours reset behind the line, and print() of two threads: unbuffered, each writes its line break apart.
    runner = bench.long_running(
        "import json, sys\n"
        'print(\'{"status": "ready"}\')\n'
        "for line, behind in zip(sys.stdin, ('\\x1b[0m', '\\0', '\\f', '\\xa0', 'tick')):\n"
        "    sys.stdout.reconfigure(encoding='utf-8')\n"
        "    sys.stdout.write(json.dumps({'task_id': json.loads(line)['task_id'], 'result': 1}))\n"
        "    sys.stdout.write(behind)\n"
        "    sys.stdout.write('\\n')\n"
        "sys.stdin.read()\n"
    )
    bench.ready(runner)

    for number in range(5):
        bench.submit(runner, f"t{number}")
        assert bench.outcome(f"t{number}") == Succeeded(b"1")

    wait.until(lambda: ("stdout", "tick") in bench.output, SOON_S, "what stood behind it", bench.diagnose)


def test_it_takes_no_task_before_the_process_is_ready_however_late_that_is(bench: Bench) -> None:
    gate = bench.folder / "gate"
    runner = bench.long_running(
        "import os, time\n" + f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n" + ECHO
    )
    wait.until(lambda: runner.state().pids, SOON_S, "the process")

    assert not runner.ready
    with pytest.raises(ProcessNotReady, match="starting"):
        bench.submit(runner)

    gate.touch()
    bench.ready(runner)
    bench.submit(runner)
    assert bench.outcome() == Succeeded(b"{}")
    assert bench.seen == [("idle", True)]


def test_a_process_that_is_not_ready_in_time_is_ended_and_started_again(bench: Bench) -> None:
    runner = bench.long_running(NEVER_READY, startup_timeout_s=0.2)

    crash = bench.crash(2)

    assert crash.exit == "was not ready within 0.2 s; SIGTERM"
    assert not crash.was_ready
    assert 0.2 <= crash.uptime_s < 5
    assert runner.state().total_restarts >= 1


def test_the_reason_a_process_gives_for_not_starting_is_in_the_report(bench: Bench) -> None:
    bench.long_running(
        "from runqy_python import *\n"
        "@load\ndef load_model(): raise RuntimeError('no GPU, token s3cret')\n"
        "@task\ndef handle(payload, context): pass\n"
        "run()\n",
        redact=lambda text: text.replace("s3cret", "***"),
    )

    crash = bench.crash()

    assert "reported that it cannot start: @load failed: no GPU, token ***" in crash.exit
    assert "no GPU" not in crash.how, "the status page shows it, and task code can read that"
    assert "reported that it cannot start" in crash.how
    assert not crash.was_ready


def test_a_program_that_does_not_exist_is_a_failure_like_others(bench: Bench) -> None:
    bench.long_running("", argv=("no-such-program",))

    crash = bench.crash(2)

    assert "could not be started" in crash.exit
    assert "no-such-program" in crash.exit


def test_a_program_is_looked_for_on_the_path_of_the_process_not_of_the_worker(bench: Bench) -> None:
    program = bench.folder / "bin" / "serve"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho \'{"status": "ready"}\'\nexec cat >/dev/null\n')
    program.chmod(0o755)

    runner = bench.long_running("", argv=("serve",), env={"PATH": f"{program.parent}:/usr/bin:/bin"})

    bench.ready(runner)


def test_an_exit_with_status_0_is_a_failure_too(bench: Bench) -> None:
    runner = bench.long_running("from raw import *; ready()")

    crash = bench.crash(2)

    assert crash.exit == "exit status 0"
    assert crash.was_ready
    assert runner.state().total_restarts >= 1


# Answers --------------------------------------------------------------------------------------------


def test_several_tasks_in_flight_are_answered_in_any_order(bench: Bench) -> None:
    runner = bench.long_running(
        "from raw import *\n"
        "ready(); held = []\n"
        "for task in tasks():\n"
        "    held.append(task)\n"
        "    if len(held) == 3:\n"
        "        for task in reversed(held): answer(task, task['payload'])\n"
    )
    bench.ready(runner)

    for number in range(3):
        bench.submit(runner, f"t{number}", str(number).encode())

    bench.outcome("t0")
    assert bench.outcomes == [("t2", Succeeded(b"2")), ("t1", Succeeded(b"1")), ("t0", Succeeded(b"0"))]


def test_answers_that_belong_to_no_task_are_ignored_and_counted(bench: Bench) -> None:
    with capture_logs() as events:
        runner = bench.long_running(
            "from raw import *\n"
            "ready()\n"
            "for task in tasks():\n"
            "    say(task_id='nobody')\n"
            "    answer(task, 1); answer(task, 2); answer(task, error='late')\n"
        )
        bench.ready(runner)

        bench.submit(runner, "t1")
        bench.submit(runner, "t2")

        assert bench.outcome("t2") == Succeeded(b"1")
        wait.until(
            lambda: (
                [event["count"] for event in events if event["event"] == "process.answer_ignored"]
                == [1, 2, 3, 4, 5, 6]
            ),
            SOON_S,
            "the ignored answers to be counted",
            lambda: str(events),
        )


def test_an_error_is_redacted(bench: Bench) -> None:
    runner = bench.long_running(
        "from runqy_python import *\n@task\ndef handle(payload): raise RetryableError('with s3cret')\nrun()",
        redact=lambda text: text.replace("s3cret", "***"),
    )
    bench.ready(runner)

    bench.submit(runner)

    assert bench.outcome() == Failed("with ***", retry=True)


def test_a_result_of_5_mb_arrives_whole_and_the_task_is_not_kept_waiting_for_the_next(bench: Bench) -> None:
    runner = bench.long_running(ECHO)
    bench.ready(runner)
    payload = b'"' + b"x" * 5_000_000 + b'"'

    bench.submit(runner, "large", payload)
    bench.submit(runner, "small", b"1")

    assert bench.outcome("large") == Succeeded(payload)
    assert bench.outcome("small") == Succeeded(b"1")


def test_a_flood_of_log_lines_delays_no_answer(bench: Bench) -> None:
    runner = bench.long_running(
        "from raw import *\nimport sys, threading\n"
        "def flood(stream):\n"
        "    while True: stream.write('log line\\n' * 1000)\n"
        "threading.Thread(target=flood, args=(sys.stderr,), daemon=True).start()\n" + ECHO
    )
    bench.ready(runner)

    for number in range(20):
        bench.submit(runner, f"t{number}", b"1")
        assert bench.outcome(f"t{number}") == Succeeded(b"1")

    assert ("stderr", "log line") in bench.output
    bench.output.clear()


def test_what_a_task_prints_before_its_answer_is_read_before_it(bench: Bench) -> None:
    runner = bench.long_running(
        "from raw import *\nimport sys\nready()\n"
        "for task in tasks():\n"
        "    print('said by', task['task_id'], file=sys.stderr)\n"
        "    answer(task, 1)\n"
    )
    bench.ready(runner)
    unsaid: list[str] = []

    def delivered(request: Request, outcome: Outcome) -> None:
        bench.outcomes.append((request.task_id, outcome))
        if ("stderr", f"said by {request.task_id}") not in bench.output:
            unsaid.append(request.task_id)

    for number in range(50):
        bench.submit(runner, f"t{number}", b"1", deliver=delivered)
        bench.outcome(f"t{number}")

    assert unsaid == []
    bench.output.clear()


def test_lines_that_are_read_before_answers_stay_in_their_order(bench: Bench) -> None:
    runner = bench.long_running(
        "from raw import *\nimport sys\nready()\n"
        "for task in tasks():\n"
        "    first = 1000 * task['payload']\n"
        "    for number in range(first, first + 1000): print('number', number, file=sys.stderr)\n"
        "    answer(task, 1)\n"
    )
    bench.ready(runner)

    for number in range(20):
        bench.submit(runner, f"t{number}", str(number).encode())
    for number in range(20):
        bench.outcome(f"t{number}")
    bench.printed("number 19999")

    said = [text for source, text in bench.output if source == "stderr"]
    assert said == [f"number {number}" for number in range(20_000)]
    bench.output.clear()


def test_20_mb_without_a_line_break_go_by_in_pieces(bench: Bench) -> None:
    runner = bench.long_running(
        "from raw import *\nimport sys\n"
        "sys.stderr.write('e' * 20_000_000); sys.stderr.flush()\n"
        "sys.stdout.write('o' * 20_000_000 + '\\n'); sys.stdout.flush()\n" + ECHO
    )
    bench.ready(runner)

    bench.submit(runner)

    assert bench.outcome() == Succeeded(b"{}")
    runner.stop(1.0)
    for source in ("stdout", "stderr"):
        assert sum(len(text) for known, text in bench.output if known == source) == 20_000_000
    bench.output.clear()


@pytest.mark.timeout(300)
def test_a_process_that_does_not_read_does_not_hold_up_the_worker(bench: Bench) -> None:
    runner = bench.long_running("from raw import *\nimport time\nready(); time.sleep(1000)")
    bench.ready(runner)
    turns = []

    bench.submit(runner, "t1", b'"' + b"x" * 20_000_000 + b'"')
    bench.submit(runner, "t2", b'"' + b"x" * 20_000_000 + b'"')
    gevent.spawn(turns.append, "mine").join(5)

    assert turns == ["mine"]
    runner.cancel("t1", "enough")
    assert bench.outcome("t1") == Cancelled("enough")
    assert isinstance(bench.outcome("t2"), Returned)


# Crashes --------------------------------------------------------------------------------------------


def test_a_killed_process_ends_each_of_its_tasks_as_died_and_the_next_takes_over(bench: Bench) -> None:
    runner = bench.long_running(HOLD)
    bench.ready(runner)
    for number in range(3):
        bench.submit(runner, f"t{number}")
    bench.printed("holding t2")
    (pid,) = runner.state().pids

    os.kill(pid, signal.SIGKILL)

    for number in range(3):
        outcome = bench.outcome(f"t{number}")
        assert isinstance(outcome, Crashed)
        assert "ended while the task ran: SIGKILL" in outcome.reason
        assert "last error line: holding t2" in outcome.reason
    crash = bench.crash()
    assert crash.exit == "SIGKILL"
    assert crash.task_ids == ("t0", "t1", "t2")
    assert crash.was_ready
    bench.ready(runner)
    assert runner.state().pids != (pid,)
    assert runner.state().total_restarts == 1


def test_a_crash_of_the_real_sdk_in_a_task_is_that_tasks_death(bench: Bench) -> None:
    runner = bench.long_running(
        "import os\nfrom runqy_python import run, task\n"
        "@task\ndef handle(payload):\n    print('bye')\n    os._exit(7)\nrun()"
    )
    bench.ready(runner)

    bench.submit(runner)

    outcome = bench.outcome()
    assert outcome == Crashed(
        "the task process ended while the task ran: exit status 7; last error line: bye"
    )


def test_a_killed_process_of_the_real_sdk_is_replaced_by_one_that_answers(bench: Bench) -> None:
    runner = bench.long_running(SDK_SLEEP)
    bench.ready(runner)
    bench.submit(runner, "t1", b"1000")
    bench.printed("sleeping 1000")

    os.kill(runner.state().pids[0], signal.SIGKILL)
    assert isinstance(bench.outcome("t1"), Crashed)

    bench.ready(runner)
    bench.submit(runner, "t2", b"0")
    assert bench.outcome("t2") == Succeeded(b'"slept"')


def test_the_last_words_are_in_the_report_without_a_line_break_too(bench: Bench) -> None:
    bench.long_running(
        "import os, sys\n"
        "for n in range(300): print('line', n, file=sys.stderr)\n"
        "sys.stderr.write('x' * 200_000 + '\\n')\n"
        "sys.stderr.write('last words with s3cret'); sys.stderr.flush(); os._exit(3)",
        redact=lambda text: text.replace("s3cret", "***"),
    )

    crash = bench.crash()

    assert crash.exit == "exit status 3"
    assert crash.stderr_tail[-1] == "last words with ***"
    assert len(crash.stderr_tail) <= 200
    assert max(map(len, crash.stderr_tail)) <= 2000


def test_what_is_still_in_the_pipes_at_the_exit_counts(bench: Bench) -> None:
    got, go = bench.folder / "got", bench.folder / "go"
    runner = bench.long_running(
        "from raw import *\nimport os, pathlib, sys, time\nready()\n"
        "for task in tasks():\n"
        f"    pathlib.Path({str(got)!r}).touch()\n"
        f"    while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "    answer(task, 'x' * 50_000); sys.stderr.write('last words'); sys.stderr.flush(); os._exit(3)\n"
    )
    bench.ready(runner)
    process = psutil.Process(runner.state().pids[0])
    bench.submit(runner)
    wait.until(got.exists, SOON_S, "the task to be there")

    # From here on not a wait that lets others run: the worker must find output and exit at the same moment.
    go.touch()
    deadline_s = time.monotonic() + SOON_S
    while process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline_s
        monkey.get_original("time", "sleep")(0.01)

    assert bench.outcome() == Succeeded(b'"' + b"x" * 50_000 + b'"')
    assert bench.crash().stderr_tail == ("last words",)


def test_an_answer_without_a_line_break_just_before_the_exit_counts(bench: Bench) -> None:
    runner = bench.long_running(
        "from raw import *\nimport os, sys\nready()\n"
        "for task in tasks():\n"
        "    sys.stdout.write(json.dumps({'task_id': task['task_id'], 'result': 1})); sys.stdout.flush()\n"
        "    os._exit(1)\n"
    )
    bench.ready(runner)

    bench.submit(runner)

    assert bench.outcome() == Succeeded(b"1")
    assert bench.crash().task_ids == ()


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_a_process_that_closes_a_pipe_and_lives_on_is_replaced(bench: Bench, stream: str) -> None:
    runner = bench.long_running(
        "from raw import *\nimport os, sys, time\nready()\n"
        f"os.close({'0' if stream == 'stdin' else '1'}); print('closed', file=sys.stderr); time.sleep(1000)"
    )
    bench.ready(runner)
    (pid,) = runner.state().pids
    bench.printed("closed")

    if stream == "stdin":
        bench.submit(runner)
        assert isinstance(bench.outcome(), Crashed)

    assert bench.crash().exit == f"closed its {stream} and lived on; SIGTERM"
    assert bench.crash().was_ready
    bench.ready(runner)
    assert runner.state().pids != (pid,)


def test_a_crash_loop_waits_longer_each_time_and_ends_degraded(bench: Bench) -> None:
    settings = RecoverySettings(max_restarts=3, initial_delay_s=0.1, max_delay_s=0.3, backoff_factor=2)
    moments: list[tuple[str, float]] = []

    def note(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        moments.append((event["event"], time.monotonic()))
        return event

    with capture_logs(processors=[note]) as logged:
        runner = bench.long_running("import os; os._exit(1)", settings)
        wait.until(lambda: runner.state().recovery == "degraded", SOON_S, "degraded", bench.diagnose)

    assert len(bench.crashes) == 4
    state = runner.state()
    assert (state.total_restarts, state.consecutive_fails, state.ready) == (3, 4, False)
    # From one start to the next: when an end is noted is up to how busy the machine is.
    started = [at_s for event, at_s in moments if event == "process.starting"]
    gaps = [after_s - before_s for before_s, after_s in itertools.pairwise(started)]
    for gap, least in zip(gaps, [0.1, 0.2, 0.3], strict=True):
        assert gap >= least
    assert [event["delay_s"] for event in logged if event["event"] == "process.restart_scheduled"] == [
        0.1,
        0.2,
        0.3,
    ]
    with pytest.raises(ProcessNotReady, match="degraded"):
        bench.submit(runner)


def test_a_stable_run_ends_the_row_of_failures(bench: Bench) -> None:
    settings = RecoverySettings(max_restarts=1, initial_delay_s=0.01, max_delay_s=0.01, cooldown_period_s=0.3)
    runner = bench.long_running("from raw import *\nready()\nfor task in tasks(): pass", settings)

    for number in range(1, 4):
        bench.ready(runner)
        (pid,) = runner.state().pids
        ready_s = time.monotonic()
        wait.until(lambda ready_s=ready_s: time.monotonic() - ready_s > 0.3, SOON_S, "the cooldown")
        os.kill(pid, signal.SIGKILL)
        bench.crash(number)

    bench.ready(runner)
    assert runner.state().total_restarts == 3
    assert runner.state().recovery == "idle"


# Limits and cancellation ----------------------------------------------------------------------------


def test_a_task_that_outlives_its_limit_expires_and_its_process_is_replaced(bench: Bench) -> None:
    runner = bench.long_running(SDK_SLEEP, stop_grace_s=0.2)
    bench.ready(runner)
    (pid,) = runner.state().pids

    bench.submit(runner, "slow", b"1000", run_limit_s=0.3)
    bench.submit(runner, "behind", b"0", run_limit_s=0.3)

    assert bench.outcome("slow") == TimedOut("timeout: still running after 0.3 s")
    behind = bench.outcome("behind")
    assert isinstance(behind, Returned)
    assert "a task's limit passed" in behind.reason
    bench.ready(runner)
    assert runner.state().pids != (pid,)
    assert runner.state().total_restarts == 0
    assert bench.crashes == []


def test_the_run_limit_of_a_task_begins_when_it_is_the_oldest(bench: Bench) -> None:
    runner = bench.long_running(SDK_SLEEP)
    bench.ready(runner)

    for number in range(3):
        bench.submit(runner, f"t{number}", b"1.1", run_limit_s=3.0)

    for number in range(3):
        assert bench.outcome(f"t{number}") == Succeeded(b'"slept"')


def test_the_run_limit_of_a_task_that_became_the_oldest_holds(bench: Bench) -> None:
    runner = bench.long_running(SDK_SLEEP, stop_grace_s=0.1)
    bench.ready(runner)

    bench.submit(runner, "quick", b"0.1")
    bench.submit(runner, "slow", b"1000", run_limit_s=0.2)

    assert bench.outcome("quick") == Succeeded(b'"slept"')
    assert bench.outcome("slow") == TimedOut("timeout: still running after 0.2 s")


def test_a_deadline_holds_for_a_task_that_waits_behind_another(bench: Bench) -> None:
    runner = bench.long_running(SDK_SLEEP, stop_grace_s=0.1)
    bench.ready(runner)

    bench.submit(runner, "slow", b"1000")
    bench.submit(runner, "behind", b"0", deadline_monotonic_s=time.monotonic() + 0.3)

    assert bench.outcome("behind") == TimedOut("deadline: it passed during the run")
    assert isinstance(bench.outcome("slow"), Returned)


def test_a_cancelled_task_ends_with_its_process(bench: Bench) -> None:
    runner = bench.long_running(SDK_SLEEP, stop_grace_s=0.2)
    bench.ready(runner)
    bench.submit(runner, "t1", b"1000")
    bench.submit(runner, "t2", b"0")
    bench.printed("sleeping 1000")

    runner.cancel("unknown", "nobody's")
    runner.cancel("t1", "an operator asked")
    runner.cancel("t1", "again")

    assert bench.outcome("t1") == Cancelled("an operator asked")
    assert isinstance(bench.outcome("t2"), Returned)
    bench.ready(runner)
    assert runner.state().total_restarts == 0
    assert bench.crashes == []


def test_no_task_is_taken_while_the_process_is_being_replaced(bench: Bench) -> None:
    runner = bench.long_running(HOLD)
    bench.ready(runner)
    bench.submit(runner, "t1", b'"sleep"')

    runner.cancel("t1", "an operator asked")

    assert not runner.ready
    with pytest.raises(ProcessNotReady, match="replacing"):
        bench.submit(runner, "t2")


def test_the_same_task_twice_at_once_is_refused(bench: Bench) -> None:
    runner = bench.long_running(HOLD)
    bench.ready(runner)
    bench.submit(runner)

    with pytest.raises(ProcessNotReady, match="in flight"):
        bench.submit(runner)


# Stop -----------------------------------------------------------------------------------------------


def test_stopping_lets_a_running_task_of_the_sdk_finish_and_its_answer_counts(bench: Bench) -> None:
    runner = bench.long_running(SDK_SLEEP)
    bench.ready(runner)
    bench.submit(runner, "t1", b"0.5")
    bench.printed("sleeping")

    runner.stop(SOON_S)

    assert bench.outcomes == [("t1", Succeeded(b'"slept"'))]
    assert bench.crashes == []


def test_stopping_past_the_ask_lets_the_sdk_finish_the_task_it_runs_and_returns_the_rest(
    bench: Bench,
) -> None:
    runner = bench.long_running(SDK_SLEEP)
    bench.ready(runner)
    bench.submit(runner, "t1", b"2")
    bench.submit(runner, "t2", b"1000")
    bench.printed("sleeping 2")

    runner.stop(SOON_S)

    assert bench.outcome("t1") == Succeeded(b'"slept"')
    assert bench.outcome("t2") == Returned("the task process was ended: the worker stops")


def test_an_idle_process_of_the_sdk_is_stopped_at_once(bench: Bench) -> None:
    runner = bench.long_running(handler_source("echo"))
    bench.ready(runner)
    began_s = time.monotonic()

    # It leaves when it is asked to; a stop that waits for the end of the grace takes all of it.
    runner.stop(10 * SOON_S)

    assert time.monotonic() - began_s < 5 * SOON_S


def test_a_process_that_ignores_every_request_to_end_is_killed_within_the_grace(bench: Bench) -> None:
    runner = bench.long_running(
        "from raw import *\nimport signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('ignored', file=sys.stderr))\n"
        "ready()\n"
        "while True: time.sleep(1)"
    )
    bench.ready(runner)
    bench.submit(runner)
    began_s = time.monotonic()

    runner.stop(1.0)

    # Asked for 0.5 s, SIGTERM for 1 s, then SIGKILL.
    assert 1.5 <= time.monotonic() - began_s < SOON_S
    assert isinstance(bench.outcome(), Returned)


def test_a_second_stop_replaces_the_times_of_the_first_and_sends_no_second_sigterm(bench: Bench) -> None:
    runner = bench.long_running(
        "from raw import *\nimport signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('ignored', file=sys.stderr))\n"
        "ready()\n"
        "while True: time.sleep(1)"
    )
    bench.ready(runner)
    first = gevent.spawn(runner.stop, 1000.0)
    bench.printed("ignored")

    runner.stop(0.4)

    first.join(SOON_S)
    assert first.successful()
    assert bench.output.count(("stderr", "ignored")) == 1


def test_a_frozen_process_is_killed_too(bench: Bench) -> None:
    runner = bench.long_running(HOLD)
    bench.ready(runner)
    os.kill(runner.state().pids[0], signal.SIGSTOP)

    runner.stop(0.2)

    assert bench.alive() == []


def stopped_while_starting(bench: Bench) -> LongRunning:
    runner = bench.long_running(NEVER_READY)
    wait.until(lambda: runner.state().pids, SOON_S, "the process")
    return runner


def stopped_just_after_the_start(bench: Bench) -> LongRunning:
    return bench.long_running(NEVER_READY)


def stopped_while_ready(bench: Bench) -> LongRunning:
    runner = bench.long_running(HOLD)
    bench.ready(runner)
    return runner


def stopped_while_busy(bench: Bench) -> LongRunning:
    runner = bench.long_running(HOLD)
    bench.ready(runner)
    bench.submit(runner, "t1", b'"sleep"')
    bench.submit(runner, "t2")
    bench.printed("holding t1")
    return runner


def stopped_while_waiting_to_restart(bench: Bench) -> LongRunning:
    runner = bench.long_running("", replace(PATIENT, initial_delay_s=1000.0, max_delay_s=1000.0))
    wait.until(lambda: runner.state().recovery == "recovering", SOON_S, "the wait")
    return runner


def stopped_while_degraded(bench: Bench) -> LongRunning:
    runner = bench.long_running("", replace(PATIENT, max_restarts=0))
    wait.until(lambda: runner.state().recovery == "degraded", SOON_S, "degraded")
    return runner


def stopped_while_replacing(bench: Bench) -> LongRunning:
    runner = stopped_while_busy(bench)
    runner.cancel("t1", "an operator asked")
    return runner


@pytest.mark.parametrize(
    "arrange",
    [
        stopped_just_after_the_start,
        stopped_while_starting,
        stopped_while_ready,
        stopped_while_busy,
        stopped_while_replacing,
        stopped_while_waiting_to_restart,
        stopped_while_degraded,
    ],
    ids=lambda arrange: arrange.__name__,
)
def test_it_can_be_stopped_at_any_moment_and_again(
    bench: Bench, arrange: Callable[[Bench], LongRunning]
) -> None:
    runner = arrange(bench)
    crashes = len(bench.crashes)
    began_s = time.monotonic()

    gevent.joinall([gevent.spawn(runner.stop, 1.0) for _ in range(2)], raise_error=True)
    runner.stop(1.0)

    assert time.monotonic() - began_s < SOON_S
    assert bench.alive() == []
    assert len(bench.crashes) == crashes
    with pytest.raises(ProcessNotReady):
        bench.submit(runner, "late")


def test_a_runner_that_was_stopped_does_not_start() -> None:
    spec = ProcessSpec(("true",), Path("/"), {}, startup_timeout_s=1.0)
    hooks = Hooks(lambda: None, lambda *_: None, lambda _: None, str)
    runner = LongRunning("q", spec, PATIENT, SystemClock(), hooks)
    runner.stop(1.0)

    runner.start()

    assert runner.state().pids == ()
    assert runner._serving is None


_FAULTS = {"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}


def test_a_fault_names_the_place_in_the_tasks_error(bench: Bench) -> None:
    runner = bench.long_running(
        "import ctypes, sys\n"
        "def fault(): ctypes.string_at(0)\n"
        'print(\'{"status": "ready"}\')\n'
        "sys.stdin.readline()\n"
        "fault()\n",
        env=_FAULTS,
    )
    bench.ready(runner)
    bench.submit(runner)

    outcome = bench.outcome()

    assert isinstance(outcome, Crashed)
    assert "SIGSEGV; Fatal Python error: Segmentation fault, File " in outcome.reason
    stacks = bench.crash().stacks
    assert any("in fault" in line for line in stacks), stacks


@pytest.mark.parametrize(
    ("handler", "grace_s"), [("", SOON_S), ("signal.signal(signal.SIGTERM, lambda *_: None)\n", 0.3)]
)
def test_a_task_that_hangs_says_where_when_its_process_is_killed(
    bench: Bench, handler: str, grace_s: float
) -> None:
    runner = bench.long_running(
        "import signal, sys, time\n" + handler + "def stuck():\n    while True: time.sleep(0.1)\n"
        'print(\'{"status": "ready"}\')\n'
        "sys.stdin.readline()\n"
        "stuck()\n",
        env=_FAULTS,
        stop_grace_s=grace_s,
    )
    bench.ready(runner)
    bench.submit(runner, run_limit_s=0.5)

    outcome = bench.outcome()

    assert isinstance(outcome, TimedOut)
    first, *stack = outcome.reason.splitlines()
    assert first == "timeout: still running after 0.5 s"
    assert any("in stuck" in line for line in stack), stack
    report = bench.crash()
    assert (report.timed_out, report.was_ready) == (("t1",), False)
    assert any("in stuck" in line for line in report.stacks)
    assert runner.state().consecutive_fails == 0, "it is no crash"


def test_a_process_that_ends_by_itself_in_its_grace_is_not_made_to_write_stacks(bench: Bench) -> None:
    runner = bench.long_running(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        'print(\'{"status": "ready"}\')\n'
        "sys.stdin.readline()\n"
        "time.sleep(3600)\n",
        env=_FAULTS,
    )
    bench.ready(runner)
    bench.submit(runner, run_limit_s=0.3)

    assert bench.outcome() == TimedOut("timeout: still running after 0.3 s")
    assert bench.crashes == []
