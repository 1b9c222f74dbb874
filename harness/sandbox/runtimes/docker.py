"""Workers as containers of one image, in their own network, all gone when the run ends.

Everything made here is labelled with the run and with the process that owns it. What an owner that was
killed could not remove, the next run removes.
"""

import contextlib
import io
import os
import secrets
import signal
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Self

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from harness import wait
from harness.sandbox.runtimes import owner
from harness.sandbox.runtimes.process import TAIL_LINES, json_objects
from harness.sandbox.runtimes.protocol import CannotRun

RUN_LABEL = "runqy-harness.run"
OWNER_LABEL = "runqy-harness.owner"
#: What compose/build.sh makes of this checkout.
IMAGE = f"runqy-appliance:{os.environ.get('IMAGE_TAG') or 'dev'}"
#: The worker's program in the image, for its other commands.
PROGRAM = "runqy-appliance"

_ENGINE_TIMEOUT_S = 60
_SIGNALLED = 128
#: Programs that only start the worker, which is then their first child.
_INITS = frozenset({"tini", "docker-init", "dumb-init", "catatonit"})
#: What a container may have of our own environment: how to reach package indexes, where files are not named.
_PASSED_ON = frozenset(
    {
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "PIP_NO_INDEX",
        "PIP_TRUSTED_HOST",
        "PIP_PROXY",
        "PIP_RETRIES",
        "PIP_TIMEOUT",
        "PIP_DEFAULT_TIMEOUT",
        "UV_INDEX",
        "UV_DEFAULT_INDEX",
        "UV_INDEX_URL",
        "UV_EXTRA_INDEX_URL",
        "UV_INDEX_STRATEGY",
        "UV_INSECURE_HOST",
        "UV_HTTP_TIMEOUT",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "RUNQY_INSTALLER",
    }
)
_PASSED_ON_PREFIXES = ("UV_INDEX_", "POETRY_HTTP_BASIC_", "POETRY_REPOSITORIES_")


class DockerRuntime:
    """A network for one run, and workers of ``image`` in it; entering raises :class:`CannotRun` without."""

    name = "docker"
    #: To read a file of a container, the engine makes an archive of it in another process.
    look_every_s = 0.4
    start_s = 120.0

    def __init__(self, image: str = IMAGE, command: Sequence[str] | None = None) -> None:
        """``command`` None is the image's own."""
        self.run_id = secrets.token_hex(6)
        self._image = image
        self._command = list(command) if command else None
        self._labels = {RUN_LABEL: self.run_id, OWNER_LABEL: owner.ours()}
        self._gateway = ""

    @property
    def address(self) -> str:
        """This machine's address in the run's network."""
        return self._gateway

    def scratch(self, folder: Path) -> str:  # noqa: ARG002  the protocol's
        """The container's own ``/tmp``."""
        return "/tmp"  # noqa: S108  the container is the worker's alone

    def settings(self, folder: Path) -> Mapping[str, str]:  # noqa: ARG002
        """Only how to reach package indexes: the image knows where it deploys."""
        return {
            name: value
            for name, value in os.environ.items()
            # Of a proxy's variable both spellings are in use.
            if name.upper() in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
        }

    def worker(
        self,
        name: str,
        env: Mapping[str, str],
        folder: Path,  # noqa: ARG002
        *,
        memory_bytes: int | None = None,
    ) -> "DockerWorker":
        """A container that is not made yet."""
        options: dict[str, Any] = {
            "image": self._image,
            "command": self._command,
            "name": f"runqy-{self.run_id}-{name}-{secrets.token_hex(3)}",
            "environment": dict(env),
            "labels": self._labels,
            "network": f"runqy-{self.run_id}",
        }
        if memory_bytes is not None:
            # Without swap: what is over the limit is to be felt.
            options |= {"mem_limit": memory_bytes, "memswap_limit": memory_bytes}
        return DockerWorker(name, options)

    def check(self) -> None:
        """Raises :class:`CannotRun` in one sentence where there is no engine, or no image."""
        with _engine() as engine:
            try:
                engine.images.get(self._image)
            except ImageNotFound as exc:
                hint = ": `make image` builds it" if self._image == IMAGE else ""
                raise CannotRun(f"there is no image {self._image} here{hint}") from exc

    def __enter__(self) -> Self:
        self.check()
        with _engine() as engine:
            sweep_dead(engine)
            with _translated():
                network = engine.networks.create(f"runqy-{self.run_id}", driver="bridge", labels=self._labels)
                network.reload()
            self._gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
        return self

    def __exit__(self, *_: object) -> None:
        with _engine() as engine:
            _sweep(engine, self.run_id)


class DockerWorker:
    """One container."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name = name
        self.environment: Mapping[str, str] = options["environment"]
        self._options = dict(options)
        # A client is a pool of connections, which must not be shared with a process we were forked from.
        with _translated():
            self._engine = docker.DockerClient.from_env(timeout=_ENGINE_TIMEOUT_S)
        self._container: Any = None

    def start(self) -> Self:
        """Make the container and start it."""
        if self._container is not None:
            raise RuntimeError(f"{self.name} was started already; make another one")
        with _translated():
            self._container = self._engine.containers.create(**self._options)
            self._container.start()
        return self

    def restart(self) -> None:
        """Start the container once more after its end."""
        if self.exit_status is None:
            raise RuntimeError(f"{self.name} still runs; end it first")
        self._started().start()

    @property
    def exit_status(self) -> int | None:
        """None while it runs; what a shell would call 128 + n is signal n."""
        state = self._state()
        if state["Status"] in {"created", "running", "paused", "restarting"}:
            return None
        status = int(state["ExitCode"])
        return _SIGNALLED - status if status > _SIGNALLED else status

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without asking (SIGKILL); its processes end with their container."""
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send its first process a signal; none where it has ended."""
        try:
            self._started().kill(int(number))
        except APIError as exc:
            if "is not running" not in str(exc):
                raise

    def pause(self) -> None:
        """Freeze all that runs in it."""
        self._started().pause()

    def resume(self) -> None:
        """Let it go on."""
        self._started().unpause()

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; returns the exit status. Raises TimedOut with its log's tail."""
        ended = wait.until(lambda: self.exit_status is not None, timeout_s, f"{self.name} to end", self.tail)
        assert ended
        status = self.exit_status
        assert status is not None
        return status

    def run(self, *arguments: str) -> "CompletedProcess[str]":
        """Run one of the worker's other commands in the container, while that runs."""
        command = [PROGRAM, *arguments]
        status, (out, err) = self._started().exec_run(command, demux=True)
        return CompletedProcess(command, status, _text(out), _text(err))

    def children(self) -> list[int]:
        """What runs in it beside the worker; nothing does when it has ended."""
        if self._state()["Status"] != "running":
            return []
        _, listing = self._started().exec_run(["sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null"])
        return _children(_text(listing))

    def signal_child(self, pid: int, number: int) -> None:
        """Send a signal to one of them; none where it has ended."""
        self._started().exec_run(["sh", "-c", f"kill -{int(number)} {int(pid)}"])

    def read_text(self, path: str) -> str:
        """A file of the container, also after its end; empty where there is none."""
        try:
            chunks, _ = self._started().get_archive(path)
        except NotFound:
            return ""
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            member = archive.extractfile(archive.getmembers()[0])
            return _text(member.read() if member else None)

    def log_text(self) -> str:
        """Both streams so far."""
        return _text(self._container.logs()) if self._container is not None else ""

    def log_events(self) -> list[dict[str, Any]]:
        """The lines of its log that are JSON objects."""
        return json_objects(self.log_text())

    def tail(self) -> str:
        """The log's last lines, for diagnoses."""
        return _text(self._container.logs(tail=TAIL_LINES)) if self._container is not None else ""

    def close(self) -> None:
        """Remove the container with its volumes; idempotent."""
        try:
            if self._container is not None:
                _remove_container(self._container)
        finally:
            self._engine.close()

    def _state(self) -> Mapping[str, Any]:
        container = self._started()
        container.reload()
        state: Mapping[str, Any] = container.attrs["State"]
        return state

    def _started(self) -> Any:
        if self._container is None:
            raise RuntimeError(f"{self.name} was not started yet")
        return self._container


def sweep_dead(engine: Any) -> None:
    """Remove what runs left behind whose owners have ended."""
    found = [
        *engine.containers.list(all=True, filters={"label": OWNER_LABEL}, ignore_removed=True),
        *engine.networks.list(filters={"label": OWNER_LABEL}),
        *engine.volumes.list(filters={"label": OWNER_LABEL}),
    ]
    for run in {
        _labels(each).get(RUN_LABEL, "") for each in found if owner.is_dead(_labels(each)[OWNER_LABEL])
    }:
        # What cannot be removed now is left to the next run.
        with contextlib.suppress(wait.TimedOut):
            _sweep(engine, run)


def _sweep(engine: Any, run: str) -> None:
    """Remove everything of one run."""
    ours = {"label": f"{RUN_LABEL}={run}"}
    for container in engine.containers.list(all=True, filters=ours, ignore_removed=True):
        _remove_container(container)
    for thing in (*engine.networks.list(filters=ours), *engine.volumes.list(filters=ours)):
        _remove(thing)


def _remove_container(container: Any) -> None:
    with contextlib.suppress(APIError):
        container.unpause()  # a paused one cannot be killed
    _remove(container, force=True, v=True)


def _remove(thing: Any, **options: bool) -> None:
    """Have it gone, whichever run's removal it is.

    While another's is under way the engine refuses ours, in several ways. Its own wait for a removal may miss
    the end, and lasts for ever then. Raises :class:`~harness.wait.TimedOut` with its last refusal.
    """

    def is_gone() -> bool:
        with contextlib.suppress(NotFound):
            thing.remove(**options)
        return True

    # A refusal is an HTTPError to requests, and no reason to stop.
    fatal = (requests.ConnectionError, requests.Timeout)
    wait.until(is_gone, _ENGINE_TIMEOUT_S, f"the engine to have removed {thing.name}", fatal=fatal)


def _labels(thing: Any) -> Mapping[str, str]:
    labels = getattr(thing, "labels", None)
    return labels if labels is not None else thing.attrs.get("Labels") or {}


@contextlib.contextmanager
def _engine() -> Iterator[Any]:
    with _translated():
        engine = docker.DockerClient.from_env(timeout=_ENGINE_TIMEOUT_S)
    try:
        with _translated():
            engine.ping()
        yield engine
    finally:
        engine.close()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (DockerException, requests.RequestException) as exc:
        reason = str(getattr(exc, "explanation", "") or exc).strip().splitlines()[-1]
        raise CannotRun(f"the Docker engine cannot be used: {reason}") from exc


def _children(stats: str) -> list[int]:
    """From ``/proc/*/stat``: what descends from the first process, without it, the worker, and the dead."""
    parents: dict[int, int] = {}
    init = False
    for line in stats.splitlines():
        head, _, rest = line.rpartition(")")
        pid, _, name = head.partition(" (")
        state, parent = rest.split()[:2]
        if pid == "1":
            init = name in _INITS
        elif state != "Z":
            parents[int(pid)] = int(parent)
    # What `docker exec` starts beside us has no parent there.
    of_worker = sorted(pid for pid in parents if _descends(pid, parents))
    if init:
        started_by_init = [pid for pid in of_worker if parents[pid] == 1]
        of_worker = [pid for pid in of_worker if pid not in started_by_init[:1]]
    return of_worker


def _descends(pid: int, parents: Mapping[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
    return pid == 1


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")
