"""Task code attacks the worker in the image: any uid, read-only, no capabilities; one container for all."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from runqy_python import RunqyClient

from harness import wait
from tests.attack.target import INSIDE
from tests.image.engine import TAG, Engine
from tests.image.tasks import API_KEY, result_of
from tests.image.test_image_held import HELD
from tests.image.test_image_runs import UNREACHABLE_SERVER

pytestmark = [pytest.mark.image, pytest.mark.timeout(1500)]

GIT_TOKEN = "git-token-canary-81"
DOCKERFILE = """
ARG WORKER_IMAGE
FROM ${WORKER_IMAGE}
COPY . /
ENV RUNQY_DEPLOYMENT_BAKED=/app RUNQY_GIT_TOKEN_FILE=/run/secrets/git-token
"""
#: What is attacked with what, and what of the result would be a success.
ATTACKS: Mapping[str, tuple[str, Mapping[str, Any], Callable[[object], bool]]] = {
    "worker's environment": ("processes.environment", {"pid": "WORKER"}, lambda got: API_KEY in str(got)),
    "worker's memory": ("processes.memory", {"pid": "WORKER"}, lambda got: got == 64),
    "its limits": ("processes.limit", {"pid": "WORKER"}, bool),
    "signal to it": ("processes.send", {"pid": "WORKER", "number": 10}, bool),
    "freezing it": ("processes.freeze", {"pid": "WORKER"}, bool),
    "signal to process 1": ("processes.send", {"pid": 1, "number": 28}, bool),
    "its secret file": ("files.read", {"path": "/run/secrets/git-token"}, lambda got: GIT_TOKEN in str(got)),
    "its state": ("files.write", {"path": "/state/forged"}, bool),
    "its folder": ("files.write", {"path": "/var/lib/runqy/deployment/planted"}, bool),
}
#: Against what holds with isolation off as well: shown to be possible with another process 1.
ENVIRONMENT_OF_1 = ("processes.environment", {"pid": 1}, lambda got: API_KEY in str(got))


@pytest.fixture(scope="module")
def attacker_image(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    name = f"runqy-attacker:{TAG}"
    # Its root as it is to be, for one step: root's files, which everybody may read.
    folder = tmp_path_factory.mktemp("attacker")
    folder.chmod(0o755)
    shutil.copytree(INSIDE, folder / "app")
    secrets = folder / "run" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "git-token").write_text(f"{GIT_TOKEN}\n")
    (secrets / "theirs").write_text("theirs\n")
    for secret in secrets.iterdir():
        secret.chmod(0o644)
    engine.docker(
        "build",
        *("--build-arg", f"WORKER_IMAGE={image}", "--tag", name),
        *("--file", "-", str(folder)),
        stdin=DOCKERFILE,
        timeout_s=600,
    )
    return name


@contextmanager
def _started(engine: Engine, network: str, image: str, *options: str) -> Iterator[str]:
    container = engine.start(
        f"--network={network}_default",
        "--env=RUNQY_SERVER_URL=http://server:8081",
        f"--env=RUNQY_API_KEY={API_KEY}",
        "--env=RUNQY_QUEUES=baked",
        *HELD,
        *options,
        image,
    )
    try:
        yield container
    finally:
        # Or it would take the next container's tasks.
        engine.docker("rm", "--force", "--volumes", container)


def _succeeded(
    engine: Engine,
    client: RunqyClient,
    container: str,
    attack: tuple[str, Mapping[str, Any], Callable[[object], bool]],
) -> bool:
    name, arguments, success = attack
    outcome = result_of(engine, client, container, "baked", {"attack": name, "with": dict(arguments)})
    assert isinstance(outcome, dict)
    return "got" in outcome and success(outcome["got"])


def test_every_attack_fails_and_everything_is_in_force(
    engine: Engine, client: RunqyClient, attacker_image: str, docker_compose_project_name: str
) -> None:
    # require: a protection that this machine lacks is said at once, rather than by an attack that succeeds
    options = ("--env=RUNQY_ISOLATION=require",)
    with _started(engine, docker_compose_project_name, attacker_image, *options) as held:
        got = [what for what, attack in ATTACKS.items() if _succeeded(engine, client, held, attack)]
        assert not got
        assert not _succeeded(engine, client, held, ENVIRONMENT_OF_1)
        # What is not the worker's own is open, and it takes tasks after all that.
        theirs = ("files.read", {"path": "/run/secrets/theirs"}, lambda got: got == "theirs\n")
        assert _succeeded(engine, client, held, theirs)
        assert "isolation.lacking" not in engine.logs(held)


def test_without_isolation_every_attack_succeeds(
    engine: Engine, client: RunqyClient, attacker_image: str, docker_compose_project_name: str
) -> None:
    options = ("--init", "--env=RUNQY_ISOLATION=off")
    with _started(engine, docker_compose_project_name, attacker_image, *options) as mutant:
        got = [what for what, attack in ATTACKS.items() if _succeeded(engine, client, mutant, attack)]
        assert got == list(ATTACKS)
        assert _succeeded(engine, client, mutant, ENVIRONMENT_OF_1)


def test_process_1_is_closed_without_landlock_too(
    engine: Engine, client: RunqyClient, attacker_image: str, docker_compose_project_name: str
) -> None:
    options = ("--env=RUNQY_ISOLATION=off",)
    with _started(engine, docker_compose_project_name, attacker_image, *options) as container:
        refused = ("processes.environment", {"pid": 1}, lambda got: True)
        assert not _succeeded(engine, client, container, refused)


def test_there_is_nothing_in_the_environment_of_process_1_for_root_either(engine: Engine, image: str) -> None:
    variables = [f"--env={name}={value}" for name, value in UNREACHABLE_SERVER.items()]
    container = engine.start("--user=0", *variables, image)

    wait.until(lambda: "worker.starting" in engine.logs(container), 300, "the worker", engine.logs_of_all)

    assert engine.sh(container, "cat /proc/1/comm; wc -c < /proc/1/environ").split() == ["tini", "0"]
