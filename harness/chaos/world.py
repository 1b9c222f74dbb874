"""What a run of chaos stands on: Redis, a server and a proxy for each worker, the workers, and their code."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import redis

from harness.chaos.crew import Place
from harness.chaos.inject import Rig
from harness.chaos.plan import PARENT, SUB_QUEUES, Plan
from harness.evidence import ledger
from harness.evidence.timeline import Timeline
from harness.faults import clock, disk
from harness.faults import redis as redis_faults
from harness.faults.disk import SmallDisk
from harness.faults.latency import Latency
from harness.faults.proxy import FaultProxy
from harness.sandbox.brisk import ALONE
from harness.sandbox.handlers import handler_files
from harness.sandbox.redis import RedisServer
from harness.sandbox.repo import make_repo
from harness.sandbox.runtimes.process import WorkerProcess
from harness.sandbox.stack import WORKER_COMMAND
from harness.sandbox.tools import search_path
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer
from harness.server.keys import Keys

#: Seconds everything gets to settle when the faults have stopped: leases, backoff, and retries of retries.
SETTLE_S = 60.0
_DISK_BYTES = 64 << 20

#: The clock of a worker may be wrong, the one of its task process stays right: Python's sleep does not
#: survive libfaketime.
_START = "env -u LD_PRELOAD python main.py"

#: A pace at which half a minute shows what takes hours in production.
SETTINGS = {
    "RUNQY_CONCURRENCY": "4",
    "RUNQY_LEASE_DURATION": "2s",
    "RUNQY_SHUTDOWN_TIMEOUT": "3s",
    "RUNQY_PROCESS_STOP_GRACE": "1s",
    "RUNQY_RETRY_BASE_DELAY": "50ms",
    "RUNQY_RETRY_MAX_DELAY": "1s",
    "RUNQY_RECOVERY_INITIAL_DELAY": "50ms",
    "RUNQY_RECOVERY_MAX_DELAY": "500ms",
    "RUNQY_RECOVERY_MAX_RESTARTS": "1000",
    "RUNQY_BOOTSTRAP_RETRIES": "5",
    "RUNQY_BOOTSTRAP_RETRY_DELAY": "200ms",
    "RUNQY_LOG_FORMAT": "json",
    **ALONE,
}


@dataclass(frozen=True)
class RunOptions:
    """What to run: ``settings`` come on top of :data:`SETTINGS` for each worker.

    ``settle_s`` is how long everything may take to settle when the faults have stopped, ``round_trip_s`` how
    far Redis is from every worker at least.
    """

    plan: Plan
    folder: Path
    command: Sequence[str] = WORKER_COMMAND
    settings: Mapping[str, str] = field(default_factory=dict)
    settle_s: float = SETTLE_S
    round_trip_s: float = 0.0
    progress: Callable[[str], None] = lambda _: None


class World:
    """Entered into ``stack``, which takes it down again."""

    def __init__(self, options: RunOptions, timeline: Timeline, stack: ExitStack) -> None:
        self._options = options
        self._timeline = timeline
        #: What could not be done here, each with the reason.
        self.skipped: dict[str, None] = {}
        self.skewed = 0
        self.secrets = {
            name: f"canary-{secrets.token_hex(12)}"
            for name in ("the API key", "the vault's CHAOS_SECRET", "the git token", "the password of Redis")
        }
        plan, folder = options.plan, options.folder
        password = self.secrets["the password of Redis"]
        self.redis = stack.enter_context(
            RedisServer(folder / "redis", persistent=True, password=password, extra_args=ledger.OPTIONS)
        )
        self.db = self.client(stack)
        stack.enter_context(ledger.Clock(self.client(stack)))
        self.diary = folder / "diary"
        repo = make_repo(folder / "code.git", {**handler_files("raw_echo"), "main.py": _task_code()})
        queue = QueueConfig(
            name=PARENT,
            git_url=repo.url,
            startup_cmd=_START,
            sub_queues=SUB_QUEUES,
            git_token=self.secrets["the git token"],
            vaults={"chaos": {"CHAOS_SECRET": self.secrets["the vault's CHAOS_SECRET"]}},
        )
        numbers = range(plan.workers)
        target = (self.redis.host, self.redis.port)
        if options.round_trip_s:
            # Behind the links, whose faults come and go.
            way = stack.enter_context(FaultProxy(target))
            way.set(Latency(options.round_trip_s / 2))
            target = (target[0], way.port)
        links = [stack.enter_context(FaultProxy(target, seed=plan.seed * 100 + n)) for n in numbers]
        key = self.secrets["the API key"]
        urls = [link.url(self.redis.url) for link in links]
        servers = [
            stack.enter_context(
                FakeServer(self.redis.url, [queue], keys=Keys(worker=key), redis_url_for_workers=url)
            )
            for url in urls
        ]
        doors = [stack.enter_context(FaultProxy(("127.0.0.1", server.port))) for server in servers]
        disks = [self._disk(folder / f"worker-{n}" / "deployment", stack) for n in numbers]
        self.places = [self._place(n, doors[n].url(servers[n].url), folder / f"worker-{n}") for n in numbers]
        for place in self.places:
            stack.callback(_close_logs, place)
        self.rig = Rig(self.db, self.redis, self.places, links, doors, disks)

    def client(self, stack: ExitStack) -> redis.Redis:
        """A client that no fault cuts off, and that waits for as long as it takes."""
        client = redis_faults.spare(self.redis.client())
        client.connection_pool.connection_kwargs["socket_timeout"] = None
        stack.callback(client.close)
        return client

    def logs(self) -> str:
        """How the workers' logs end."""
        return "\n".join(f"--- {log.name}:\n{log.tail()}" for each in self.places for log in each.logs[-1:])

    def _disk(self, folder: Path, stack: ExitStack) -> SmallDisk | None:
        try:
            return stack.enter_context(disk.small_disk(folder, _DISK_BYTES))
        except disk.Unavailable:
            return None

    def _place(self, number: int, server_url: str, folder: Path) -> Place:
        env = {
            **SETTINGS,
            "PATH": search_path(),
            "RUNQY_SERVER_URL": server_url,
            "RUNQY_API_KEY": self.secrets["the API key"],
            "RUNQY_QUEUES": PARENT,
            "RUNQY_DEPLOYMENT_DIR": str(folder / "deployment"),
            "HANDLER_DIARY": str(self.diary),
            **self._state_folder(number),
            **self._skew(self._options.plan.skews_s[number]),
            **self._options.settings,
        }
        make = partial(_make, self._options.command)
        return Place(number, make, env, folder, self._timeline)

    def _state_folder(self, number: int) -> Mapping[str, str]:
        """The first two workers share one, the others have none: both ways must do."""
        return {"RUNQY_STATE_DIR": str(self._options.folder / "state")} if number < 2 else {}

    def _skew(self, offset_s: float) -> Mapping[str, str]:
        if not offset_s:
            return {}
        try:
            skew = clock.skewed(offset_s)
        except clock.Unavailable as exc:
            self.skipped[f"clock skew: {exc}"] = None
            return {}
        self.skewed += 1
        return skew


def _close_logs(place: Place) -> None:
    for log in place.logs:
        log.close()
        clock.clear_away(log.pid)


def _make(command: Sequence[str], name: str, env: Mapping[str, str], folder: Path) -> WorkerProcess:
    return WorkerProcess(command, env, folder, name)


def _task_code() -> str:
    return (Path(__file__).parent / "program" / "main.py").read_text()
