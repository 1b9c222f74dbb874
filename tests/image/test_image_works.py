"""The built image among containers: it registers, deploys from git, runs a task and writes its result."""

import pytest
from pytest_docker.plugin import Services
from runqy_python import RunqyClient

from harness import wait
from tests.image.engine import Engine

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]

#: Cloning, an environment, and pip with a package index: seconds, minutes on a busy machine.
DEPLOY_TIMEOUT_S = 300.0
API_KEY = "dev-key"


@pytest.fixture(scope="module")
def client(docker_services: Services, docker_ip: str, engine: Engine) -> RunqyClient:
    """The SDK's client of the server in the containers."""
    port = docker_services.port_for("server", 8081)
    return RunqyClient(f"http://{docker_ip}:{port}", api_key=API_KEY)


def test_a_task_sent_over_http_is_run_in_the_image_and_its_result_read_back(
    engine: Engine, client: RunqyClient
) -> None:
    # given the server answers
    send = lambda: client.enqueue("inference", {"number": 7})  # noqa: E731
    task = wait.until(send, 60, "the server to take a task", engine.logs_of_all)

    # when a worker that knows three variables has run it
    def ended() -> object:
        seen = client.get_task(task.task_id)
        return seen if seen.state in ("completed", "archived", "retry") else None

    answer = wait.until(ended, DEPLOY_TIMEOUT_S, "the task's end", engine.logs_of_all)

    # then the handler saw its payload and vault, and neither the worker's packages nor its credentials
    assert answer.state == "completed", engine.logs_of_all()
    assert answer.result == {
        "payload": {"number": 7},
        "greeting": "hello from the vault",
        "uid": 10001,
        "credentials": [],
        "packages_of_the_worker": [],
    }


def test_the_deployed_worker_stops_when_asked(engine: Engine, client: RunqyClient) -> None:
    # given the worker of the compose file, running
    of_compose = ("--filter", f"label={engine.label}", "--filter", "label=com.docker.compose.service=worker")
    (worker,) = engine.docker("ps", "--quiet", *of_compose).stdout.split()

    # when
    engine.docker("stop", "--time", "40", worker)

    # then
    assert engine.inspect(worker, "{{.State.ExitCode}}") == "0", engine.logs(worker)
