"""What the pages say to do with the image, in their words; tests/documentation has what needs no image."""

import re
import shlex

import pytest
from runqy_python import RunqyClient

from harness import wait
from tests.documentation.blocks import ROOT, code, command
from tests.image.engine import IMAGE, TAG, Engine
from tests.image.tasks import API_KEY, DEPLOY_TIMEOUT_S, result_of

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]

SERVER = "http://server:8081"


def run_as_documented(engine: Engine, line: str, network: str, *options: str) -> str:
    """Starts ``docker run …`` of a page in the background, at our server, with our key and tag."""
    line = re.sub(r"https://runqy\.example\.\w+", SERVER, line).replace("…", API_KEY)
    words = shlex.split(line.replace("runqy-appliance:dev", IMAGE))
    assert words[:2] == ["docker", "run"]
    # Kept after its end, so that its exit status can be read; the engine's sweep removes it.
    return engine.start(
        f"--network={network}_default", *options, *(word for word in words[2:] if word != "--rm")
    )


@pytest.mark.parametrize("page", ["README.md", "compose/README.md"])
def test_a_documented_container_serves_its_queue(
    engine: Engine, client: RunqyClient, image: str, docker_compose_project_name: str, page: str
) -> None:
    # when
    line = command(page, "docker run ")
    worker = run_as_documented(engine, line, docker_compose_project_name)

    # then
    wait.until(
        lambda: "worker.ready" in engine.logs(worker), DEPLOY_TIMEOUT_S, "its readiness", engine.logs_of_all
    )
    engine.docker("stop", worker)
    assert engine.inspect(worker, "{{.State.ExitCode}}") == "0", engine.logs(worker)
    # Only where it is told what it is given, it has nothing to warn of.
    assert ("RUNQY_STOP_GRACE" in engine.logs(worker)) == ("RUNQY_STOP_GRACE" not in line)


def test_the_readmes_dockerfile_makes_a_task_image(
    engine: Engine, client: RunqyClient, image: str, docker_compose_project_name: str
) -> None:
    # given
    dockerfile = code("README.md", "dockerfile").replace("runqy-appliance:dev", image)
    name = f"runqy-documented-task:{TAG}"
    folder = str(ROOT / "examples" / "custom-image")

    # when
    engine.docker("build", "--file", "-", "--tag", name, folder, stdin=dockerfile, timeout_s=600)
    worker = engine.start(
        f"--network={docker_compose_project_name}_default",
        f"--env=RUNQY_SERVER_URL={SERVER}",
        f"--env=RUNQY_API_KEY={API_KEY}",
        "--env=RUNQY_QUEUES=baked",
        name,
    )

    # then
    result = result_of(engine, client, worker, "baked", {"name": "reader"})
    engine.docker("rm", "--force", "--volumes", worker)
    assert result == {"greeting": "Hello, reader!"}
