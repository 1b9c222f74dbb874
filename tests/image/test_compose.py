"""The compose files people start from: they start, scale out, run a task on each worker, and stop."""

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml

from harness import wait
from tests.image.engine import HARNESS_IMAGE, IMAGE, ROOT, Engine

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]

COMPOSE = ROOT / "compose"
DEMO = ("production.yml", "demo.yml")
SETTINGS = {
    "RUNQY_SERVER_URL": "http://server:8081",
    "RUNQY_QUEUES": "inference",
    "API_KEY_FILE": "./demo/api_key",
}


@dataclass(frozen=True)
class Project:
    """One project of some compose files, with an environment of its own."""

    command: str
    name: str
    files: tuple[str, ...]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        files = [option for file in self.files for option in ("--file", str(COMPOSE / file))]
        command = [*self.command.split(), *files, "--project-name", self.name, *arguments]
        images = {"WORKER_IMAGE": IMAGE, "HARNESS_IMAGE": HARNESS_IMAGE}
        environment = {**os.environ, **SETTINGS, **images}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=900
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done


@pytest.fixture(scope="module")
def demo(engine: Engine, image: str, harness_image: str, docker_compose_command: str) -> Iterator[Project]:
    """The production example with the demo's server, scaled to four workers."""
    project = Project(docker_compose_command, f"runqy-demo-{engine.label.partition('=')[2]}", DEMO)
    with contextlib.ExitStack() as stack:
        stack.callback(project.run, "down", "--volumes", "--remove-orphans", "--timeout", "20")
        project.run("up", "--detach", "--no-build", "--scale", "worker=4")
        yield project


def test_four_workers_of_the_production_example_share_the_tasks(engine: Engine, demo: Project) -> None:
    # given all four healthy
    workers = demo.run("ps", "--quiet", "worker").stdout.split()
    wait.until(
        lambda: all(engine.inspect(name, "{{.State.Health.Status}}") == "healthy" for name in workers),
        900,
        "four healthy workers",
        lambda: demo.run("logs", "--tail", "30").stdout,
    )
    assert len(workers) == 4

    # when tasks are sent as the demo says
    enqueue = ("exec", "-T", "server", "runqy-harness", "enqueue", "--server", "http://server:8081")
    done = demo.run(*enqueue, "--queue", "inference", "--wait", '{"name": "you"}')

    # then
    assert "Hello, you!" in done.stdout


def test_no_port_of_the_host_is_taken(engine: Engine, demo: Project) -> None:
    for container in demo.run("ps", "--quiet").stdout.split():
        ports = json.loads(engine.inspect(container, "{{json .HostConfig.PortBindings}}"))
        assert not ports


def test_they_end_cleanly_within_their_grace(engine: Engine, demo: Project) -> None:
    workers = demo.run("ps", "--quiet", "worker").stdout.split()

    demo.run("stop", "worker")

    assert workers
    assert {engine.inspect(name, "{{.State.ExitCode}}") for name in workers} == {"0"}


@pytest.mark.parametrize(
    "files",
    [
        ("production.yml",),
        DEMO,
        ("production.yml", "monitoring.yml"),
        (*DEMO, "monitoring.yml"),
        ("swarm/stack.yml",),
        ("harness/compose.yml",),
    ],
    ids=" ".join,
)
def test_every_combination_is_understood_and_fixes_no_port_of_the_host(
    engine: Engine, docker_compose_command: str, files: tuple[str, ...]
) -> None:
    config = yaml.safe_load(Project(docker_compose_command, "unused", files).run("config").stdout)

    for service in config["services"].values():
        assert "container_name" not in service
        for port in service.get("ports", []):
            # Long or short, as the program's version writes it.
            assert "published" not in port if isinstance(port, dict) else port.startswith("127.0.0.1::")


@pytest.mark.parametrize("name", ["production.yml", "swarm/stack.yml"])
def test_what_is_not_set_is_asked_for(engine: Engine, docker_compose_command: str, name: str) -> None:
    text = (COMPOSE / name).read_text()

    assert set(re.findall(r"\$\{(RUNQY_\w+):\?", text)) == {"RUNQY_SERVER_URL", "RUNQY_QUEUES"}


def test_the_demos_settings_are_what_this_test_used() -> None:
    lines = (COMPOSE / "demo" / "demo.env").read_text().split()

    assert dict(line.split("=", 1) for line in lines) == SETTINGS
