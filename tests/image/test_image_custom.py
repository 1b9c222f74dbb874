"""The example of a task image: built on the worker's, with its own code and packages, it runs its task."""

import json
import re

import pytest
from runqy_python import RunqyClient

from tests.image.engine import READ_ONLY, ROOT, Engine
from tests.image.tasks import API_KEY, result_of

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]

EXAMPLE = ROOT / "examples" / "custom-image"


def test_it_runs_its_own_task_and_ignores_the_servers_repository(
    engine: Engine, client: RunqyClient, custom_image: str, docker_compose_project_name: str
) -> None:
    # given a worker that can write nothing, of a queue for which the server names other code
    worker = engine.start(
        f"--network={docker_compose_project_name}_default",
        *READ_ONLY,
        "--user=12345:0",
        "--env=RUNQY_SERVER_URL=http://server:8081",
        f"--env=RUNQY_API_KEY={API_KEY}",
        "--env=RUNQY_QUEUES=baked",
        custom_image,
    )

    # when
    result = result_of(engine, client, worker, "baked", {"name": "task image"})

    # then its own code answered, with a package only its image has, and the log says what was passed over
    log = engine.logs(worker)
    engine.docker("rm", "--force", "--volumes", worker)
    assert result == {"greeting": "Hello, task image!"}
    (line,) = [line for line in log.splitlines() if "deploy.baked" in line]
    assert "git://code/task" in line
    assert "deploy.code" not in log
    assert "deploy.environment" not in log


def test_it_is_held_as_its_base_is(engine: Engine, custom_image: str) -> None:
    config = json.loads(engine.inspect(custom_image, "{{json .Config}}"))

    assert config["User"] == "10001:0"
    assert config["Entrypoint"] == ["/usr/local/bin/entrypoint.sh"]
    assert engine.run(custom_image, "sh", "-c", "find /app /tmp -name '*cache' 2>/dev/null || :").stdout == ""


def test_a_baked_folder_that_is_not_there_ends_the_worker_with_status_4(
    engine: Engine, client: RunqyClient, image: str, docker_compose_project_name: str
) -> None:
    done = engine.run(
        f"--network={docker_compose_project_name}_default",
        "--env=RUNQY_SERVER_URL=http://server:8081",
        f"--env=RUNQY_API_KEY={API_KEY}",
        "--env=RUNQY_QUEUES=baked",
        "--env=RUNQY_DEPLOYMENT_BAKED=/app",
        image,
        check=False,
    )

    assert done.returncode == 4
    assert "RUNQY_DEPLOYMENT_BAKED: there is no folder /app" in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["Dockerfile", "gpu.Dockerfile"])
def test_the_dockerfiles_are_understood_and_copy_what_is_there(engine: Engine, image: str, name: str) -> None:
    # given the file up to what needs another base or a network
    text = (EXAMPLE / name).read_text()
    copied = re.findall(r"^COPY (\S+) ", text, re.MULTILINE)

    # then every file it copies exists, it is based on an argument, and ends as the unprivileged user
    assert copied
    assert all((EXAMPLE / file).is_file() for file in copied)
    assert re.search(r"^ARG (\w+)=\S+\nFROM \$\{\1\}$", text, re.MULTILINE)
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE)[-1] == "10001:0"

    # and the engine's own parser takes each instruction (one it does not know is refused at once)
    parsed = engine.docker(
        "build", "--file", "-", "--target", "nowhere", str(EXAMPLE), check=False, stdin=text
    )
    assert "failed to reach build target nowhere" in parsed.stdout + parsed.stderr
