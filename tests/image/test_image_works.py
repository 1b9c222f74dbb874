"""The built image among containers: it registers, deploys from git, runs tasks and writes their results."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from runqy_python import RunqyClient

from tests.image.engine import Engine
from tests.image.tasks import API_KEY, result_of

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]

#: What task code may ask for: the SDK it requires, a package of the base, and the worker's own.
LOOK_FOR = ("runqy_python", "of_the_base", "appliance", "gevent", "redis", "structlog")


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
    ("options", "importable"),
    [
        ((), ["runqy_python", "of_the_base"]),
        (("--env=RUNQY_USE_SYSTEM_SITE_PACKAGES=false",), ["runqy_python"]),
    ],
    ids=[
        "three variables are all it takes, and the base's packages are there",
        "isolated, they are not",
    ],
)
def test_task_code_sees_the_bases_packages_as_configured_and_never_the_workers(
    engine: Engine,
    client: RunqyClient,
    image: str,
    docker_compose_project_name: str,
    tmp_path: Path,
    options: Sequence[str],
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
    assert engine.inspect(worker, "{{.State.ExitCode}}") == "0", engine.logs(worker)


def test_the_deployed_worker_stops_when_asked(engine: Engine, worker: str) -> None:
    # given it runs
    assert engine.inspect(worker, "{{.State.Running}}") == "true"

    # when
    engine.docker("stop", "--time", "40", worker)

    # then
    assert engine.inspect(worker, "{{.State.ExitCode}}") == "0", engine.logs(worker)
