"""What a process leaves behind: no descendant, no zombie, no descriptor, no orphan."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import gevent
import psutil
import pytest

from appliance.process import autopsy, kin, launch, output_pipes
from appliance.process.mark import Mark
from appliance.process.outcome import Crashed, Succeeded
from harness import wait
from tests.machine import gone
from tests.process.bench import PATIENT, SOON_S, Bench

#: Starts a grandchild in a way the test says, waits until it runs, then gets ready and serves one task.
PARENT = """
from raw import *
import os, subprocess, sys, time
pid_file = "grandchild.pid"
code = "import os, time; open('grandchild.tmp', 'w').write(str(os.getpid())); " \\
    "os.rename('grandchild.tmp', 'grandchild.pid'); " + {body!r}
{start}
while not os.path.exists(pid_file):
    time.sleep(0.01)
ready()
for task in tasks():
    if task["payload"] == "die":
        os._exit(1)
    answer(task, 1)
"""
IDLE = "from raw import *\nready()\nfor task in tasks(): answer(task, 1)\n"
SLEEP = "time.sleep(1000)"
CHATTER = "\nwhile True: os.write(1, b'still here\\n'); time.sleep(0.05)"
IN_THE_GROUP = "subprocess.Popen([sys.executable, '-c', code])"
IN_ITS_OWN_SESSION = "subprocess.Popen([sys.executable, '-c', code], start_new_session=True)"
ORPHANED = """
if os.fork() == 0:
    os.setsid()
    subprocess.Popen([sys.executable, '-c', code])
    os._exit(0)
os.wait()
"""
#: Another session, no environment, no parent.
ESCAPED = """
if os.fork() == 0:
    os.setsid()
    subprocess.Popen([sys.executable, '-c', code], env={})
    os._exit(0)
os.wait()
"""
#: Beyond what can be found by a process that adopts no orphans: it has changed its mark as well.
DISGUISED = ESCAPED.replace("os.setsid()", "os.setsid(); import resource; resource.setrlimit(15, (7, 7))")


def parent(start: str, body: str = SLEEP) -> str:
    return PARENT.format(start=start, body=body)


def grandchild(bench: Bench) -> psutil.Process:
    return psutil.Process(int((bench.folder / "grandchild.pid").read_text()))


@pytest.mark.parametrize(
    "start",
    [IN_THE_GROUP, IN_ITS_OWN_SESSION, ORPHANED, ESCAPED],
    ids=[
        "in its group",
        "in a session of its own",
        "orphaned in a session of its own",
        "without environment",
    ],
)
@pytest.mark.parametrize("how", ["crash", "stop"])
def test_a_grandchild_that_holds_the_pipes_does_not_survive_and_does_not_hold_up_the_exit(
    bench: Bench, start: str, how: str
) -> None:
    runner = bench.long_running(parent(start))
    bench.ready(runner)
    left_behind = grandchild(bench)
    assert not gone(left_behind)
    began_s = time.monotonic()

    if how == "crash":
        bench.submit(runner, payload=b'"die"')
        assert isinstance(bench.outcome(), Crashed)
        assert bench.crash().exit == "exit status 1"
    else:
        runner.stop(SOON_S)

    assert time.monotonic() - began_s < output_pipes.DRAIN_S + 2 * SOON_S
    assert gone(left_behind)


def test_a_grandchild_in_disguise_that_goes_on_printing_cannot_hold_up_the_exit_for_ever(
    bench: Bench,
) -> None:
    runner = bench.long_running(parent(DISGUISED, CHATTER), replace(PATIENT, max_restarts=0))
    bench.ready(runner)
    escaped = grandchild(bench)
    began_s = time.monotonic()

    try:
        bench.submit(runner, payload=b'"die"')
        assert isinstance(bench.outcome(), Crashed)

        assert time.monotonic() - began_s < 2 * output_pipes.DRAIN_S + output_pipes.LEFTOVER_S + 2 * SOON_S
    finally:
        escaped.kill()


def test_a_killed_worker_takes_its_process_along(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(
        "from appliance import patching; patching.patch()\n"
        "import gevent, sys\n"
        "from pathlib import Path\n"
        "from tests.process.bench import Bench\n"
        "bench = Bench(Path(sys.argv[1]))\n"
        "runner = bench.long_running('from raw import *\\nimport time\\nready(); time.sleep(1000)')\n"
        "bench.ready(runner)\n"
        "print(runner.state().pids[0], flush=True)\n"
        "gevent.sleep(1000)\n"
    )
    root = Path(__file__).parents[2]
    worker = subprocess.Popen(
        [sys.executable, tmp_path / "worker.py", tmp_path],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert worker.stdout is not None
        line = b""
        while not line.strip().isdigit():  # the log goes to stdout as well
            line = worker.stdout.readline()
            assert line
        orphan = psutil.Process(int(line))
        assert not gone(orphan)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()

    wait.until(lambda: gone(orphan), SOON_S, "the process to die with its worker")


def test_what_a_thread_of_the_pool_closes_is_closed_at_once(tmp_path: Path) -> None:
    (tmp_path / "tree" / "folder").mkdir(parents=True)

    def left_open() -> int:
        # From a wait on the thread has a loop, which turns in that wait only: nothing may be left to it.
        threading.Event().wait(0.001)
        before = psutil.Process().num_fds()
        for _ in range(50):
            os.close(os.open(tmp_path, os.O_PATH))
        # It opens folders, too, by the standard library's own code.
        shutil.rmtree(tmp_path / "tree")
        return psutil.Process().num_fds() - before

    assert gevent.get_hub().threadpool.apply(left_open) <= 0


@pytest.mark.timeout(300)
def test_hundreds_of_restarts_leave_no_descriptor_and_no_zombie_behind(bench: Bench) -> None:
    # A shell, because ten of them start in the time of a Python.
    dying = ("/bin/sh", "-c", "printf 'last words' >&2; exit 1")
    # What the event loop itself needs is opened by the first process.
    bench.long_running("", argv=dying).stop(1.0)
    before, others = psutil.Process().num_fds(), psutil.Process().children()

    endless = replace(PATIENT, max_restarts=250, initial_delay_s=0.0)
    runner = bench.long_running("", endless, argv=dying)
    wait.until(lambda: runner.state().recovery == "degraded", 200, "degraded", lambda: str(runner.state()))

    wait.until(
        lambda: psutil.Process().num_fds() <= before,
        SOON_S,
        f"at most {before} descriptors",
        lambda: str(psutil.Process().num_fds()),
    )
    assert psutil.Process().children() == others
    assert [crash.stderr_tail for crash in bench.crashes] == [("last words",)] * 251


def test_the_process_is_a_session_of_its_own_without_our_descriptors(bench: Bench) -> None:
    runner = bench.long_running(
        "from raw import *\nimport os\nready()\n"
        "for task in tasks():\n"
        "    who = [os.getpid(), os.getsid(0), os.getpgrp(), sorted(os.listdir('/proc/self/fd'))]\n"
        "    answer(task, who)"
    )
    bench.ready(runner)
    (pid,) = runner.state().pids

    bench.submit(runner)

    outcome = bench.outcome()
    assert isinstance(outcome, Succeeded)
    # The fourth is the listing's own.
    assert outcome.result == f'[{pid}, {pid}, {pid}, ["0", "1", "2", "3"]]'.encode()


def test_a_relative_is_known_by_its_start_as_well_so_that_a_recycled_id_is_spared() -> None:
    bystander = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        (found,) = kin.find(bystander.pid, Mark())

        assert kin.kill(1_000_000_000, Mark(), {kin.Relative(found.pid, found.started_ticks + 1)}) == 0
        assert bystander.poll() is None

        assert kin.kill(1_000_000_000, Mark(), {found}) == 1
        assert bystander.wait(SOON_S) == -signal.SIGKILL
    finally:
        bystander.kill()
        bystander.wait()


def test_a_process_that_was_there_before_the_mark_is_not_even_read(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = Mark()
    read: list[int] = []
    monkeypatch.setattr("appliance.process.mark._limit", read.append)

    kin.find(1_000_000_000, mark)

    # But for what is this process's own: its children may be adopted, and each is read.
    others = [
        each for each in psutil.process_iter(["create_time", "ppid"]) if each.info["ppid"] != os.getpid()
    ]
    made_s = [each.info["create_time"] for each in others if each.pid in read]
    assert [each_s for each_s in made_s if each_s < time.time() - 60] == []
    # The first process of a machine is older than any.
    assert 1 not in read


# What it died of ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returncode", "out_of_memory", "text"),
    [
        (0, False, "exit status 0"),
        (137, True, "exit status 137"),
        (-9, False, "SIGKILL"),
        (-9, True, "SIGKILL (out of memory: cgroup oom_kill rose)"),
        (-11, True, "SIGSEGV"),
        (-63, False, "signal 63"),
    ],
)
def test_an_exit_is_said_in_words(returncode: int, out_of_memory: bool, text: str) -> None:
    assert autopsy.describe(returncode, out_of_memory) == text


@pytest.mark.parametrize(
    ("membership", "file"),
    [
        ("0::/worker\n", "worker/memory.events"),
        ("0::/not/visible\n", "memory.events"),
        ("5:cpu,cpuacct:/x\n4:memory:/x\n", "memory/x/memory.oom_control"),
        ("4:memory:/x\n", "memory/memory.oom_control"),
    ],
    ids=["v2", "v2 in a container", "v1", "v1 in a container"],
)
def test_the_kernels_count_of_memory_kills_is_found(tmp_path: Path, membership: str, file: str) -> None:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(membership)
    (cgroup / file).parent.mkdir(parents=True)
    (cgroup / file).write_text("oom 5\noom_kill 3\noom_kill_disable 0\n")

    assert autopsy.oom_kills(proc, cgroup) == 3


def test_where_the_count_is_not_readable_it_is_unknown(tmp_path: Path) -> None:
    assert autopsy.oom_kills(tmp_path, tmp_path) is None
    assert autopsy.memory_peak_bytes(os.getpid(), tmp_path) is None
    assert (autopsy.memory_peak_bytes(os.getpid()) or 0) > 1_000_000


def test_a_process_that_hangs_before_it_became_the_program_is_a_failed_start_and_holds_up_no_stop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = bench.folder / "hung"

    def hang_once(_: int) -> None:
        if not hung.exists():
            hung.touch()
            signal.pause()

    monkeypatch.setattr(launch, "_die_with", hang_once)
    runner = bench.long_running(IDLE, startup_timeout_s=2.0, stop_grace_s=0.1)

    crash = bench.crash()

    assert crash.exit == "was not ready within 2 s; SIGKILL"
    monkeypatch.undo()
    bench.ready(runner)

    hung.unlink()
    monkeypatch.setattr(launch, "_die_with", hang_once)
    stopped = bench.long_running(IDLE)
    wait.until(hung.exists, SOON_S, "the process to hang")
    begun_s = time.monotonic()
    stopped.stop(0.1)
    assert time.monotonic() - begun_s < SOON_S
