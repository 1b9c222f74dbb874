"""Signals other than those that end the worker: quiet and back, the state dump, at any time of its life."""

import os
import signal
from pathlib import Path

import psutil

from appliance.exits import Exit
from harness import wait
from harness.queue import asynq
from harness.sandbox.runtimes.process import WorkerProcess
from tests.integration.test_worker_life import SLEEPY
from tests.integration.world import QUEUE, World


def states(worker: WorkerProcess) -> list[dict]:
    return [event for event in worker.log_events() if event["event"] == "worker.state"]


def stacks(worker: WorkerProcess) -> list[str]:
    return [event["line"] for event in worker.log_events() if event["event"] == "worker.stack"]


def test_a_quiet_worker_finishes_what_runs_and_leaves_the_rest_to_others(world: World) -> None:
    world.serve({"main.py": SLEEPY})
    (running, *waiting) = world.seed(3, {"s": 0.5})
    worker = world.worker()
    wait.until(lambda: asynq.where_is(world.db, QUEUE, running) == "active", 60, "the run", worker.tail)

    worker.signal(signal.SIGTSTP)
    assert world.event(worker, "worker.quiet")["running"] == 1

    # What runs ends as it would have, and the heartbeat says how things are.
    world.completed(1, worker)
    assert world.result(running) == "slept"
    wait.until(lambda: world.heartbeats()[0]["quiet"] == "1", 60, "the heartbeat", worker.tail)
    # The server knows no such status: it would show a worker that comes back as stopped.
    (beat,) = world.heartbeats()
    assert (beat["status"], beat["healthy"]) == ("running", "1")
    assert {asynq.where_is(world.db, QUEUE, task_id) for task_id in waiting} == {"pending"}
    # What comes meanwhile stays too: nothing holds it back from others.
    late = world.seed(1, {"s": 0})[0]
    assert asynq.where_is(world.db, QUEUE, late) == "pending"

    # Another worker serves the queue meanwhile; this one stays as it is.
    other = world.worker()
    world.completed(4, other)
    assert len([e for e in worker.log_events() if e["event"] == "worker.resumed"]) == 0

    other.terminate()
    assert other.wait(60) == Exit.OK
    worker.signal(signal.SIGCONT)
    world.event(worker, "worker.resumed")
    world.seed(1, {"s": 0})
    world.completed(5, worker)
    wait.until(
        lambda: {beat["quiet"] for beat in world.heartbeats()} == {"0"}, 60, "the heartbeat", worker.tail
    )
    done = [asynq.get_task(world.db, QUEUE, task_id) for task_id in asynq.get_completed(world.db, QUEUE)]
    assert [task.fields.get("retried") for task in done if task] == [None] * 5
    worker.terminate()
    assert worker.wait(60) == Exit.OK


def test_a_quiet_worker_stops_like_any_other(world: World) -> None:
    world.serve({"main.py": SLEEPY})
    worker = world.worker()
    world.running(worker)

    worker.signal(signal.SIGTSTP)
    world.event(worker, "worker.quiet")
    worker.terminate()

    assert worker.wait(60) == Exit.OK


def test_signals_that_come_while_the_worker_still_imports_are_kept(world: World) -> None:
    world.serve({"main.py": SLEEPY})
    world.seed(1, {"s": 0})
    worker = world.worker()
    # The moment from which Python is ours and keeps them; before, the kernel would end any program.
    wait.until(lambda: keeps(worker.pid, signal.SIGTSTP), 60, "the signals to be kept", worker.tail)
    assert not worker.log_text()

    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTSTP):
        worker.signal(number)

    world.event(worker, "worker.quiet")
    world.event(worker, "worker.state")
    world.running(worker)
    wait.until(lambda: world.heartbeats()[0]["quiet"] == "1", 60, "the heartbeat", worker.tail)
    assert not asynq.get_completed(world.db, QUEUE)

    worker.signal(signal.SIGCONT)
    world.completed(1, worker)


def keeps(pid: int, number: int) -> bool:
    """Whether the process blocks a signal."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(fields["SigBlk"], 16) >> (number - 1) & 1)


def test_the_state_is_logged_with_tasks_loops_and_stacks_and_without_secrets(world: World) -> None:
    world.serve({"main.py": SLEEPY}, vaults={"some": {"TOKEN": "a-vault-value", "LOOP": "forwarder"}})
    (running, *_) = world.seed(2, {"s": 30})
    worker = world.worker(RUNQY_LOG_LEVEL="error", RUNQY_CONCURRENCY="1")
    wait.until(lambda: asynq.where_is(world.db, QUEUE, running) == "active", 60, "the run", worker.tail)
    wait.until(worker.children, 60, "the process")

    def dumped() -> dict:
        worker.signal(signal.SIGUSR1)
        found = [s for s in states(worker) if s["parents"] and s["parents"][0]["tasks"]["running"]]
        return found[-1] if found else {}

    state = wait.until(dumped, 60, "the state", worker.tail, longest_pause_s=0.5)

    wait.until(lambda: any("dispatcher.py" in line for line in stacks(worker)), 60, "the stacks", worker.tail)
    # An answer to a question comes whatever the level; nothing else does.
    assert {event["event"] for event in worker.log_events()} == {"worker.state", "worker.stack"}
    assert state["status"] == "running"
    (parent,) = state["parents"]
    assert parent["queues"] == {QUEUE: 1}
    assert len(parent["commit"]) == 40
    assert parent["process"]["recovery"] == "idle"
    assert all(psutil.pid_exists(pid) for pid in parent["process"]["pids"])
    (task,) = parent["tasks"]["running"]
    assert (task["task_id"], task["queue"], task["attempt"]) == (running, QUEUE, "1")
    assert 0 <= task["age_s"] < 60
    assert parent["tasks"]["unsettled"] == []
    assert parent["tasks"]["queues"][0]["queue"] == QUEUE
    assert set(parent["loops"].values()) == {"running"}
    # "forwarder" is a vault's value here, and masked like any other.
    expected = {
        "dispatcher",
        "large outcomes",
        f"watch {QUEUE}",
        "leases",
        "limits",
        "progress",
        "********",
        "canceller",
        "eviction",
    }
    assert set(parent["loops"]) == expected
    assert max(map(len, stacks(worker))) <= 200
    for secret in ("a-vault-value", world.server.worker_key):
        assert secret not in worker.log_text()


def test_no_signal_is_kept_from_the_task_process(world: World) -> None:
    world.serve({"main.py": SLEEPY})
    worker = world.worker()
    world.running(worker)

    children = [pid for pid in worker.children() if psutil.Process(pid).ppid() == worker.pid]

    assert children
    for pid in [*children, worker.pid]:
        assert not any(keeps(pid, number) for number in (signal.SIGTSTP, signal.SIGHUP, signal.SIGUSR1))
    assert os.getsid(children[0]) != os.getsid(worker.pid)
