"""SIGHUP: new code is prepared and started beside the old, and takes over when it works."""

import json
import signal
from pathlib import Path

import psutil
import pytest

from appliance.deploy.slots import in_use
from appliance.exits import Exit
from harness import wait
from harness.queue import asynq
from harness.sandbox.runtimes.process import WorkerProcess
from harness.server.config import QueueConfig
from harness.server.faults import Fault
from tests.integration.world import QUEUE, World

CODE = """
import json, os, sys, time
VERSION = "{version}"
{start}
print(json.dumps({{"status": "ready"}}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    time.sleep(request["payload"].get("s", 0))
    if request["payload"].get("import"):
        import beside
        VERSION = VERSION + beside.VERSION
    result = [VERSION, os.environ.get("TOKEN", ""), os.getpid()]
    print(json.dumps({{"task_id": request["task_id"], "result": result}}), flush=True)
"""


def code(version: str, start: str = "") -> dict[str, str]:
    return {
        "main.py": CODE.format(version=version, start=start),
        "beside.py": f"VERSION = '{version}'\n",
        "requirements.txt": "",
    }


def ran(world: World, worker: WorkerProcess) -> list:
    """What a task says that is enqueued now: version, vault's value, pid."""
    (task_id,) = world.seed(1, {})
    wait.until(lambda: asynq.where_is(world.db, QUEUE, task_id) == "completed", 60, "the task", worker.tail)
    return world.result(task_id)


def uncharged(world: World) -> bool:
    keys = list(world.db.scan_iter(asynq.task_key(QUEUE, "*")))
    return all(world.db.hget(key, "retried") is None for key in keys)


def test_new_code_takes_over_while_old_code_finishes_and_the_next_start_is_warm(world: World) -> None:
    repo = world.serve(code("one"))
    worker = world.worker(RUNQY_CONCURRENCY="2")
    world.running(worker)
    (slow,) = world.seed(1, {"s": 20, "import": True})
    wait.until(lambda: asynq.where_is(world.db, QUEUE, slow) == "active", 60, "the run", worker.tail)
    before = repo.head
    repo.commit(code("two"), "second")

    worker.signal(signal.SIGHUP)
    done = world.event(worker, "redeploy.done")

    assert (done["running"], done["reason"]) == (repo.head, f"was {before}")
    assert asynq.where_is(world.db, QUEUE, slow) == "active", "the swap waits for no task"
    assert ran(world, worker)[0] == "two"
    wait.until(lambda: asynq.where_is(world.db, QUEUE, slow) == "completed", 60, "the old task", worker.tail)
    # Imported only now, at the end of its run: its files have not changed under it.
    assert world.result(slow)[0] == "oneone"
    # The old process leaves, and nothing of it counts as a crash.
    wait.until(
        lambda: len([p for p in worker.children() if is_task_process(p)]) == 1, 60, "the end", worker.tail
    )
    wait.until(lambda: world.heartbeats()[0]["commit"] == repo.head, 60, "the heartbeat", worker.tail)
    (beat,) = world.heartbeats()
    assert json.loads(beat["redeployed"])["inference"]["outcome"] == "done"
    assert json.loads(beat["recovery"])["inference"] == {
        "state": "idle",
        "consecutive_fails": 0,
        "total_restarts": 0,
    }
    assert uncharged(world)
    worker.terminate()
    assert worker.wait(60) == Exit.OK

    again = world.worker()
    world.running(again)
    steps = [
        event["step"]
        for event in again.log_events()
        if event["event"] in ("deploy.code", "deploy.environment")
    ]
    assert steps == ["update", "keep"]
    assert ran(world, again)[0] == "two"


def is_task_process(pid: int) -> bool:
    try:
        return "main.py" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def test_two_folders_are_enough_for_any_number_of_redeployments(world: World) -> None:
    repo = world.serve(code("0"))
    worker = world.worker()
    world.running(worker)

    for number in range(1, 4):
        repo.commit(code(str(number)), str(number))
        worker.signal(signal.SIGHUP)
        assert world.event(worker, "redeploy.done", number)["running"] == repo.head
        assert ran(world, worker)[0] == str(number)
        # Released a moment after the process of the code before is gone, which may be after the next SIGHUP.
        wait.until(lambda: list(map(in_use, slots(world))).count(True) == 1, 60, "its release", worker.tail)

    assert [slot.name for slot in slots(world)] == ["inference", "inference.2"]


def slots(world: World) -> list[Path]:
    return sorted((world.folder / "deployment").glob("inference*"))


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (code("bad", "raise SystemExit('no such model')"), "its process did not get ready"),
        ({**code("bad"), "requirements.txt": "no-such-package-anywhere==1\n"}, "no-such-package-anywhere"),
    ],
    ids=["does not start", "cannot be installed"],
)
def test_what_does_not_work_is_refused_and_the_old_code_goes_on(
    world: World, files: dict[str, str], reason: str
) -> None:
    repo = world.serve(code("one"))
    worker = world.worker(UV_NO_INDEX="1", PIP_NO_INDEX="1", RUNQY_BOOTSTRAP_RETRIES="0")
    world.running(worker)
    good, pid = repo.head, ran(world, worker)[2]
    bad = repo.commit(files, "bad")

    worker.signal(signal.SIGHUP)
    refused = world.event(worker, "redeploy.refused")

    assert refused["running"] == good
    assert reason in refused["reason"]
    assert ran(world, worker)[::2] == ["one", pid], "the very process that ran before"
    wait.until(lambda: "refused" in world.heartbeats()[0]["redeployed"], 60, "the heartbeat", worker.tail)
    (beat,) = world.heartbeats()
    assert (beat["commit"], beat["healthy"]) == (good, "1")
    assert json.loads(beat["recovery"])["inference"]["total_restarts"] == 0
    assert uncharged(world)

    # A crash of the new code is on record with its own commit, and mended code takes over.
    if "start" in reason or "ready" in reason:
        crashes = json.loads(worker.run("crashes", "--json").stdout)
        assert [crash["commit"] for crash in crashes] == [bad]
    repo.commit(code("three"), "mended")
    worker.signal(signal.SIGHUP)
    world.event(worker, "redeploy.done")
    assert ran(world, worker)[0] == "three"


def test_nothing_changed_is_said_and_done(world: World) -> None:
    repo = world.serve(code("one"))
    worker = world.worker()
    world.running(worker)
    pid = ran(world, worker)[2]
    paths = sorted(
        str(path) for path in (world.folder / "deployment").rglob("*") if "__pycache__" not in str(path)
    )

    worker.signal(signal.SIGHUP)

    assert world.event(worker, "redeploy.unchanged")["running"] == repo.head
    assert ran(world, worker)[2] == pid
    assert paths == sorted(
        str(path) for path in (world.folder / "deployment").rglob("*") if "__pycache__" not in str(path)
    )


def test_the_server_is_asked_anew_and_a_changed_vault_reaches_a_new_process(world: World) -> None:
    repo = world.serve(code("one"), vaults={"some": {"TOKEN": "first-value"}})
    worker = world.worker()
    world.running(worker)
    _, token, pid = ran(world, worker)
    assert token == "first-value"
    world.server.configure(
        QueueConfig(
            name="inference",
            git_url=repo.url,
            vaults={"some": {"TOKEN": "second-value"}},
            sub_queues={"default": 1, "urgent": 9},
        )
    )

    worker.signal(signal.SIGHUP)
    world.event(worker, "redeploy.done")

    assert ran(world, worker)[1] == "second-value"
    assert ran(world, worker)[2] != pid
    assert world.event(worker, "redeploy.needs_restart")["problem"] == "sub-queue inference.urgent is new"
    assert not (world.folder / "deployment" / "inference.2").exists(), (
        "the code is the same: so is its folder"
    )
    assert "second-value" not in worker.log_text()


def test_a_server_that_refuses_or_a_mode_that_changes_keeps_what_runs(world: World) -> None:
    repo = world.serve(code("one"))
    worker = world.worker(RUNQY_BOOTSTRAP_RETRIES="0")
    world.running(worker)
    pid = ran(world, worker)[2]
    repo.commit(code("two"), "second")

    world.server.configure(QueueConfig(name="inference", git_url=repo.url, mode="one_shot"))
    worker.signal(signal.SIGHUP)
    assert "mode is one_shot now" in world.event(worker, "redeploy.refused")["reason"]

    world.server.configure(QueueConfig(name="inference", git_url=f"{repo.url}-gone"))
    worker.signal(signal.SIGHUP)
    world.event(worker, "redeploy.refused", 2)

    assert ran(world, worker)[::2] == ["one", pid]


def test_a_degraded_worker_comes_back_with_code_that_works(world: World) -> None:
    repo = world.serve(code("bad", "raise SystemExit('no such model')"))
    world.seed(1, {})
    worker = world.worker(RUNQY_RECOVERY_MAX_RESTARTS="1", RUNQY_DEGRADED_POLICY="hold")
    world.event(worker, "process.degraded")
    repo.commit(code("good"), "mended")

    worker.signal(signal.SIGHUP)

    world.event(worker, "redeploy.done")
    world.completed(1, worker)
    assert ran(world, worker)[0] == "good"
    wait.until(lambda: world.heartbeats()[0]["healthy"] == "1", 60, "the heartbeat", worker.tail)


def test_a_stop_in_the_middle_of_a_redeployment_is_a_stop_like_any_other(world: World) -> None:
    repo = world.serve(code("one"))
    worker = world.worker()
    world.running(worker)
    repo.commit(code("two", "time.sleep(600)"), "slow to start")
    worker.signal(signal.SIGHUP)
    world.event(worker, "process.starting", 2)

    worker.terminate()

    assert worker.wait(60) == Exit.OK
    assert not worker.children()


def test_signals_that_come_meanwhile_become_one_more_redeployment(world: World) -> None:
    repo = world.serve(code("one"))
    worker = world.worker()
    world.running(worker)
    repo.commit(code("two", "time.sleep(1.5)"), "second")
    worker.signal(signal.SIGHUP)
    world.event(worker, "process.starting", 2)
    repo.commit(code("three"), "third")
    for _ in range(5):
        worker.signal(signal.SIGHUP)

    world.event(worker, "redeploy.done", 2)

    assert ran(world, worker)[0] == "three"
    started = [event for event in worker.log_events() if event["event"] == "redeploy.started"]
    assert len(started) == 2


def test_one_shot_code_is_what_the_next_task_gets(world: World) -> None:
    repo = world.serve(code("one"), mode="one_shot")
    worker = world.worker(RUNQY_CONCURRENCY="2")
    world.event(worker, "worker.running")
    (slow,) = world.seed(1, {"s": 12, "import": True})
    wait.until(lambda: asynq.where_is(world.db, QUEUE, slow) == "active", 60, "the run", worker.tail)
    repo.commit(code("two"), "second")

    worker.signal(signal.SIGHUP)
    world.event(worker, "redeploy.done")

    assert ran(world, worker)[0] == "two"
    wait.until(lambda: asynq.where_is(world.db, QUEUE, slow) == "completed", 60, "the old task", worker.tail)
    assert world.result(slow)[0] == "oneone"


def test_workers_that_share_a_folder_do_not_change_it_under_each_other(world: World) -> None:
    repo = world.serve(code("one"))
    first = world.worker()
    world.running(first)
    repo.commit(code("two"), "second")

    second = world.worker()
    world.running(second)

    deployed = [e["code"] for e in second.log_events() if e["event"] == "deploy.done"]
    assert deployed == [str(world.folder / "deployment" / "inference.2")]
    assert "'one'" in Path(world.folder / "deployment" / "inference" / "beside.py").read_text()
    first.signal(signal.SIGHUP)
    world.event(first, "redeploy.done")
    assert [slot.name for slot in slots(world)] == [
        "inference",
        "inference.2",
    ], "the second's folder is what the first one wants: it serves both"


def test_a_server_out_of_reach_keeps_what_runs(world: World) -> None:
    world.serve(code("one"))
    worker = world.worker(RUNQY_BOOTSTRAP_RETRIES="0")
    world.running(worker)
    pid = ran(world, worker)[2]
    world.server.faults.add("/worker/register", Fault(status=503))

    worker.signal(signal.SIGHUP)

    assert "503" in world.event(worker, "redeploy.refused")["reason"]
    assert ran(world, worker)[2] == pid
