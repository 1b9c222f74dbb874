"""What `dev` has running: Redis, the local server, one worker; and how the folder's content gets there."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from harness.dev import local, serve
from harness.dev.live import inputs
from harness.failure import CommandFailed
from harness.sandbox.brisk import ALONE
from harness.sandbox.client import Client
from harness.sandbox.repo import GitFailed
from harness.sandbox.runtimes.process import WorkerProcess
from harness.sandbox.source import Snapshot
from harness.sandbox.stack import WORKER_COMMAND
from harness.sandbox.tools import search_path
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer
from harness.server.keys import Keys

#: How long running tasks may go on after Ctrl-C, in seconds.
SHUTDOWN_S = 10
#: The vaults: what the command line names, and what the file of variables does.
_FROM_COMMAND, _FROM_FILE = "local", "file"


@dataclass(frozen=True)
class DevOptions:
    """What to run. ``settings`` are further fields of the queue's QueueConfig, without its vaults."""

    folder: Path
    queue: str
    port: int
    redis_url: str | None
    concurrency: int
    system_packages: bool
    worker: Sequence[str] | None
    env_file: Path | None
    payload: Path | None
    settings: Mapping[str, Any]
    vault: Mapping[str, str] = field(repr=False, default_factory=dict)


class Rig:
    """A context manager; inside it Redis and the server run, and a worker once it is started."""

    def __init__(self, options: DevOptions) -> None:
        self.options = options
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Raises :class:`~harness.failure.CommandFailed` where something cannot be had."""
        options = self.options
        with self._exits as exits:
            folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="runqy-dev-")))
            self.redis = serve.reach_redis(options.redis_url, folder, exits)
            self.db: redis.Redis = self.redis.client()
            exits.callback(self.db.close)
            keys = Keys(worker=local.KEY, client=local.KEY, admin=local.KEY)
            self.server = FakeServer(self.redis.url, keys=keys, host=local.HOST, port=options.port)
            self._kept = exits.enter_context(_kept(options.folder))
            try:
                # The task has its values as a vault; the file is this machine's.
                secret = [options.env_file] if options.env_file else []
                self._snapshot = Snapshot(options.folder, self._kept / "code.git", but=secret)
            except GitFailed as exc:
                raise CommandFailed(str(exc)) from exc
            self.config = self._configured()
            self.server.configure(self.config)
            serve.listen(self.server, local.HOST, options.port, exits)
            self.worker = WorkerProcess(options.worker or WORKER_COMMAND, self._variables(), folder)
            exits.callback(self.worker.close)
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.__exit__(kind, error, trace)

    @property
    def queue(self) -> str:
        """Where tasks are sent: the sub-queue that is served first."""
        return next(iter(self.config.priorities()))

    @property
    def deployment(self) -> Path:
        """Where the worker has the code."""
        return self._kept / "deployment"

    @property
    def places(self) -> Sequence[str]:
        """The same, for those who look for it in what is printed: links followed, and not."""
        return sorted({str(self.deployment), str(self.deployment.resolve())})

    def renew(self) -> list[str]:
        """Have the server offer the folder as it is now, with the variables of now; which files are news.

        Raises :class:`~harness.failure.CommandFailed`; what was offered before is offered on then.
        """
        before = self.config.vaults
        try:
            config = self._configured()
            changed = self._snapshot.renew()
        except GitFailed as exc:
            raise CommandFailed(str(exc)) from exc
        self.config = config
        self.server.configure(config)
        variables = self.options.env_file
        return [*changed, *([variables.name] if variables and config.vaults != before else [])]

    def reload(self) -> None:
        """Ask the worker to take on what the server offers; it says in its log how that ended."""
        self.worker.signal(signal.SIGHUP)

    def send(self, payloads: Sequence[Mapping[str, Any]]) -> list[str]:
        """Enqueue a task for each; returns their ids."""
        client = Client(self.server.url, local.KEY)
        return [client.enqueue(self.queue, payload).task_id for payload in payloads]

    def _configured(self) -> QueueConfig:
        options = self.options
        from_file = inputs.variables(options.env_file) if options.env_file else {}
        # An entry of both is the command line's: what is typed is meant for now.
        vaults = {_FROM_FILE: from_file, _FROM_COMMAND: options.vault}
        return QueueConfig(
            name=options.queue,
            # Not served: its address would be another one each time, and nothing kept.
            git_url=self._snapshot.repo.url,
            branch=self._snapshot.repo.branch,
            vaults={name: entries for name, entries in vaults.items() if entries},
            **options.settings,
        )

    def _variables(self) -> dict[str, str]:
        options = self.options
        return {
            "RUNQY_SERVER_URL": self.server.url,
            "RUNQY_API_KEY": local.KEY,
            "RUNQY_QUEUES": options.queue,
            "RUNQY_CONCURRENCY": str(options.concurrency),
            "RUNQY_SHUTDOWN_TIMEOUT": f"{SHUTDOWN_S}s",
            **({} if options.system_packages else ALONE),
            "RUNQY_DEPLOYMENT_DIR": str(self.deployment),
            "RUNQY_LOG_FORMAT": "json",
            "PATH": search_path(),
        }


@contextlib.contextmanager
def _kept(folder: Path) -> Iterator[Path]:
    """What belongs to ``folder``, also the next time: so what is installed stays installed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    name = folder.name.replace(os.pathsep, "_") or "root"
    kept = cache / "runqy-harness" / "dev" / f"{name}-{digest}"
    try:
        kept.mkdir(parents=True, exist_ok=True)
        # Of a folder that others cannot read, they cannot read this either.
        kept.chmod(0o700)
        # The kernel's: it ends with us, however that is.
        used = os.open(kept / "used", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise CommandFailed(f"{kept}: {exc.strerror}; XDG_CACHE_HOME says where caches may be") from exc
    try:
        fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its history is of no use, and would grow with each save.
        shutil.rmtree(kept / "code.git", ignore_errors=True)
        yield kept
    except BlockingIOError as exc:
        raise CommandFailed(f"{folder} is at work in another `runqy-harness dev` already") from exc
    finally:
        os.close(used)
