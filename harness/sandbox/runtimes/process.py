"""A worker as a process of this machine."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil

from harness import wait
from harness.sandbox import guard
from harness.sandbox.runtimes.protocol import CannotRun

#: In the environment of the worker and of all it starts, which is how they are found again.
_MARK = "HARNESS_WORKER"
#: What a worker may see of our own environment: where programs are, and how to reach package indexes.
_PASSED_ON = frozenset(
    {
        "PATH",
        "HOME",
        "LANG",
        "NO_PROXY",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "NETRC",
        "XDG_CONFIG_HOME",
        "XDG_CONFIG_DIRS",
    }
)
_PASSED_ON_PREFIXES = ("PIP_", "UV_", "SSL_CERT_", "POETRY_", "GIT_SSL_")
_CLOSE_TIMEOUT_S = 60.0
_COMMAND_TIMEOUT_S = 90
TAIL_LINES = 40


class WorkerProcess:
    """Runs ``command`` in a new session, in ``folder``, with a clean environment plus ``env``.

    Its output goes to ``{folder}/{name}.log``. It is killed when this process ends.
    """

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], folder: Path, name: str = "worker"
    ) -> None:
        self.name = name
        self.log_path = folder / f"{name}.log"
        self.environment = dict(env)
        self._command = list(command)
        self._mark = uuid.uuid4().hex
        # One that is killed leaves files there, and no other worker starts that would clear them away.
        self._temporary = tempfile.TemporaryDirectory(prefix="runqy-worker-", ignore_cleanup_errors=True)
        temporary = {"TMPDIR": self._temporary.name}
        self._environment = {**_clean_environment(), **temporary, **env, _MARK: self._mark}
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it. Raises FileNotFoundError where there is no such program."""
        if self._process is not None:
            raise RuntimeError(f"{self.name} was started already; make another one")
        self._folder.mkdir(parents=True, exist_ok=True)
        self.log_path.unlink(missing_ok=True)
        self._spawn()
        return self

    def restart(self) -> None:
        """Start it once more after its end; its log goes on."""
        if self.exit_status is None:
            raise RuntimeError(f"{self.name} still runs; end it first")
        self._spawn()

    def _spawn(self) -> None:
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                guard.bound_to_us(self._command, self._environment),
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The worker's process."""
        return self._started().pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; a signal's is negative."""
        return self._started().poll()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without asking (SIGKILL), and it alone."""
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send it a signal; none where it has ended."""
        self._started().send_signal(number)

    def pause(self) -> None:
        """Freeze it and its processes."""
        # Itself first: then it starts no more of them.
        self.signal(signal.SIGSTOP)
        for pid in self.children():
            self.signal_child(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        for pid in self.children():
            self.signal_child(pid, signal.SIGCONT)
        self.signal(signal.SIGCONT)

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; returns the exit status. Raises TimedOut with its log's tail."""
        process = self._started()
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired as exc:
            message = f"waited {timeout_s:g} s for {self.name} to end; its log ends:\n{self.tail()}"
            raise wait.TimedOut(message) from exc

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run one of the worker's other commands beside it, in the same environment."""
        return subprocess.run(
            [*self._command, *arguments],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )

    def log_text(self) -> str:
        """All it printed so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_events(self) -> list[dict[str, Any]]:
        """The lines of its log that are JSON objects."""
        return json_objects(self.log_text())

    def tail(self) -> str:
        """The log's last lines, for diagnoses."""
        return "\n".join(self.log_text().splitlines()[-TAIL_LINES:])

    def children(self) -> list[int]:
        """Processes it started, and theirs, whether it still lives or not."""
        ours = self._started().pid
        return [pid for pid in psutil.pids() if pid != ours and self._is_marked(pid)]

    def signal_child(self, pid: int, number: int) -> None:
        """Send a signal to one of them; none where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def read_text(self, path: str) -> str:
        """A file; empty where there is none."""
        try:
            return Path(path).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def close(self) -> None:
        """End it and everything it started; idempotent."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait(_CLOSE_TIMEOUT_S)
            wait.until(self._swept, _CLOSE_TIMEOUT_S, f"the processes of {self.name} to be gone")
        self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _swept(self) -> bool:
        left = self.children()
        for pid in left:
            self.signal_child(pid, signal.SIGKILL)
        return not left

    def _is_marked(self, pid: int) -> bool:
        try:
            # Not by psutil, which reads ten times as much: this is asked of all processes there are.
            return self._mark.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            # Gone meanwhile, a zombie (which has no environment any more), or not ours to look at.
            return False

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started yet")
        return self._process


class ProcessRuntime:
    """Workers as processes of this machine, by the command that starts one."""

    name = "process"
    address = "127.0.0.1"
    look_every_s = 0.1
    start_s = 30.0

    def __init__(self, command: Sequence[str], settings: Mapping[str, str] | None = None) -> None:
        """``settings`` are further variables that a worker needs here."""
        self._command = tuple(command)
        self._settings = dict(settings or {})

    def wrapped(self, module: Sequence[str]) -> "ProcessRuntime":
        """Another one, in which a module of Python with its arguments comes before the worker's command."""
        return ProcessRuntime((sys.executable, "-m", *module, "--", *self._command), self._settings)

    def scratch(self, folder: Path) -> str:
        """A folder in the worker's: task code may write to one that is there when the worker starts."""
        scratch = folder / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        return str(scratch)

    def settings(self, folder: Path) -> Mapping[str, str]:
        """Where task code goes: each worker has its own place."""
        return {"RUNQY_DEPLOYMENT_DIR": str(folder / "deployment"), **self._settings}

    def worker(
        self, name: str, env: Mapping[str, str], folder: Path, *, memory_bytes: int | None = None
    ) -> WorkerProcess:
        """A worker that is not started yet. Raises CannotRun where it is to be limited."""
        if memory_bytes is not None:
            raise CannotRun("the process runtime cannot limit a worker's memory; the docker runtime can")
        return WorkerProcess(self._command, env, folder, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Workers are closed by those who made them."""


def _clean_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }


def json_objects(text: str) -> list[dict[str, Any]]:
    """The lines of ``text`` that are JSON objects."""
    return [event for line in text.splitlines() if (event := _json_object(line)) is not None]


def _json_object(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
