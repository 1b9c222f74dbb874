"""The built image among containers: it registers, deploys from git, runs tasks and writes their results."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pytest_docker.plugin import Services
from runqy_python import RunqyClient, TaskNotFoundError

from harness import wait
from tests.image.engine import Engine

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]

#: Cloning, an environment, and pip with a package index: seconds, minutes on a busy machine.
DEPLOY_TIMEOUT_S = 300.0
API_KEY = "dev-key"
#: What task code may ask for: the SDK it requires, a package of the base, and the worker's own.
LOOK_FOR = ("runqy_python", "of_the_base", "appliance", "gevent", "redis", "structlog")


@pytest.fixture(scope="module")
def client(docker_services: Services, docker_ip: str, engine: Engine) -> RunqyClient:
    """The SDK's client of the server in the containers, which answers."""
    port = docker_services.port_for("server", 8081)
    client = RunqyClient(f"http://{docker_ip}:{port}", api_key=API_KEY)

    def answers() -> bool:
        with pytest.raises(TaskNotFoundError):
            client.get_task("nobody's")
        return True

    wait.until(answers, 60, "the server's answer", engine.logs_of_all)
    return client


def result_of(
    engine: Engine, client: RunqyClient, worker: str, queue: str, payload: Mapping[str, object]
) -> object:
    """Sends a task and gives its result once the worker has ended it; fails if either ended badly."""
    task_id = client.enqueue(queue, dict(payload)).task_id

    def over() -> bool:
        ended = client.get_task(task_id).state in {"completed", "archived", "retry"}
        return ended or engine.inspect(worker, "{{.State.Running}}") == "false"

    wait.until(over, DEPLOY_TIMEOUT_S, f"the end of a task in {queue}", engine.logs_of_all)
    seen = client.get_task(task_id)
    assert seen.state == "completed", engine.logs_of_all()
    return seen.result


@pytest.fixture(scope="module")
def worker(client: RunqyClient, engine: Engine) -> str:
    """The worker of the compose file."""
    of_compose = ("--filter", f"label={engine.label}", "--filter", "label=com.docker.compose.service=worker")
    return engine.docker("ps", "--all", "--quiet", *of_compose).stdout.strip()


def test_a_task_sent_over_http_is_run_in_the_image_and_its_result_read_back(
    engine: Engine, client: RunqyClient, worker: str
) -> None:
    # when a worker that knows three variables has run it
    payload = {"number": 7, "look_for": LOOK_FOR[:1]}
    result = result_of(engine, client, worker, "inference", payload)

    # then the handler saw its payload and vault, and no credentials of the worker's
    assert result == {
        "payload": {"number": 7, "look_for": ["runqy_python"]},
        "greeting": "hello from the vault",
        "uid": 10001,
        "credentials": [],
        "importable": ["runqy_python"],
    }


@pytest.mark.parametrize(
    ("options", "uid", "importable"),
    [
        ((), 10001, ["runqy_python", "of_the_base"]),
        (("--env=RUNQY_USE_SYSTEM_SITE_PACKAGES=false",), 10001, ["runqy_python"]),
        (
            ("--read-only", "--user=12345:0", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
            12345,
            ["runqy_python", "of_the_base"],
        ),
    ],
    ids=[
        "three variables are all it takes, and the base's packages are there",
        "isolated, they are not",
        "on a read-only root, as any uid, without any privilege",
    ],
)
def test_task_code_sees_the_bases_packages_as_configured_and_never_the_workers(
    engine: Engine,
    client: RunqyClient,
    image: str,
    docker_compose_project_name: str,
    tmp_path: Path,
    options: Sequence[str],
    uid: int,
    importable: list[str],
) -> None:
    # given a base with a package in it, and a worker of a queue that nobody else serves
    package = tmp_path / "of_the_base.py"
    package.write_text("NAME = 1\n")
    purelib = engine.run(
        image, "python3", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"
    ).stdout
    worker = engine.start(
        f"--network={docker_compose_project_name}_default",
        f"--volume={package}:{purelib.strip()}/of_the_base.py:ro",
        "--env=RUNQY_SERVER_URL=http://server:8081",
        f"--env=RUNQY_API_KEY={API_KEY}",
        "--env=RUNQY_QUEUES=spare",
        *options,
        image,
    )

    # when
    result = result_of(engine, client, worker, "spare", {"look_for": LOOK_FOR})
    engine.docker("stop", "--time", "40", worker)

    # then
    assert isinstance(result, dict)
    assert result["importable"] == importable
    assert result["uid"] == uid
    assert engine.inspect(worker, "{{.State.ExitCode}}") == "0", engine.logs(worker)


def test_the_deployed_worker_stops_when_asked(engine: Engine, worker: str) -> None:
    # given it runs
    assert engine.inspect(worker, "{{.State.Running}}") == "true"

    # when
    engine.docker("stop", "--time", "40", worker)

    # then
    assert engine.inspect(worker, "{{.State.ExitCode}}") == "0", engine.logs(worker)
