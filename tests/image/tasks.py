"""Tasks sent to workers in containers, and what became of them."""

from collections.abc import Mapping

import pytest
from runqy_python import RunqyClient, TaskNotFoundError
from runqy_python.client import TaskInfo

from harness import wait
from tests.image.engine import Engine

#: Cloning, an environment, and pip with a package index: seconds, minutes on a busy machine.
DEPLOY_TIMEOUT_S = 300.0
API_KEY = "dev-key"


def make_client(url: str, engine: Engine) -> RunqyClient:
    """The SDK's client of the server at ``url``, once that answers."""
    client = RunqyClient(url, api_key=API_KEY)

    def answers() -> bool:
        with pytest.raises(TaskNotFoundError):
            client.get_task("nobody's")
        return True

    wait.until(answers, 300, "the server's answer", engine.logs_of_all)
    return client


def end_of(
    engine: Engine, client: RunqyClient, worker: str, queue: str, payload: Mapping[str, object]
) -> TaskInfo:
    """Sends a task and gives it as it is once an attempt, or the worker, has ended."""
    task_id = client.enqueue(queue, dict(payload)).task_id

    def over() -> bool:
        ended = client.get_task(task_id).state in {"completed", "archived", "retry"}
        return ended or engine.inspect(worker, "{{.State.Running}}") == "false"

    wait.until(over, DEPLOY_TIMEOUT_S, f"the end of a task in {queue}", engine.logs_of_all)
    return client.get_task(task_id)


def result_of(
    engine: Engine, client: RunqyClient, worker: str, queue: str, payload: Mapping[str, object]
) -> object:
    """Sends a task and gives its result once the worker has ended it; fails if either ended badly."""
    seen = end_of(engine, client, worker, queue, payload)
    assert seen.state == "completed", engine.logs_of_all()
    return seen.result


def wait_active(engine: Engine, client: RunqyClient, task_id: str) -> None:
    """Waits until a worker runs the task."""
    wait.until(
        lambda: client.get_task(task_id).state == "active",
        DEPLOY_TIMEOUT_S,
        f"a worker that runs {task_id}",
        engine.logs_of_all,
    )
