"""What the pages say to do with the image, in their words; tests/documentation has what needs no image."""

import json
import re
import shlex

import pytest
from runqy_python import RunqyClient

from harness import wait
from tests.documentation.blocks import ROOT, code, command
from tests.documentation.terminal import shell
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
    rest = [word for word in words[2:] if word != "--rm"]
    return engine.start(f"--network={network}", *options, *rest, probed=True)


@pytest.mark.parametrize(
    ("page", "beginning"),
    [("README.md", "docker run --stop-timeout "), ("compose/README.md", "docker run ")],
    ids=["README.md", "compose/README.md"],
)
def test_a_documented_container_serves_its_queue(
    engine: Engine,
    client: RunqyClient,
    image: str,
    docker_compose_project_name: str,
    page: str,
    beginning: str,
) -> None:
    # when
    line = command(page, beginning)
    worker = run_as_documented(engine, line, f"{docker_compose_project_name}_default")

    # then
    wait.until(
        lambda: "worker.ready" in engine.logs(worker), DEPLOY_TIMEOUT_S, "its readiness", engine.logs_of_all
    )
    engine.docker("stop", worker)
    assert engine.inspect(worker, "{{.State.ExitCode}}") == "0", engine.logs(worker)
    assert "config.warning" not in engine.logs(worker)


def test_the_documented_dockerfile_makes_a_task_image(
    engine: Engine, client: RunqyClient, image: str, docker_compose_project_name: str
) -> None:
    # given
    dockerfile = code("docs/task-image.md", "dockerfile").replace("runqy-appliance:dev", image)
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


def test_a_task_image_is_tried_as_its_page_says(engine: Engine, image: str, harness_image: str) -> None:
    # given the image, under a name of this session's own, on the worker that was just built
    name = f"runqy-my-task:{TAG}"
    build = command("docs/task-image.md", "docker build ").replace("my-task", name)
    assert shell(f"{build} --build-arg WORKER_IMAGE={image}", ROOT).returncode == 0

    def words(beginning: str) -> list[str]:
        """What follows ``docker run``, or the container's name, of the page's line."""
        line = command("docs/task-image.md", beginning).replace("runqy-harness:dev", harness_image)
        return shlex.split(line.removeprefix(beginning))

    # and the server, under a name of its own
    server = engine.start(*words("docker run --detach --rm --name runqy "))
    wait.until(lambda: "Ctrl-C ends" in engine.logs(server), 300, "the server", engine.logs_of_all)

    # when
    shared, *rest = words("docker run --rm --network ")
    assert shared == "container:runqy"
    worker = engine.start(
        f"--network=container:{server}", *(name if word == "my-task" else word for word in rest)
    )
    sent = engine.docker("exec", server, *words("docker exec runqy "), timeout_s=DEPLOY_TIMEOUT_S)
    engine.docker("stop", worker, server)

    # then
    assert json.loads(sent.stdout)["result"] == {"greeting": "Hello, you!"}
    assert "The answer is `Hello, you!`." in (ROOT / "docs" / "task-image.md").read_text()
