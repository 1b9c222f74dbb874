"""A project as `runqy-harness init` writes it: its image is built and runs, with the lines of its page."""

import json
import os
import uuid
from pathlib import Path

import pytest

from harness.commands import init
from tests.documentation.blocks import command
from tests.documentation.terminal import shell
from tests.image.engine import Engine

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]

PAGE = "docs/task-code.md"


@pytest.mark.parametrize("mode", ["long_running", "one_shot"])
def test_a_new_projects_image_is_tried_as_its_page_says(
    engine: Engine, image: str, harness_image: str, docker_compose_command: str, tmp_path: Path, mode: str
) -> None:
    # given a project on the images that were just built
    project = f"runqy-init-{uuid.uuid4().hex[:8]}"
    images = ["--image", image, "--harness-image", harness_image]
    assert init.run([str(tmp_path / "task"), "--name", project, "--mode", mode, *images]) == 0
    label = {"labels": dict([engine.label.split("=")])}
    override = {"services": dict.fromkeys(("worker", "server", "redis"), label)}
    (tmp_path / "task" / "compose.override.yaml").write_text(json.dumps(override))

    def typed(beginning: str, more: str = "", timeout_s: float = 600) -> str:
        # An older compose wants to be told that there is no terminal.
        line = command(PAGE, beginning).replace("docker compose exec ", "docker compose exec -T ")
        line = line.replace("docker compose", docker_compose_command) + more
        done = shell(line, tmp_path / "task", timeout_s=timeout_s, COMPOSE_PROJECT_NAME=project)
        assert done.returncode == 0, done.stdout + done.stderr + engine.logs_of_all()
        return done.stdout

    try:
        # when
        typed("docker compose up ")
        answer = json.loads(typed("docker compose exec "))
        log = typed("docker compose logs ")
    finally:
        typed("docker compose down", " --volumes")
        engine.remove_image(f"{project}*")

    # then the code of the image answered, and the worker had not to be told where it is
    assert answer["result"] == {"words": 1, "longest": "Hello"}, log
    assert "deploy.baked" in log
    assert "deploy.environment" not in log


def test_what_is_in_the_image_is_the_task_alone(engine: Engine, image: str, tmp_path: Path) -> None:
    assert init.run([str(tmp_path), "--name", "task", "--image", image]) == 0
    name = f"runqy-new-task:{os.getpid()}"

    built = shell(
        command_of(tmp_path, "docker build ").replace("--tag task", f"--tag {name}"), tmp_path, timeout_s=600
    )
    assert built.returncode == 0, built.stderr
    try:
        there = engine.run(name, "sh", "-c", "cd /app && find . -type f").stdout.split()
    finally:
        engine.remove_image(name)

    assert sorted(there) == ["./main.py", "./requirements.txt"]


def command_of(folder: Path, beginning: str) -> str:
    """The line of the project's own page."""
    (line,) = [each for each in (folder / "README.md").read_text().splitlines() if each.startswith(beginning)]
    return line
