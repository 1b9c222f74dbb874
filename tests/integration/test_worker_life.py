"""Starting, stopping, crashing, and what the worker says of itself meanwhile."""

import json
import random
import signal
import sys
import time

import psutil
import pytest

from appliance.exits import Exit
from harness import wait
from harness.queue import asynq
from harness.server.faults import Fault
from tests.integration.world import QUEUE, World

SLEEPY = """
import json, sys, time
print(json.dumps({"status": "ready"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    time.sleep(request["payload"]["s"])
    print(json.dumps({"task_id": request["task_id"], "result": "slept"}), flush=True)
"""
MORTAL = """
import json, os, sys
print(json.dumps({"status": "ready"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["payload"].get("die") and request["retry_count"] == 0:
        print("about to die", file=sys.stderr, flush=True)
        os._exit(3)
    print(json.dumps({"task_id": request["task_id"], "result": request["retry_count"]}), flush=True)
"""


def retried(world: World) -> list[str]:
    keys = world.db.scan_iter(asynq.task_key(QUEUE, "*"))
    return [key.decode() for key in keys if world.db.hget(key, "retried") is not None]


def test_stopped_and_started_at_random_moments_no_task_is_lost_or_charged(world: World) -> None:
    world.serve({"main.py": SLEEPY.replace('request["payload"]["s"]', "0.002")}, startup_timeout_secs=30)
    total, rng = 1_000, random.Random(20)
    world.seed(total)
    first = world.worker(RUNQY_CONCURRENCY="4")
    world.completed(1, first)
    first.terminate()
    assert first.wait(60) == Exit.OK
    for _ in range(19):
        worker = world.worker(RUNQY_CONCURRENCY="4")
        moment_s = time.monotonic() + rng.uniform(0.1, 2.0)
        wait.until(lambda moment_s=moment_s: time.monotonic() > moment_s, 60, "the moment")
        worker.terminate()
        status = worker.wait(60)
        # Until Python has come as far as our first line, a signal is the kernel's affair.
        assert status == Exit.OK or (status == -signal.SIGTERM and not worker.log_text()), worker.tail()
        assert asynq.get_active(world.db, QUEUE) == [], worker.tail()
    last = world.worker(RUNQY_CONCURRENCY="4")
    world.completed(total, last, 60)
    assert retried(world) == []
    assert world.db.get(asynq.key(QUEUE, "processed")) == str(total).encode()


def test_running_tasks_may_finish_when_the_worker_is_asked_to_stop(world: World) -> None:
    world.serve({"main.py": SLEEPY})
    (task_id, waiting) = world.seed(2, {"s": 3})
    worker = world.worker()
    wait.until(lambda: asynq.where_is(world.db, QUEUE, task_id) == "active", 60, "the run", worker.tail)
    worker.terminate()
    assert worker.wait(60) == Exit.OK
    assert world.result(task_id) == "slept"
    assert asynq.where_is(world.db, QUEUE, waiting) == "pending"


def test_a_task_that_outlasts_the_shutdown_timeout_is_given_back_uncharged(world: World) -> None:
    world.serve({"main.py": SLEEPY})
    (task_id,) = world.seed(1, {"s": 600})
    worker = world.worker(RUNQY_SHUTDOWN_TIMEOUT="300ms")
    wait.until(lambda: asynq.where_is(world.db, QUEUE, task_id) == "active", 60, "the run", worker.tail)
    pids = worker.children()
    worker.terminate()
    assert worker.wait(60) == Exit.OK
    assert asynq.where_is(world.db, QUEUE, task_id) == "pending"
    assert retried(world) == []
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []


def test_a_second_signal_cuts_the_waiting_short(world: World) -> None:
    world.serve({"main.py": SLEEPY})
    (task_id,) = world.seed(1, {"s": 600})
    worker = world.worker(RUNQY_SHUTDOWN_TIMEOUT="5m")
    wait.until(lambda: asynq.where_is(world.db, QUEUE, task_id) == "active", 60, "the run", worker.tail)
    worker.terminate()
    world.event(worker, "worker.stopping")
    worker.terminate()
    assert worker.wait(60) == Exit.OK
    assert asynq.where_is(world.db, QUEUE, task_id) == "pending"


@pytest.mark.parametrize("stage", ["registering", "deploying", "starting"])
def test_a_stop_during_bootstrap_ends_at_once_with_status_0(world: World, stage: str) -> None:
    files = {"main.py": SLEEPY}
    if stage == "deploying":
        # An index that accepts the connection and never answers.
        files["requirements.txt"] = "nothing-of-this-name\n"
    if stage == "starting":
        files["main.py"] = "import time\ntime.sleep(600)\n"
    if stage == "registering":
        world.server.faults.add("/worker/register", Fault(delay_s=100))
    world.serve(files)
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        worker = world.worker(
            PIP_INDEX_URL=f"http://127.0.0.1:{silent.getsockname()[1]}/",
            PIP_RETRIES="0",
            # Longer than the test waits: "at once" is without any of them.
            RUNQY_SHUTDOWN_TIMEOUT="5m",
            RUNQY_PROCESS_STOP_GRACE="5m",
        )
        ready = {
            "registering": "worker.starting",
            "deploying": "worker.registered",
            "starting": "process.starting",
        }
        world.event(worker, ready[stage])
        if stage == "deploying":
            wait.until(lambda: any("pip" in _cmdline(p) for p in worker.children()), 60, "pip", worker.tail)
        worker.terminate()
        assert worker.wait(60) == Exit.OK
        wait.until(lambda: worker.children() == [], 60, "no process to be left")


def _cmdline(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def test_a_crash_costs_the_task_that_was_running_one_retry_and_the_others_nothing(world: World) -> None:
    world.serve({"main.py": MORTAL})
    (victim,) = world.seed(1, {"die": True})
    others = world.seed(5, {})
    worker = world.worker()
    world.completed(6, worker)
    assert world.result(victim) == 1
    assert [world.result(task_id) for task_id in others] == [0] * 5
    assert retried(world) == [asynq.task_key(QUEUE, victim)]
    task = asynq.get_task(world.db, QUEUE, victim)
    assert task is not None
    assert "exit status 3" in task.fields["error_msg"]
    assert "about to die" in task.fields["error_msg"]


def test_a_crash_leaves_a_dossier_beside_the_workers_lines(world: World) -> None:
    world.serve({"main.py": MORTAL})
    (victim,) = world.seed(1, {"die": True})
    worker = world.worker()
    world.completed(1, worker)
    (worker_id,) = asynq.get_worker_ids(world.db)
    (text,) = wait.until(
        lambda: world.db.lrange(f"asynq:crashes:{worker_id}", 0, -1), 60, "the dossier", worker.tail
    )
    dossier = json.loads(text)
    assert dossier["exit"] == "exit status 3"
    assert dossier["tasks"] == [victim]
    assert dossier["stderr"] == ["about to die"]
    lines = wait.until(
        lambda: world.db.lrange(f"asynq:workers:{worker_id}:logs", 0, -1), 60, "the lines", worker.tail
    )
    shown = worker.run("crashes")
    assert shown.returncode == Exit.OK
    assert "exit status 3, after" in shown.stdout
    assert f"tasks in flight: {victim}" in shown.stdout
    assert "| about to die" in shown.stdout
    (as_json,) = json.loads(worker.run("crashes", "--json").stdout)
    assert as_json == {"worker": worker_id, **dossier}
    said = {"src": "stderr", "text": "about to die", "seq": 1, "task_id": victim}
    assert json.loads(lines[0]) | {"ts": 0} == {"ts": 0} | said


def test_the_heartbeat_tells_of_bootstrapping_and_running_and_ends_with_the_worker(world: World) -> None:
    repo = world.serve({"main.py": "import time\ntime.sleep(1)\n" + SLEEPY})
    worker = world.worker(RUNQY_INSTANCE_ID="i-1", RUNQY_CONCURRENCY="3")
    (beat,) = wait.until(world.heartbeats, 60, "a heartbeat", worker.tail)
    assert beat["status"] == "bootstrapping"
    world.running(worker)
    wait.until(lambda: world.heartbeats()[0]["status"] == "running", 60, "the next beat", worker.tail)
    (beat,) = world.heartbeats()
    assert beat["commit"] == repo.head
    assert (beat["instance_id"], beat["concurrency"], beat["healthy"]) == ("i-1", "3", "1")
    assert beat["queues"] == "map[inference.default:1]"
    assert json.loads(beat["recovery"]) == {
        "inference": {"state": "idle", "consecutive_fails": 0, "total_restarts": 0}
    }
    assert json.loads(beat["metrics"])["memory_total_bytes"] > 0
    worker_id = beat["worker_id"]
    assert 0 < world.db.ttl(asynq.worker_key(worker_id)) <= 30
    assert world.db.zscore(asynq.WORKERS, worker_id) > time.time() + 1_700
    worker.terminate()
    assert worker.wait(60) == Exit.OK
    # The server's autoscaler counts what it finds there, whatever its status.
    assert world.db.keys("asynq:workers*") == []


def test_a_worker_whose_process_keeps_dying_is_degraded_and_says_so(world: World) -> None:
    world.serve({"main.py": "raise SystemExit('no such model')\n"})
    worker = world.worker(RUNQY_RECOVERY_MAX_RESTARTS="2")
    world.event(worker, "process.degraded")
    starts = [event for event in worker.log_events() if event["event"] == "process.starting"]
    assert len(starts) == 3
    degraded = {"state": "degraded", "consecutive_fails": 3, "total_restarts": 2}

    def told() -> bool:
        (beat,) = world.heartbeats()
        return beat["healthy"] == "0" and json.loads(beat["recovery"])["inference"] == degraded

    wait.until(told, 60, "the beat", worker.tail)
    worker.terminate()
    assert worker.wait(60) == Exit.OK


def test_a_wrong_key_ends_the_worker_at_once(world: World) -> None:
    world.serve("raw_echo")
    worker = world.worker(RUNQY_API_KEY="not-the-key", RUNQY_BOOTSTRAP_RETRY_DELAY="5m")
    assert worker.wait(60) == Exit.REGISTRATION
    assert "not-the-key" not in worker.log_text()
    assert "Traceback" not in worker.log_text()


def test_a_server_that_comes_back_is_registered_with(world: World) -> None:
    world.serve("raw_echo")
    world.server.faults.add("/worker/register", Fault(status=503, times=2))
    worker = world.worker()
    world.running(worker)


def test_a_server_that_stays_away_is_given_up_after_the_attempts(world: World) -> None:
    world.serve("raw_echo")
    world.server.faults.add("/worker/register", Fault(status=503))
    worker = world.worker(RUNQY_BOOTSTRAP_RETRIES="2")
    assert worker.wait(60) == Exit.REGISTRATION
    assert len(world.server.requests_to("/worker/register")) == 3


def test_code_that_cannot_be_deployed_ends_the_worker_with_its_status(world: World) -> None:
    world.serve("raw_echo", branch="no-such-branch")
    worker = world.worker()
    assert worker.wait(60) == Exit.DEPLOYMENT
    assert "no-such-branch" in worker.log_text()


def test_a_loop_that_ends_by_a_defect_ends_the_worker_visibly(world: World) -> None:
    world.serve("raw_echo")
    defect = (
        "from appliance import patching; patching.patch()\n"
        "from appliance.loops.leases import Leases\n"
        "def tick(self): raise ZeroDivisionError('planted')\n"
        "Leases.tick = tick\n"
        "from appliance.__main__ import main\n"
        "raise SystemExit(main())\n"
    )
    worker = world.worker([sys.executable, "-c", defect])
    assert worker.wait(60) == Exit.INTERNAL
    assert "ZeroDivisionError: planted" in worker.log_text()


def test_a_redis_that_is_not_there_ends_the_worker_with_its_status(world: World) -> None:
    world.serve("raw_echo")
    world.redis.stop()
    worker = world.worker(RUNQY_BOOTSTRAP_RETRIES="1")
    assert worker.wait(60) == Exit.STARTUP
    assert str(world.redis.port) in worker.log_text()


def test_redis_may_go_away_and_come_back_while_tasks_run(world: World) -> None:
    world.serve({"main.py": SLEEPY})
    (task_id,) = world.seed(1, {"s": 1.5})
    world.db.config_set("appendonly", "yes")
    wait.until(lambda: world.db.info("persistence")["aof_rewrite_in_progress"] == 0, 60, "the journal")
    worker = world.worker()
    wait.until(lambda: asynq.where_is(world.db, QUEUE, task_id) == "active", 60, "the run", worker.tail)
    world.db.save()
    world.redis.restart()
    world.completed(1, worker)
    assert world.result(task_id) == "slept"
    assert retried(world) == []
    (after,) = world.seed(1, {"s": 0})
    world.completed(2, worker)
    assert world.result(after) == "slept"


def test_no_secret_is_found_anywhere(world: World) -> None:
    key, token, vault = "canary-key-5c1f", "canary-token-77aa", "canary-vault-e0b2"
    chatty = (
        "import os, sys\nprint('my vault is', os.environ['SECRET'], file=sys.stderr)\n"
        "print('on stdout too', os.environ['SECRET'], flush=True)\n"
        "print(sorted(os.environ), file=sys.stderr)\n"
    ) + MORTAL.replace('"about to die"', '"dying with", os.environ["SECRET"]')
    from harness.sandbox.redis import RedisServer
    from harness.server.config import QueueConfig
    from harness.server.fake import FakeServer
    from harness.server.keys import Keys

    repo = world.serve({"main.py": chatty})
    config = QueueConfig(
        name="inference",
        git_url=repo.url,
        vaults={"v": {"SECRET": vault}},
        git_token="canary-server-token-9d",
    )
    with FakeServer(world.redis.url, [config], keys=Keys(worker=key)) as server:
        (task_id,) = world.seed(1, {"die": True})
        worker = world.worker(RUNQY_SERVER_URL=server.url, RUNQY_API_KEY=key, RUNQY_GIT_TOKEN=token)
        seen: list[str] = []

        def done() -> bool:
            seen.extend(_cmdline(pid) for pid in [worker.pid, *worker.children()])
            return asynq.where_is(world.db, QUEUE, task_id) == "completed"

        wait.until(done, 60, "the result", worker.tail)
        wait.until(lambda: world.db.keys("asynq:crashes:*"), 60, "the dossier", worker.tail)
        wait.until(lambda: world.db.keys("asynq:workers:*:logs"), 60, "the lines", worker.tail)
        in_redis = world.everything_in_redis()
        worker.terminate()
        assert worker.wait(60) == Exit.OK
    assert RedisServer is not None
    places = {
        "log": worker.log_text(),
        "arguments": "\n".join(seen),
        "Redis": in_redis + world.everything_in_redis(),
        "deployment": "\n".join(
            path.read_text(errors="replace")
            for path in (world.folder / "deployment").rglob("*")
            if path.is_file() and "site-packages" not in path.parts
        ),
    }
    assert "my vault is ********" in places["log"]
    assert "RUNQY_API_KEY" not in places["log"]
    for secret in (key, token, vault, "canary-server-token-9d"):
        assert [place for place, text in places.items() if secret in text] == []


@pytest.mark.parametrize("policy", ["requeue", "hold", "exit"])
def test_a_degraded_worker_does_with_waiting_tasks_what_its_policy_says(world: World, policy: str) -> None:
    world.serve({"main.py": "raise SystemExit(1)\n"})
    (task_id,) = world.seed(1)
    worker = world.worker(RUNQY_RECOVERY_MAX_RESTARTS="1", RUNQY_DEGRADED_POLICY=policy)
    world.event(worker, "process.degraded")
    if policy == "exit":
        assert worker.wait(60) == Exit.DEGRADED
        assert world.db.keys("asynq:workers*") == []
    elif policy == "requeue":
        world.event(worker, "task.deferred")
        wait.until(lambda: asynq.where_is(world.db, QUEUE, task_id) == "retry", 60, "the retry", worker.tail)
        task = asynq.get_task(world.db, QUEUE, task_id)
        assert task is not None
        assert "degraded" in task.fields["error_msg"]
    else:
        beats = json.loads(world.heartbeats()[0]["last_beat"])
        wait.until(lambda: json.loads(world.heartbeats()[0]["last_beat"]) > beats, 60, "a beat", worker.tail)
    if policy != "requeue":
        assert asynq.where_is(world.db, QUEUE, task_id) == "pending"
    assert retried(world) == []


def test_one_degraded_parent_does_not_stop_the_others(world: World) -> None:
    world.serve({"main.py": "raise SystemExit(1)\n"}, "broken")
    world.serve("raw_echo", "sound")
    worker = world.worker(
        RUNQY_QUEUES="broken,sound", RUNQY_RECOVERY_MAX_RESTARTS="0", RUNQY_DEGRADED_POLICY="exit"
    )
    world.event(worker, "process.degraded")
    (task_id,) = asynq.seed_pending(world.db, "sound.default", asynq.NewTask({}))
    wait.until(
        lambda: asynq.where_is(world.db, "sound.default", task_id) == "completed", 60, "it", worker.tail
    )
