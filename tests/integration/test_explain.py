"""``runqy-appliance explain`` beside a real worker and a real Redis, for a task in each place."""

import json
import signal
import time
from typing import Any

import pytest

from appliance.exits import Exit
from harness import wait
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.sandbox.runtimes.process import WorkerProcess
from tests.integration.world import QUEUE, World

HANDLER = """
import json, sys, time
print(json.dumps({"status": "ready"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    payload = request["payload"]
    time.sleep(payload.get("s", 0))
    answer = {"task_id": request["task_id"], "result": "x" * payload.get("long", 1)}
    if "fail" in payload:
        answer |= {"error": payload["fail"], "retry": payload.get("retry", False)}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def serving(world: World) -> WorkerProcess:
    world.serve({"main.py": HANDLER})
    worker = world.worker(RUNQY_RETRY_BASE_DELAY="1h", RUNQY_ACTIVE_TIMEOUT="90s")
    world.running(worker)
    wait.until(lambda: world.heartbeats()[0]["status"] == "running", 60, "the heartbeat", worker.tail)
    return worker


def explained(worker: WorkerProcess, task_id: str) -> dict[str, Any]:
    done = worker.run("explain", task_id, "--json")
    assert done.returncode == Exit.OK, done.stderr
    (found,) = json.loads(done.stdout)["found"]
    return found


def test_tasks_that_ended_or_wait_for_a_retry_say_so(world: World, serving: WorkerProcess) -> None:
    (done,) = world.seed(1, {"long": 100})
    (failed,) = world.seed(1, {"fail": "no such file"})
    (again,) = world.seed(1, {"fail": "come back", "retry": True})
    places = {done: "completed", failed: "archived", again: "retry"}
    for task_id, place in places.items():
        at = wait.until(
            lambda task_id=task_id, place=place: asynq.where_is(world.db, QUEUE, task_id) == place, 20, place
        )
        assert at

    facts = explained(serving, done)
    assert facts["why"].startswith("it has ended: completed")
    assert facts["result_bytes"] == 102
    assert facts["purge_wall_s"] > time.time() + 3_600

    facts = explained(serving, failed)
    assert facts["why"].startswith("it has ended: failed for good")
    assert facts["error"] == "no such file"

    facts = explained(serving, again)
    assert facts["why"].startswith("it failed and waits for retry 1 of 3: it is due in 59m")
    assert (facts["retried"], facts["max_retry"], facts["error"]) == (1, 3, "come back")
    text = serving.run("explain", again).stdout
    assert "last error   come back" in text
    assert "limits       a run may take 1m30s" in text


def test_running_and_waiting_tasks_say_where_they_are(world: World, serving: WorkerProcess) -> None:
    (running, second, third) = world.seed(3, {"s": 600})
    wait.until(lambda: asynq.where_is(world.db, QUEUE, running) == "active", 60, "the run", serving.tail)
    (beat,) = world.heartbeats()

    facts = explained(serving, running)
    assert facts["why"].startswith(f"it is running on {beat['worker_id']}; its lease has ")
    assert (facts["owner"], facts["attempt"]) == (beat["worker_id"], "1")
    assert (facts["workers"][0]["alive"], facts["workers"][0]["healthy"]) == (True, True)

    facts = explained(serving, third)
    assert facts["why"] == "it waits behind 1 task of its queue; 1 worker with 1 slot serve the queue"
    assert (facts["ahead"], facts["pending"]) == (1, 2)
    assert explained(serving, second)["ahead"] == 0

    world.db.set(asynq.key(QUEUE, "paused"), int(time.time()))
    assert explained(serving, second)["why"].startswith("the queue is paused")
    world.db.delete(asynq.key(QUEUE, "paused"))

    serving.signal(signal.SIGTSTP)
    wait.until(lambda: world.heartbeats()[0]["quiet"] == "1", 60, "the heartbeat", serving.tail)
    assert "are quiet (SIGTSTP)" in explained(serving, second)["why"]

    # Its worker dies without a word: as soon as that shows, the lease is what it waits for.
    serving.kill()
    serving.wait(60)
    world.db.delete(asynq.worker_key(beat["worker_id"]))
    why = explained(serving, running)["why"]
    assert why.startswith(f"its worker {beat['worker_id']} is dead or cut off: when its lease expires in ")
    assert why.endswith("once a worker serves inference.default: none lives now")
    assert explained(serving, second)["why"] == "no live worker serves inference.default"


def test_a_task_in_a_queue_that_is_not_configured_is_found_by_its_lookup_or_the_list_of_queues(
    world: World, serving: WorkerProcess
) -> None:
    due_s = time.time() + 590
    task = NewTask({}, message={"unique_key": "asynq:{other.default}:unique:x", "deadline": int(due_s) + 60})
    (task_id,) = asynq.seed_scheduled(world.db, "other.default", task, due_s=due_s)
    world.db.set("asynq:{other.default}:unique:x", task_id, ex=120)
    world.db.srem("asynq:queues", "other.default")
    asynq.write_lookup(world.db, "other.default", task_id)

    facts = explained(serving, task_id)
    assert facts["queue"] == "other.default"
    assert facts["why"].startswith("it is scheduled: it is due in 9m")
    assert (facts["unique_holder"], facts["deadline_wall_s"]) == (task_id, int(due_s) + 60)
    assert 100 < facts["unique_for_s"] <= 120
    assert facts["workers"] == []

    world.db.delete(asynq.lookup_key(task_id))
    world.db.sadd("asynq:queues", "other.default")
    assert explained(serving, task_id)["queue"] == "other.default"


def test_a_lost_a_broken_and_an_unknown_task(world: World, serving: WorkerProcess) -> None:
    world.db.hset(asynq.task_key(QUEUE, "lost"), mapping={"state": "pending", "type": "t", "payload": "{}"})
    world.db.hset(asynq.task_key(QUEUE, "broken"), mapping={"state": "retry", "msg": b"\xff\xff"})
    world.db.zadd(asynq.key(QUEUE, "retry"), {"broken": time.time() + 100})

    assert "it is in none of the queue's lists" in explained(serving, "lost")["why"]
    assert "no valid protobuf" in explained(serving, "broken")["broken"]

    before = sorted(world.db.keys("*"))
    done = serving.run("explain", "nobody")
    assert done.returncode == Exit.UNKNOWN_TASK
    assert done.stdout == "task nobody is unknown; looked in: inference.default\n"
    assert json.loads(serving.run("explain", "nobody", "--json").stdout) == {
        "task_id": "nobody",
        "found": [],
        "looked_in": ["inference.default"],
        "unreadable": [],
    }
    assert sorted(world.db.keys("*")) == before


def test_a_server_or_redis_out_of_reach_is_said_with_its_own_status(world: World) -> None:
    world.serve({"main.py": HANDLER})
    worker = world.worker(RUNQY_BOOTSTRAP_RETRIES="0")
    world.running(worker)
    world.redis.stop()
    done = worker.run("explain", "any")

    assert done.returncode == Exit.STARTUP
    assert done.stderr.splitlines()[-1].startswith("explain: ")
    assert "Traceback" not in done.stderr
