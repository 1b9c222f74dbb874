"""Crashes, backoff, degraded state, limits: what the specification says, judged by what handlers write."""

import itertools
import json
import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from appliance.exits import Exit
from harness import wait
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.sandbox.runtimes.process import WorkerProcess
from tests.integration.world import QUEUE, World

#: A shell, since it starts in two milliseconds: what is measured is the worker.
SHORT_LIVED = """
date +"start %s.%N" >> {diary}
echo '{{"status": "ready"}}'
date +"end %s.%N" >> {diary}
exit 1
"""
DIARIST = """
import json, os, sys, time
diary = open({diary!r}, "a", buffering=1)
print("start", "-", os.getpid(), time.time(), file=diary)
if os.environ.get("BROKEN"):
    sys.exit("this machine has no GPU")
print(json.dumps({{"status": "ready"}}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    payload = request["payload"]
    print("begin", request["task_id"], os.getpid(), time.time(), file=diary)
    if payload.get("die"):
        os._exit(9)
    time.sleep(payload.get("s", 0))
    print("end", request["task_id"], os.getpid(), time.time(), file=diary)
    print(json.dumps({{"task_id": request["task_id"], "result": request["retry_count"]}}), flush=True)
"""


def diary(world: World) -> Path:
    return world.folder / "diary"


def written(world: World, word: str) -> list[list[str]]:
    path = diary(world)
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split() for line in lines if line.startswith(word)]


def serve_diarist(world: World, **config: object) -> None:
    world.serve({"main.py": DIARIST.format(diary=str(diary(world)))}, **config)


def pauses(world: World) -> list[float]:
    """Seconds from each end of the process to its next start."""
    starts = [float(words[-1]) for words in written(world, "start")]
    ends = [float(words[-1]) for words in written(world, "end")]
    return [start - end for start, end in zip(starts[1:], ends, strict=False)]


def delays(worker: WorkerProcess) -> list[float]:
    """Seconds that the worker says it waits before each restart."""
    return [e["delay_s"] for e in worker.log_events() if e["event"] == "process.restart_scheduled"]


def assert_kept(delays_s: list[float], pauses_s: list[float]) -> None:
    """No start came before its time; how long after it is the machine's affair, within reason."""
    assert len(pauses_s) == len(delays_s)
    # The delay counts from the exit, a few milliseconds after the process wrote down its end.
    assert all(
        delay_s <= pause_s < delay_s + 3 for delay_s, pause_s in zip(delays_s, pauses_s, strict=True)
    ), (
        delays_s,
        pauses_s,
    )


def test_restarts_come_after_1_2_4_8_and_16_times_the_delay_and_then_the_worker_is_degraded(
    world: World,
) -> None:
    world.serve({"main.sh": SHORT_LIVED.format(diary=diary(world))}, startup_cmd="sh main.sh")
    worker = world.worker(RUNQY_RECOVERY_INITIAL_DELAY="300ms", RUNQY_RECOVERY_MAX_RESTARTS="5")
    world.event(worker, "process.degraded")
    assert delays(worker) == [0.3, 0.6, 1.2, 2.4, 4.8]
    assert len(written(world, "start")) == 6
    assert_kept(delays(worker), pauses(world))


def test_no_restart_waits_longer_than_the_cap(world: World) -> None:
    world.serve({"main.sh": SHORT_LIVED.format(diary=diary(world))}, startup_cmd="sh main.sh")
    worker = world.worker(
        RUNQY_RECOVERY_INITIAL_DELAY="200ms",
        RUNQY_RECOVERY_MAX_DELAY="500ms",
        # Without the cap the second restart would wait for 20 s, and the third for half an hour.
        RUNQY_RECOVERY_BACKOFF_FACTOR="100",
        RUNQY_RECOVERY_MAX_RESTARTS="4",
    )
    world.event(worker, "process.degraded")
    assert delays(worker) == [0.2, 0.5, 0.5, 0.5]
    assert_kept(delays(worker), pauses(world))


def test_a_stable_run_forgets_the_crashes_before_it(world: World) -> None:
    serve_diarist(world)
    worker = world.worker(
        RUNQY_RECOVERY_INITIAL_DELAY="200ms",
        RUNQY_RECOVERY_BACKOFF_FACTOR="5",
        RUNQY_RECOVERY_COOLDOWN="1500ms",
        RUNQY_RECOVERY_MAX_RESTARTS="2",
    )
    for crash in range(1, 3):
        world.seed(1, {"die": True}, retry=0)
        world.event(worker, "process.ready", crash + 1)
    ready_s = time.monotonic()
    wait.until(lambda: time.monotonic() > ready_s + 1.6, 60, "the cooldown to pass")
    for crash in range(3, 5):
        world.seed(1, {"die": True}, retry=0)
        world.event(worker, "process.ready", crash + 1)
    assert delays(worker) == [0.2, 1.0, 0.2, 1.0]


def test_without_recovery_the_first_crash_is_the_last(world: World) -> None:
    serve_diarist(world)
    worker = world.worker(RUNQY_RECOVERY_ENABLED="false")
    world.running(worker)
    world.seed(1, {"die": True})
    world.event(worker, "process.degraded")
    assert len(written(world, "start")) == 1


def test_a_restart_by_hand_recovers_a_degraded_worker(world: World) -> None:
    serve_diarist(world)
    broken = world.worker(BROKEN="1", RUNQY_RECOVERY_MAX_RESTARTS="0")
    (task_id,) = world.seed(1)
    world.event(broken, "process.degraded")
    broken.terminate()
    assert broken.wait(60) == Exit.OK
    mended = world.worker(RUNQY_RETRY_BASE_DELAY="50ms")
    world.completed(1, mended)
    assert world.result(task_id) == 0


def test_a_stop_ends_the_longest_wait_at_once(world: World) -> None:
    world.serve({"main.sh": SHORT_LIVED.format(diary=diary(world))}, startup_cmd="sh main.sh")
    worker = world.worker(
        RUNQY_RECOVERY_INITIAL_DELAY="10m",
        RUNQY_RECOVERY_MAX_DELAY="10m",
        # Longer than the test waits: a stop that waits for any of the two is found.
        RUNQY_SHUTDOWN_TIMEOUT="5m",
        RUNQY_PROCESS_STOP_GRACE="5m",
    )
    world.event(worker, "process.restart_scheduled")
    worker.terminate()
    assert worker.wait(60) == Exit.OK


def test_nothing_is_taken_while_the_process_is_down_and_nothing_is_charged_for_it(world: World) -> None:
    serve_diarist(world)
    # Time enough, on a busy machine as well, for what is awaited before the restart.
    worker = world.worker(RUNQY_RECOVERY_INITIAL_DELAY="6s", RUNQY_RECOVERY_MAX_DELAY="6s")
    world.running(worker)
    (victim,) = world.seed(1, {"die": True}, retry=0)
    world.event(worker, "process.restart_scheduled")
    wait.until(lambda: asynq.where_is(world.db, QUEUE, victim) == "archived", 60, "its end", worker.tail)
    wait.until(lambda: world.db.info("clients")["blocked_clients"] == 0, 60, "the watch to end", worker.tail)
    assert len(written(world, "start")) == 1, "too late to see that nothing is taken"
    ids = world.seed(20)
    taken: list[str] = []

    def over() -> bool:
        taken.extend(asynq.get_active(world.db, QUEUE))
        return bool(taken) or len(written(world, "start")) == 2

    # A task that was taken stays active. Looking without a pause keeps a core busy for six seconds.
    wait.until(over, 60, "the restart", worker.tail, longest_pause_s=0.01)
    assert taken == [] or len(written(world, "start")) == 2
    world.completed(20, worker)
    assert [world.result(task_id) for task_id in ids] == [0] * 20


def test_tasks_survive_a_process_that_is_killed_again_and_again(world: World) -> None:
    serve_diarist(world)
    ids = world.seed(300, {"s": 0.02}, retry=25)
    worker = world.worker(
        RUNQY_CONCURRENCY="4",
        RUNQY_RECOVERY_MAX_RESTARTS="1000",
        RUNQY_RECOVERY_MAX_DELAY="50ms",
        RUNQY_RETRY_MAX_DELAY="100ms",
    )
    world.running(worker)
    kills, rng = 25, random.Random(7)
    for kill in range(kills):
        # A process that has begun to work, at some moment of that.
        wait.until(lambda so_far=kill: len(written(world, "start")) > so_far, 60, "a process", worker.tail)
        moment_s = time.monotonic() + rng.uniform(0.0, 0.4)
        wait.until(lambda moment_s=moment_s: time.monotonic() > moment_s, 60, "the moment")
        os.kill(int(written(world, "start")[-1][2]), signal.SIGKILL)
    assert len(asynq.get_completed(world.db, QUEUE)) < 300, "the kills came too late to mean anything"
    world.completed(300, worker, 120)
    assert {task_id for task_id in ids if asynq.where_is(world.db, QUEUE, task_id) != "completed"} == set()
    # A process works on its tasks one after the other: two runs of a task at a time would be two
    # processes at a time, and their lines would be mixed.
    by_process = [pid for pid, _ in itertools.groupby(words[2] for words in written(world, ""))]
    assert len(by_process) == len(set(by_process)) > kills


def test_a_degraded_worker_is_no_black_hole_beside_a_healthy_one(world: World) -> None:
    serve_diarist(world)
    took = []
    for with_degraded in (False, True):
        if with_degraded:
            broken = world.worker(
                BROKEN="1", RUNQY_RECOVERY_MAX_RESTARTS="0", RUNQY_DEPLOYMENT_DIR=str(world.folder / "other")
            )
            world.event(broken, "process.degraded")
        healthy = world.worker()
        world.running(healthy)
        done = len(asynq.get_completed(world.db, QUEUE))
        begun = time.monotonic()
        ids = world.seed(500, {"s": 0.01})
        world.completed(done + 500, healthy, 60)
        took.append(time.monotonic() - begun)
        assert all(asynq.where_is(world.db, QUEUE, task_id) == "completed" for task_id in ids)
        healthy.terminate()
        assert healthy.wait(60) == Exit.OK
    assert asynq.get_archived(world.db, QUEUE) == {}
    # Half of them would wait for the degraded one, or for its leases. The last of them may be a task that was
    # put off for a second; the rest is for what else the machine does meanwhile.
    assert took[1] < took[0] * 2 + 10


@pytest.mark.parametrize(
    ("fields", "setting", "reason"),
    [
        ({"timeout_s": 1}, {}, "timeout"),
        ({"stamps": {"active_timeout": 1}}, {}, "timeout"),
        ({}, {"RUNQY_ACTIVE_TIMEOUT": "1s"}, "timeout"),
        ({"message": {"deadline": 2}}, {}, "deadline"),
        ({"timeout_s": 60, "stamps": {"active_timeout": 1}}, {"RUNQY_ACTIVE_TIMEOUT": "30s"}, "timeout"),
    ],
)
def test_a_task_that_runs_too_long_fails_and_its_process_is_replaced(
    world: World, fields: dict[str, dict[str, int]], setting: dict[str, str], reason: str
) -> None:
    serve_diarist(world)
    worker = world.worker(RUNQY_CONCURRENCY="2", **setting)
    world.running(worker)
    if "message" in fields:
        fields = {"message": {"deadline": int(time.time()) + 4}}
    (stuck,) = world.seed(1, {"s": 600}, retry=0, **fields)
    (innocent,) = world.seed(1, {"s": 0}, retry=0)
    world.completed(1, worker)
    assert asynq.where_is(world.db, QUEUE, stuck) == "archived"
    task = asynq.get_task(world.db, QUEUE, stuck)
    assert task is not None
    assert reason in task.fields["error_msg"]
    assert world.result(innocent) == 0
    assert len(written(world, "start")) == 2
    assert "process.crashed" not in {event["event"] for event in worker.log_events()}


def test_a_task_that_waited_too_long_is_archived_without_a_run(world: World) -> None:
    serve_diarist(world)
    (late,) = asynq.seed_pending(world.db, QUEUE, NewTask({"n": 1}, stamps={"pending_timeout": 1}))
    world.db.hset(asynq.task_key(QUEUE, late), "pending_since", int(time.time()) - 60)
    (fine,) = world.seed(1)
    worker = world.worker()
    world.completed(1, worker)
    assert asynq.where_is(world.db, QUEUE, late) == "archived"
    task = asynq.get_task(world.db, QUEUE, late)
    assert task is not None
    assert "pending timeout" in task.fields["error_msg"]
    assert {words[1] for words in written(world, "begin")} == {fine}


@pytest.mark.parametrize("mode", ["long_running", "one_shot"])
def test_a_running_task_can_be_cancelled(world: World, mode: str) -> None:
    serve_diarist(world, mode=mode)
    (endless,) = world.seed(1, {"s": 600})
    worker = world.worker()
    wait.until(lambda: written(world, "begin"), 60, "the run", worker.tail)

    def cancelled() -> bool:
        world.db.publish("asynq:cancel", endless)
        return asynq.where_is(world.db, QUEUE, endless) == "archived"

    wait.until(cancelled, 60, "its end", worker.tail)
    task = asynq.get_task(world.db, QUEUE, endless)
    assert task is not None
    assert "cancelled" in task.fields["error_msg"]
    world.seed(1)
    world.completed(1, worker)


def test_a_process_that_dies_with_its_tasks_says_why_in_each_of_them(world: World) -> None:
    serve_diarist(world)
    (task_id,) = world.seed(1, {"s": 600}, retry=0)
    worker = world.worker()
    wait.until(lambda: written(world, "begin"), 60, "the run", worker.tail)
    for pid in worker.children():
        psutil.Process(pid).send_signal(signal.SIGKILL)
    wait.until(lambda: asynq.where_is(world.db, QUEUE, task_id) == "archived", 60, "its end", worker.tail)
    task = asynq.get_task(world.db, QUEUE, task_id)
    assert task is not None
    assert "SIGKILL" in task.fields["error_msg"]
    crashes = wait.until(lambda: world.db.keys("asynq:crashes:*"), 60, "the dossier", worker.tail)
    assert json.loads(world.db.lindex(crashes[0], 0))["tasks"] == [task_id]


def test_a_process_is_recycled_after_its_tasks_without_a_crash_or_a_charge(world: World) -> None:
    serve_diarist(world)
    ids = world.seed(40, {"s": 0.05})
    worker = world.worker(RUNQY_MAX_TASKS_PER_CHILD="10")
    world.completed(40, worker)
    processes = {words[2] for words in written(world, "begin")}
    assert 2 <= len(processes) <= 4
    assert [world.result(task_id) for task_id in ids] == [0] * 40
    events = [event["event"] for event in worker.log_events()]
    assert "process.recycling" in events
    assert "process.crashed" not in events


def test_a_process_that_grows_is_recycled(world: World) -> None:
    hoarder = (
        "import json, os, sys\nhoard = []\n"
        'print(json.dumps({"status": "ready"}), flush=True)\n'
        "for line in sys.stdin:\n"
        "    hoard.append(os.urandom(40 * 2**20))\n"
        '    print(json.dumps({"task_id": json.loads(line)["task_id"], "result": os.getpid()}), flush=True)\n'
    )
    world.serve({"main.py": hoarder})
    world.seed(3)
    worker = world.worker(RUNQY_MAX_CHILD_MEMORY="100MiB")
    world.event(worker, "process.ready", 2)
    (later,) = world.seed(1)
    world.completed(4, worker)
    first = {world.result(task_id) for task_id in asynq.get_completed(world.db, QUEUE) if task_id != later}
    assert len(first) == 1
    assert world.result(later) not in first
