"""What task code attacks: a worker with secrets, a state folder and two parent queues.

The worker runs as in the recommended container: the same user as task code, without capabilities, so that
nothing but what is tested keeps them apart. Its files and its program are not below ``/tmp``, where nothing
can be closed: a clone that lies there is copied.
"""

import atexit
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness import wait
from harness.queue import asynq
from harness.sandbox.runtimes.process import WorkerProcess
from tests.integration import world as worlds
from tests.integration.world import QUEUE, World

ROOT = Path(__file__).parents[2]
INSIDE = Path(__file__).parent / "inside"
#: Takes away what root has and a user in a container has not.
WITHOUT_CAPABILITIES = (
    "setpriv",
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--ambient-caps=-all",
)
WORKER = ("-m", "appliance")
#: The same as on a kernel that has no Landlock.
WORKER_WITHOUT_LANDLOCK = (
    "-c",
    "import sys; from appliance.isolation import landlock; landlock.version = lambda: 0; "
    "from appliance.__main__ import main; sys.exit(main())",
)
#: Where task code may write whatever the settings are, and what must be closed can therefore not lie.
TEMPORARY = tuple(Path(each).resolve() for each in ("/tmp", "/var/tmp", "/dev/shm", tempfile.gettempdir()))
GIT_TOKEN, SSH_KEY = "git-token-canary-71", "ssh-key-canary-72"


@dataclass(frozen=True)
class Outcome:
    """What an attack got, or what refused it."""

    got: Any = None
    refused: str = ""


class Target:
    """A world with its worker; ``neighbour`` is the process of another parent queue."""

    def __init__(self, world: World, arguments: tuple[str, ...] = WORKER, **env: str) -> None:
        self.world = world
        self.program = program()
        command = (str(self.program / ".venv" / "bin" / "python"), *arguments)
        secrets = world.folder / "secrets"
        secrets.mkdir()
        self.git_token_file, self.ssh_key = secrets / "git-token", secrets / "ssh-key"
        self.git_token_file.write_text(GIT_TOKEN)
        self.ssh_key.write_text(SSH_KEY)
        self.ssh_key.chmod(0o600)
        self.state = world.folder / "state"
        self.state.mkdir()
        self.state_file = self.state / "earlier.kept"
        self.state_file.write_text("outcome-canary-73")
        self.deployment = world.folder / "deployment"
        #: A folder that is the task's as much as anything on the machine.
        self.shared = world.folder / "shared"
        self.shared.mkdir()
        #: One that the operator has opened.
        self.opened = world.folder / "opened"
        self.opened.mkdir()
        self.model = self.shared / "model"
        self.model.write_text("weights")
        home = world.folder / "home"
        home.mkdir()
        files = {path.name: path.read_text() for path in INSIDE.glob("*.py")}
        world.serve(files)
        world.serve(files, name="neighbour")
        if os.geteuid() == 0:
            command = (*WITHOUT_CAPABILITIES, *command)
        self.worker: WorkerProcess = world.worker(
            command,
            RUNQY_QUEUES="inference,neighbour",
            RUNQY_GIT_TOKEN_FILE=str(self.git_token_file),
            RUNQY_GIT_SSH_KEY=str(self.ssh_key),
            RUNQY_STATE_DIR=str(self.state),
            RUNQY_TASK_PATHS=str(self.opened),
            HOME=str(home),
            PATH=f"{self.program}/.venv/bin{os.pathsep}{os.environ['PATH']}",
            **env,
        )
        world.event(self.worker, "process.ready", count=2)

    @property
    def api_key(self) -> str:
        """The key in the worker's environment."""
        return self.world.server.worker_key

    def pid_of(self, parent: str) -> int:
        """The task process of a parent queue, as it last got ready."""
        ready = [each for each in self.worker.log_events() if each["event"] == "process.ready"]
        return next(int(each["pid"]) for each in reversed(ready) if each["parent"] == parent)

    def attack(self, name: str, /, **arguments: Any) -> Outcome:
        """Run one attack as a task of the queue ``inference``; what it got."""
        (task_id,) = self.world.seed(1, {"attack": name, "with": arguments})
        wait.until(
            lambda: asynq.where_is(self.world.db, QUEUE, task_id) == "completed", 60, name, self.worker.tail
        )
        return Outcome(**self.world.result(task_id))


@cache
def place() -> Path:
    """Where what must be closed can lie."""
    for folder in (ROOT / "build/attack", Path.home() / ".cache/runqy-attack", Path("/var/lib/runqy-attack")):
        if any(folder.resolve().is_relative_to(each) for each in TEMPORARY):
            continue
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            return folder
    pytest.skip(f"nothing can be closed below {TEMPORARY[0]}: clone this elsewhere, or set HOME to elsewhere")


@cache
def program() -> Path:
    """The folder with ``.venv`` and the packages that the worker is started from."""
    if not any(ROOT.resolve().is_relative_to(each) for each in TEMPORARY):
        return ROOT
    copy = Path(tempfile.mkdtemp(prefix="program-", dir=place()))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    shutil.copytree(sys.prefix, copy / ".venv", symlinks=True)
    for package in ("appliance", "harness"):
        shutil.copytree(ROOT / package, copy / package)
    for finder in copy.glob(".venv/lib/python*/site-packages/__editable__*runqy*"):
        if finder.is_file():
            finder.write_text(finder.read_text().replace(str(ROOT), str(copy)))
    return copy


@contextmanager
def target(arguments: tuple[str, ...] = WORKER, **env: str) -> Iterator[Target]:
    """A target with its own Redis, server and folder, gone at the end."""
    folder = Path(tempfile.mkdtemp(dir=place()))
    try:
        with worlds.world(folder) as world:
            yield Target(world, arguments, **env)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def abstract_socket(name: str, says: bytes) -> Iterator[None]:
    """A server of this process on an abstract socket."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0" + name)
        server.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.sendall(says)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
