"""``runqy-harness e2e`` as a command: what it refuses, how it fails, and that it leaves nothing."""

import json
import signal
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import docker
import psutil
import pytest

from harness import wait
from harness.sandbox.runtimes.docker import OWNER_LABEL, RUN_LABEL
from tests.integration.program import program


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--runtime", "vm"], "--runtime: invalid choice: 'vm' (choose from"),
        (["--only", "recovry"], "--only 'recovry': expected a group or one of "),
        (["--jobs", "0"], "--jobs: '0': expected a whole number from 1 to 64"),
        (["--worker", "x", "--runtime", "docker"], "--worker: a command is for the process runtime"),
        (["--image", "x", "--runtime", "process"], "--image: an image is for the docker runtime"),
        (["--image", "x", "--worker", "y"], "--worker: not allowed with argument --image"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    with program(tmp_path / "run", "e2e", *arguments) as e2e:
        assert e2e.process.wait(60) == 2
    assert e2e.err.startswith(f"runqy-harness e2e: {complaint}"), e2e.err
    assert len(e2e.err.splitlines()) == 1


def test_without_an_engine_it_is_said_in_one_line(tmp_path: Path) -> None:
    nowhere = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    with program(tmp_path / "run", "e2e", "--runtime", "docker", env=nowhere) as e2e:
        assert e2e.process.wait(60) == 3
    assert e2e.err.startswith("runqy-harness e2e: the Docker engine cannot be used: ")
    assert len(e2e.err.splitlines()) == 1


@pytest.mark.image
def test_an_image_that_is_not_there_is_named(tmp_path: Path, image: str) -> None:
    with program(tmp_path / "run", "e2e", "--image", "no-such-image:ever") as e2e:
        assert e2e.process.wait(60) == 3
    assert e2e.err == "runqy-harness e2e: there is no image no-such-image:ever here\n"


@pytest.mark.image
def test_the_image_is_that_of_the_tag_that_is_built(tmp_path: Path, image: str) -> None:
    tagged = {"IMAGE_TAG": "never-built"}
    with program(tmp_path / "run", "e2e", "--runtime", "docker", env=tagged) as e2e:
        assert e2e.process.wait(60) == 3
    assert "there is no image runqy-appliance:never-built here: `make image` builds it" in e2e.err


def test_scenarios_are_listed_with_their_claims_and_nothing_is_played(tmp_path: Path) -> None:
    with program(tmp_path / "run", "e2e", "--list", "--only", "recovery") as e2e:
        assert e2e.process.wait(60) == 0
    lines = e2e.out.splitlines()
    assert any(line.split() == ["recovery/backoff", *line.split()[1:]] for line in lines)
    assert all(line.startswith("recovery/") and line.endswith(".") for line in lines)


def test_a_worker_that_does_not_work_fails_with_its_last_words_in_every_output(tmp_path: Path) -> None:
    files = ["--json", str(tmp_path / "json"), "--junit", str(tmp_path / "xml")]
    worker = "sh -c 'echo no such luck \033 >&2; exit 7'"
    with program(tmp_path / "run", "e2e", "--only", "vaults/environment", "--worker", worker, *files) as e2e:
        assert e2e.process.wait(60) == 1
    assert e2e.out.startswith("FAIL")
    assert "worker-1 ended with exit status 7 while waiting for a task process to be ready" in e2e.out
    assert "no such luck �" in e2e.out
    (outcome,) = json.loads((tmp_path / "json").read_text())["scenarios"]
    assert (outcome["name"], outcome["passed"]) == ("vaults/environment", False)
    assert [event["kind"] for event in outcome["timeline"]].count("scenario.result") == 1
    suite = ElementTree.parse(tmp_path / "xml").getroot()
    assert suite.get("failures") == "1"
    assert "no such luck" in (suite.findtext("testcase/failure") or "")
    assert e2e.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_a_run_that_is_ended_leaves_no_processes(tmp_path: Path, number: signal.Signals) -> None:
    with program(tmp_path / "run", "e2e", "--runtime", "process", "--only", "recovery/backoff") as e2e:
        wait.until(
            lambda: any("main.sh" in line or "appliance" in line for line in e2e.leftovers()),
            30,
            "a worker to be started",
            e2e.said,
        )
        status = e2e.end(number)
    assert status == {signal.SIGKILL: -9}.get(number, 128 + number)
    # Whoever is killed cannot remove its files, but its processes go.
    wait.until(lambda: not any(" " in line for line in e2e.leftovers()), 60, "its processes to be gone")
    if number != signal.SIGKILL:
        assert e2e.leftovers() == []


@pytest.mark.image
def test_a_run_in_containers_that_is_interrupted_leaves_nothing_at_the_engine(
    tmp_path: Path, image: str
) -> None:
    engine = docker.DockerClient.from_env()

    def runs() -> set[str]:
        of_any = {"label": RUN_LABEL}
        things = [
            *engine.containers.list(all=True, filters=of_any, ignore_removed=True),
            *engine.networks.list(filters=of_any),
        ]
        return {(getattr(each, "labels", None) or each.attrs["Labels"])[RUN_LABEL] for each in things}

    def container() -> str:
        # Other runs may begin now, too: this one's things carry a process of its own.
        processes = {e2e.process.pid, *(each.pid for each in psutil.Process(e2e.process.pid).children(True))}
        found = engine.containers.list(filters={"label": RUN_LABEL}, ignore_removed=True)
        owners = {each.labels[RUN_LABEL]: int(each.labels[OWNER_LABEL].split("/")[3]) for each in found}
        return next((run for run, owner in owners.items() if owner in processes), "")

    with program(tmp_path / "run", "e2e", "--image", image, "--only", "recovery/backoff") as e2e:
        ours = wait.until(container, 60, "a container to run", e2e.said)
        # As Ctrl-C does: to all of them at once.
        subprocess.run(["kill", "-INT", "--", f"-{e2e.process.pid}"], check=True)
        assert e2e.process.wait(60) == 130
    assert ours not in runs()
    assert e2e.leftovers() == []
