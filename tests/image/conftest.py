"""The images under test, built once a session, and the containers of one end-to-end run."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from pytest_docker.plugin import Services
from runqy_python import RunqyClient

from tests.image.engine import HARNESS_IMAGE, IMAGE, ROOT, TAG, Engine
from tests.image.tasks import make_client

LOCK = ROOT / "build" / "image.lock"
_MAKE = ("make", "--no-print-directory")


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The Docker engine; without one the tests are skipped, except where CI promises everything is run."""
    try:
        answer = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False, timeout=30)
        reason = answer.stderr.strip().splitlines()[-1] if answer.returncode else ""
    except FileNotFoundError:
        reason = "no docker command on PATH"
    except subprocess.TimeoutExpired:
        reason = "docker info did not answer within 30 s"
    if reason and os.environ.get("CI"):
        pytest.fail(f"CI is set, so the image must be tested, but there is no Docker engine: {reason}")
    if reason:
        pytest.skip(f"no Docker engine: {reason}")
    engine = Engine()
    yield engine
    engine.sweep()


@pytest.hookimpl
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the harness's image comes last: it is built beside the others, see :func:`image`."""
    items.sort(key=lambda item: "harness_image" in getattr(item, "fixturenames", ()))


def make(target: str) -> None:
    """Builds with the Makefile, as people do; what it prints goes to pytest's captured output.

    One test run after the other: lanes side by side want the same image, and the first one makes it.
    """
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = subprocess.run(
            [*_MAKE, target],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    sys.stdout.write(done.stdout.decode(errors="replace"))
    if done.returncode != 0:
        pytest.fail(f"make {target} failed; its output is below")


@pytest.fixture(scope="session")
def image(engine: Engine) -> Iterator[str]:
    """The worker's image, as this checkout builds it; the harness's is begun as soon as it is there."""
    make("image")
    # Who needs it waits for the lock, and builds what is still missing.
    command = ["flock", str(LOCK), *_MAKE, "harness-image"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as ahead:
        yield IMAGE
        if ahead.poll() is None:
            os.killpg(ahead.pid, signal.SIGTERM)


@pytest.fixture(scope="session")
def harness_image(engine: Engine) -> str:
    """The harness's image, as this checkout builds it."""
    make("harness-image")
    return HARNESS_IMAGE


@pytest.fixture(scope="session")
def custom_image(engine: Engine, image: str) -> str:
    """The example of a task image, built on the worker's."""
    name = f"runqy-example-task:{TAG}"
    folder = ROOT / "examples" / "custom-image"
    engine.docker("build", "--build-arg", f"WORKER_IMAGE={image}", "--tag", name, str(folder), timeout_s=600)
    return name


@pytest.fixture(scope="session")
def idle(engine: Engine, image: str) -> str:
    """A container of the image that does nothing: a place to look around in."""
    return engine.start(image, "sleep", "infinity")


@pytest.fixture(scope="session")
def client(docker_services: Services, docker_ip: str, engine: Engine) -> RunqyClient:
    """The SDK's client of the server in the containers, which answers."""
    return make_client(f"http://{docker_ip}:{docker_services.port_for('server', 8081)}", engine)


@pytest.fixture(scope="session")
def docker_compose_command() -> str:
    """Version 2 where it is installed, else the older program; an engine without either is a failure."""
    version_2 = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if version_2.returncode == 0:
        return "docker compose"
    if shutil.which("docker-compose") is None:
        pytest.fail("neither docker compose nor docker-compose is installed: run make system as root")
    # It gives the engine a minute for each answer, which is not enough where much else runs.
    os.environ.setdefault("COMPOSE_HTTP_TIMEOUT", "600")
    return "docker-compose"


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    """The compose file people use, not one of the tests' own."""
    return str(ROOT / "compose" / "harness" / "compose.yml")


@pytest.fixture(scope="session")
def docker_compose_project_name(engine: Engine) -> str:
    """A project of this session's own: its network and container names cannot meet another's."""
    return "runqy-" + engine.label.partition("=")[2]


@pytest.fixture(scope="session")
def docker_setup(engine: Engine, image: str, harness_image: str) -> list[str]:
    """Images first, containers then; their label lets the sweep find them where compose fails half-way."""
    os.environ["SESSION_LABEL"] = engine.label.partition("=")[2]
    return ["up --detach --no-build"]


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    """No container is given longer than this to stop; volumes go too."""
    return ["down --volumes --remove-orphans --timeout 5"]
