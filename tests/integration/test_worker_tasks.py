"""The main job: a worker started by variables alone deploys real code and answers real tasks."""

import os
import subprocess
import sys
from pathlib import Path

from runqy_python import RunqyClient

from harness import wait
from harness.queue import asynq
from harness.sandbox.client import Client
from harness.sandbox.handlers import handler_files
from harness.sandbox.sdk import sdk_requirement
from tests.integration.world import QUEUE, World

PROGRAM = str(Path(sys.executable).with_name("runqy-appliance"))


def with_sdk(world: World, handler: str) -> dict[str, str]:
    return {
        **handler_files(handler),
        "requirements.txt": sdk_requirement(world.folder / "wheels") + "\n",
    }


def test_three_variables_and_an_empty_folder_are_all_it_takes(world: World, tmp_path: Path) -> None:
    world.serve("raw_echo")
    (task_id,) = world.seed(1, {"hello": "world"})
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "RUNQY_SERVER_URL": world.server.url,
        "RUNQY_API_KEY": world.server.worker_key,
        "RUNQY_QUEUES": "inference",
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([PROGRAM], cwd=empty, env=environment, stdout=log, stderr=log)
    try:
        wait.until(
            lambda: asynq.where_is(world.db, QUEUE, task_id) == "completed",
            60,
            "the result",
            (tmp_path / "log").read_text,
        )
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert world.result(task_id)["echo"] == {"hello": "world"}
    assert [entry.name for entry in empty.iterdir()] == ["deployment"]


def test_the_real_sdk_answers_tasks_of_the_real_client(world: World) -> None:
    world.serve(with_sdk(world, "echo"))
    client = RunqyClient(world.server.url, world.server.client_key)
    task = client.enqueue(QUEUE, {"n": 1})
    batch = client.enqueue_batch(QUEUE, [{"n": n} for n in range(2, 12)])
    worker = world.worker()
    world.completed(11, worker, 60)
    single, *answers = [client.get_task(task_id) for task_id in [task.task_id, *batch.task_ids]]
    assert single.result["echo"] == {"n": 1}
    # The server hands a job of a batch on as it came, and the SDK wraps each.
    assert [answer.result["echo"]["data"]["n"] for answer in answers] == list(range(2, 12))
    assert len({answer.result["pid"] for answer in [single, *answers]}) == 1
    assert world.server.complaints == ()


VALUES = [None, True, False, 1234, 12345678, 123, 1e22, 0, "null", "abcd", [], {}, "grüß", -123.5]


def test_every_result_comes_back_from_the_server_as_it_was_given(world: World) -> None:
    answering = (
        "import json, sys\n"
        "print(json.dumps({'status': 'ready'}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    task = json.loads(line)\n"
        "    answer = {'task_id': task['task_id'], 'result': task['payload']['value']}\n"
        "    print(json.dumps(answer), flush=True)\n"
    )
    world.serve({"main.py": answering})
    client = Client(world.server.url, world.server.client_key)
    ids = client.enqueue_batch(QUEUE, [{"value": value} for value in VALUES]).task_ids

    world.completed(len(VALUES), world.worker())

    assert [client.get_task(task_id).result for task_id in ids] == VALUES


def test_one_shot_starts_a_process_for_every_task(world: World) -> None:
    world.serve(with_sdk(world, "one_shot"), mode="one_shot")
    ids = world.seed(4)
    worker = world.worker(RUNQY_CONCURRENCY="2")
    world.completed(4, worker, 60)
    assert len({world.result(task_id)["pid"] for task_id in ids}) == 4


def test_failures_are_retried_or_archived_as_the_answer_says(world: World) -> None:
    world.serve(with_sdk(world, "error"))
    (later,) = world.seed(1, {"retry": True, "message": "come back"}, retry=1)
    (never,) = world.seed(1, {"message": "bad input"})
    worker = world.worker()
    for task_id in (later, never):
        wait.until(
            lambda task_id=task_id: asynq.where_is(world.db, QUEUE, task_id) == "archived",
            60,
            "the end of the task",
            worker.tail,
        )
    twice, once = asynq.get_task(world.db, QUEUE, later), asynq.get_task(world.db, QUEUE, never)
    assert twice is not None
    assert once is not None
    assert twice.message["retried"] == 1
    assert "come back" in twice.message["error_msg"]
    assert once.message.get("retried", 0) == 0
    assert "ValueError: bad input" in once.fields["error_msg"]


def test_every_error_is_retried_under_the_policy_of_the_public_worker(world: World) -> None:
    world.serve(with_sdk(world, "error"))
    (task_id,) = world.seed(1, {"message": "bad input"}, retry=2)
    worker = world.worker(RUNQY_RETRY_POLICY="always")
    wait.until(lambda: asynq.where_is(world.db, QUEUE, task_id) == "archived", 60, "the end", worker.tail)
    task = asynq.get_task(world.db, QUEUE, task_id)
    assert task is not None
    assert task.message["retried"] == 2


def test_a_vault_reaches_the_task_process_in_both_modes(world: World) -> None:
    tricky = "line one\nline two = ünïcödé 'quoted'"
    for mode, runner in (("long_running", "run"), ("one_shot", "run_once")):
        files = with_sdk(world, "vault")
        files["main.py"] = (
            files["main.py"].replace("run()", f"{runner}()").replace("import run,", f"import {runner},")
        )
        name = f"{mode.replace('_', '')}"
        world.serve(files, name, mode=mode, vaults={"keys": {"API_TOKEN": tricky}})
        (task_id,) = asynq.seed_pending(world.db, f"{name}.default", asynq.NewTask({"name": "API_TOKEN"}))
        worker = world.worker(RUNQY_QUEUES=name)
        wait.until(
            lambda name=name, task_id=task_id: (
                asynq.where_is(world.db, f"{name}.default", task_id) == "completed"
            ),
            60,
            "the result",
            worker.tail,
        )
        task = asynq.get_task(world.db, f"{name}.default", task_id)
        assert task is not None
        import hashlib

        assert task.result == {"present": True, "sha256": hashlib.sha256(tricky.encode()).hexdigest()[:12]}


def test_a_vault_that_would_break_the_process_is_refused_unless_allowed(world: World) -> None:
    teller = (
        "import json, os, sys\n"
        'print(json.dumps({"status": "ready"}), flush=True)\n'
        "for line in sys.stdin:\n"
        '    told = os.environ.get("PYTHONPATH"), os.environ["FINE"]\n'
        '    print(json.dumps({"task_id": json.loads(line)["task_id"], "result": told}), flush=True)\n'
    )
    world.serve({"main.py": teller}, vaults={"v": {"PYTHONPATH": "/from/the/vault", "FINE": "a=b\nc"}})
    (refused,) = world.seed(1)
    careful = world.worker()
    world.completed(1, careful)
    assert world.result(refused) == [None, "a=b\nc"]
    assert "PYTHONPATH" in world.event(careful, "vault.refused")["reason"]
    careful.terminate()
    assert careful.wait(10) == 0

    (allowed,) = world.seed(1)
    world.completed(2, world.worker(RUNQY_VAULT_ALLOW_UNSAFE="true"))
    assert world.result(allowed) == ["/from/the/vault", "a=b\nc"]


def test_sub_queues_share_one_process_and_the_higher_priority_goes_first(world: World) -> None:
    world.serve("raw_echo", sub_queues={"high": 9, "low": 1})
    low = asynq.seed_pending(world.db, "inference.low", *(asynq.NewTask({"n": n}) for n in range(5)))
    high = asynq.seed_pending(world.db, "inference.high", *(asynq.NewTask({"n": n}) for n in range(5)))
    worker = world.worker(RUNQY_LOG_LEVEL="debug")
    wait.until(lambda: len(asynq.get_completed(world.db, "inference.low")) == 5, 60, "the last", worker.tail)
    order = [event["task_id"] for event in worker.log_events() if event["event"] == "task.completed"]
    assert order == high + low


def test_weighted_sub_queues_are_served_side_by_side(world: World) -> None:
    world.serve("raw_sleep", sub_queues={"high": 3, "low": 1})
    # Of tasks that take next to nothing a busy machine takes more than all of these at once.
    low = asynq.seed_pending(
        world.db, "inference.low", *(asynq.NewTask({"seconds": 0.01}) for _ in range(40))
    )
    asynq.seed_pending(world.db, "inference.high", *(asynq.NewTask({"seconds": 0.01}) for _ in range(120)))
    worker = world.worker(RUNQY_LOG_LEVEL="debug", RUNQY_QUEUE_STRATEGY="weighted")
    wait.until(
        lambda: len(asynq.get_completed(world.db, "inference.high")) == 120, 60, "the last", worker.tail
    )
    order = [event["task_id"] for event in worker.log_events() if event["event"] == "task.completed"]
    # A quarter of 80; what is fetched ahead comes in the order of the exchanges.
    assert 12 <= sum(task_id in low for task_id in order[:80]) <= 28


def test_only_the_sub_queues_that_were_named_are_served(world: World) -> None:
    world.serve("raw_echo", sub_queues={"high": 9, "low": 1})
    asynq.seed_pending(world.db, "inference.high", asynq.NewTask({}))
    asynq.seed_pending(world.db, "inference.low", asynq.NewTask({}))
    worker = world.worker(RUNQY_QUEUES="inference.low")
    wait.until(lambda: asynq.get_completed(world.db, "inference.low"), 60, "a result", worker.tail)
    worker.terminate()
    assert worker.wait(60) == 0
    assert len(asynq.get_pending(world.db, "inference.high")) == 1


def test_several_parents_have_a_process_each(world: World) -> None:
    world.serve("raw_echo", "alpha")
    world.serve("raw_echo", "beta")
    for name in ("alpha", "beta"):
        asynq.seed_pending(world.db, f"{name}.default", asynq.NewTask({}))
    worker = world.worker(RUNQY_QUEUES="alpha,beta")
    pids = set()
    for name in ("alpha", "beta"):
        (task_id,) = wait.until(
            lambda name=name: asynq.get_completed(world.db, f"{name}.default"), 30, name, worker.tail
        )
        task = asynq.get_task(world.db, f"{name}.default", task_id)
        assert task is not None
        pids.add(task.result["pid"])
    assert len(pids) == 2
    (beat,) = world.heartbeats()
    assert beat["queues"] == "map[alpha.default:1 beta.default:1]"


def test_without_result_storage_only_the_counters_remain(world: World) -> None:
    world.serve("raw_echo", redis_storage=False)
    world.seed(3)
    worker = world.worker()
    wait.until(lambda: world.db.get(asynq.key(QUEUE, "processed")) == b"3", 60, "the count", worker.tail)
    assert list(world.db.scan_iter(asynq.task_key(QUEUE, "*"))) == []


def test_a_scheduled_task_never_runs_before_its_time_and_soon_after_the_next_full_second(
    world: World,
) -> None:
    import time

    world.serve("raw_echo")
    worker = world.worker()
    world.running(worker)
    due_s = time.time() + 1.5
    asynq.seed_scheduled(world.db, QUEUE, asynq.NewTask({}), due_s=due_s)
    world.completed(1, worker)
    # Rounded up to the full second, and upkeep looks every second.
    assert due_s <= time.time() < due_s + 20
