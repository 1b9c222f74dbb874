"""One run of chaos: a plan carried out, everything settled, the history judged."""

import contextlib
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import redis

from harness import asynq, checker, ledger, wait
from harness.catalogue import handler_files
from harness.chaos import gather, inject
from harness.chaos.crew import Place
from harness.chaos.inject import NotHere, Rig
from harness.chaos.plan import PARENT, REDIS, SUB_QUEUES, Plan, PlannedFault
from harness.chaos.sender import Sender
from harness.checker import Violation
from harness.failure import CommandFailed
from harness.faults import clock, disk
from harness.faults import redis as redis_faults
from harness.faults.disk import SmallDisk
from harness.faults.proxy import FaultProxy
from harness.history import ENDS, History, Rules, Trouble
from harness.redis import RedisServer
from harness.repo import make_repo
from harness.runtimes.process import WorkerProcess
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer
from harness.stack import WORKER_COMMAND
from harness.timeline import Timeline

#: Seconds everything gets to settle when the faults have stopped: leases, backoff, and retries of retries.
SETTLE_S = 60.0
#: Seconds the first workers get to deploy and start; only then the plan's time begins.
START_S = 120.0
RULES = Rules(lease_s=2.0, drain_s=15.0)
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
    # With nothing inherited uv, where it is there, makes the environments in a fraction of pip's time.
    "RUNQY_USE_SYSTEM_SITE_PACKAGES": "false",
}


@dataclass
class Outcome:
    """What a run came to."""

    plan: Plan
    history: History
    violations: Sequence[Violation]
    timeline: Timeline
    settled_s: float
    injected: Counter[str]
    restarts: int
    skipped: Sequence[str] = ()
    logs: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """What to run: ``settings`` come on top of :data:`SETTINGS` for each worker.

    ``settle_s`` is how long everything may take to settle when the faults have stopped.
    """

    plan: Plan
    folder: Path
    command: Sequence[str] = WORKER_COMMAND
    settings: Mapping[str, str] = field(default_factory=dict)
    settle_s: float = SETTLE_S
    progress: Callable[[str], None] = lambda _: None


def run(order: Order) -> Outcome:
    """Carry it out; everything that was started is gone afterwards.

    Raises :class:`~harness.failure.CommandFailed` where the workers do not even start.
    """
    with ExitStack() as stack:
        return _Chaos(order, stack).run()


class _Chaos:
    """The parts of a run, and its steps in order."""

    def __init__(self, order: Order, stack: ExitStack) -> None:
        self._order = order
        self._plan = order.plan
        self._timeline = Timeline()
        self._troubles: list[Trouble] = []
        self._injected: Counter[str] = Counter()
        self._skipped: dict[str, None] = {}
        self._active: list[tuple[float, PlannedFault, ExitStack, float]] = []
        self._secrets = {
            name: f"canary-{secrets.token_hex(12)}"
            for name in ("the API key", "the vault's CHAOS_SECRET", "the git token", "the password of Redis")
        }
        folder = order.folder
        password = self._secrets["the password of Redis"]
        self._redis = stack.enter_context(
            RedisServer(folder / "redis", persistent=True, password=password, extra_args=ledger.OPTIONS)
        )
        self._db = self._client(stack)
        self._sender = Sender(self._plan, self._client(stack))
        stack.enter_context(ledger.Clock(self._client(stack)))
        self._diary = folder / "diary"
        repo = make_repo(folder / "code.git", {**handler_files("raw_echo"), "main.py": _task_code()})
        queue = QueueConfig(
            name=PARENT,
            git_url=repo.url,
            startup_cmd=_START,
            sub_queues=SUB_QUEUES,
            git_token=self._secrets["the git token"],
            vaults={"chaos": {"CHAOS_SECRET": self._secrets["the vault's CHAOS_SECRET"]}},
        )
        numbers = range(self._plan.workers)
        target = (self._redis.host, self._redis.port)
        links = [stack.enter_context(FaultProxy(target, seed=self._plan.seed * 100 + n)) for n in numbers]
        key = self._secrets["the API key"]
        urls = [link.url(self._redis.url) for link in links]
        servers = [
            stack.enter_context(
                FakeServer(self._redis.url, [queue], worker_key=key, redis_url_for_workers=url)
            )
            for url in urls
        ]
        doors = [stack.enter_context(FaultProxy(("127.0.0.1", server.port))) for server in servers]
        disks = [self._disk(folder / f"worker-{n}" / "deployment", stack) for n in numbers]
        self._places = [self._place(n, doors[n].url(servers[n].url), folder / f"worker-{n}") for n in numbers]
        for place in self._places:
            stack.callback(self._clear_away, place)
        self._rig = Rig(self._db, self._redis, self._places, links, doors, disks)

    def run(self) -> Outcome:
        """Start, trouble, settle, end, judge."""
        self._start()
        self._trouble()
        settled_s = self._settle()
        self._order.progress("asking the workers to end")
        for place in self._places:
            place.ask_to_end()
        for place in self._places:
            place.close(RULES.drain_s)
        for place in self._places:
            place.settle_accounts()
        self._order.progress("judging what happened")
        history = gather.history(
            RULES,
            self._sender.sent,
            self._troubles,
            self._places,
            self._db,
            self._order.folder / "redis",
            self._diary,
            self._secrets,
        )
        return Outcome(
            plan=self._plan,
            history=history,
            violations=checker.check(history),
            timeline=self._timeline,
            settled_s=settled_s,
            injected=self._injected,
            restarts=sum(place.restarts for place in self._places),
            skipped=tuple(self._skipped),
            logs={log.name: log.log_path for place in self._places for log in place.logs},
        )

    # The steps -----------------------------------------------------------------------------------

    def _start(self) -> None:
        self._order.progress(f"starting {self._plan.workers} workers")
        for place in self._places:
            place.tick()
        try:
            wait.until(self._over_or_running, START_S, "the workers to run", self._logs)
        except wait.TimedOut as exc:
            raise CommandFailed(str(exc)) from exc
        if any(place.worker is None for place in self._places):
            raise CommandFailed(f"a worker ended before anything was done to it\n{self._logs()}")

    def _over_or_running(self) -> bool:
        if any(place.worker is None for place in self._places):
            return True
        beats = [asynq.get_worker(self._db, worker_id) for worker_id in asynq.get_worker_ids(self._db)]
        return sum(beat.get("status") == "running" for beat in beats) == len(self._places)

    def _trouble(self) -> None:
        begun_s = time.monotonic()
        self._sender.start()
        waiting = list(self._plan.faults)
        while (elapsed_s := time.monotonic() - begun_s) < self._plan.duration_s or self._active:
            while waiting and waiting[0].at_s <= elapsed_s:
                self._begin(waiting.pop(0), begun_s)
            for each in [each for each in self._active if each[0] <= elapsed_s]:
                self._end(each)
            self._tick(elapsed_s)
        if not self._sender.finish(SETTLE_S):
            raise CommandFailed("the tasks could not be sent: Redis takes none, and no fault is left")

    def _begin(self, fault: PlannedFault, begun_s: float) -> None:
        began_s, effect = time.time(), ExitStack()
        try:
            effect.enter_context(inject.inject(fault, self._rig))
        except NotHere as exc:
            self._skipped[f"{fault.kind}: {exc}"] = None
            return
        name = fault.target if fault.target == REDIS else f"worker {fault.target}"
        self._timeline.record("faults", "fault.began", fault=fault.kind, target=name, **fault.parameters)
        self._injected[fault.kind] += 1
        # From when it is in effect: a power cut takes a moment to bring about.
        until_s = max(fault.at_s, time.monotonic() - begun_s) + fault.for_s
        self._active.append((until_s, fault, effect, began_s))

    def _end(self, active: tuple[float, PlannedFault, ExitStack, float]) -> None:
        self._active.remove(active)
        _, fault, effect, began_s = active
        effect.close()
        name = fault.target if fault.target == REDIS else f"worker {fault.target}"
        self._timeline.record("faults", "fault.ended", fault=fault.kind, target=name)
        lingers_s = inject.lingers_s(fault.kind)
        self._troubles.append(Trouble(fault.kind, fault.target, began_s, time.time(), lingers_s))

    def _settle(self) -> float:
        begun_s = time.monotonic()

        def settled() -> bool:
            left = self._unsettled()
            self._tick(None, f"faults are over, {left} tasks are not")
            return left == 0

        with contextlib.suppress(wait.TimedOut):  # the checker says which ones, and why that is wrong
            wait.until(settled, self._order.settle_s, "all tasks to settle")
        return time.monotonic() - begun_s

    def _unsettled(self) -> int:
        with self._db.pipeline(transaction=False) as pipe:
            for sent in self._sender.sent:
                pipe.hget(asynq.task_key(sent.queue, sent.task_id), "state")
            states = [(state or b"").decode() for state in pipe.execute()]
        return sum(state not in ENDS for state in states)

    def _tick(self, elapsed_s: float | None, text: str = "") -> None:
        for place in self._places:
            place.tick()
        if elapsed_s is not None:
            text = f"{elapsed_s:.0f} s: {len(self._sender.sent)} sent, {self._injected.total()} faults"
        self._order.progress(text)
        time.sleep(0.01)

    # The parts -----------------------------------------------------------------------------------

    def _client(self, stack: ExitStack) -> redis.Redis:
        client = redis_faults.spare(self._redis.client())
        client.connection_pool.connection_kwargs["socket_timeout"] = None
        stack.callback(client.close)
        return client

    def _disk(self, folder: Path, stack: ExitStack) -> SmallDisk | None:
        try:
            return stack.enter_context(disk.small_disk(folder, _DISK_BYTES))
        except disk.Unavailable:
            return None

    def _place(self, number: int, server_url: str, folder: Path) -> Place:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {
            **SETTINGS,
            "PATH": path,
            "RUNQY_SERVER_URL": server_url,
            "RUNQY_API_KEY": self._secrets["the API key"],
            "RUNQY_QUEUES": PARENT,
            "RUNQY_DEPLOYMENT_DIR": str(folder / "deployment"),
            "HANDLER_DIARY": str(self._diary),
            **self._state_folder(number),
            **self._skew(self._plan.skews_s[number]),
            **self._order.settings,
        }
        make = partial(_make, self._order.command)
        return Place(number, make, env, folder, self._timeline)

    def _state_folder(self, number: int) -> Mapping[str, str]:
        """The first two workers share one, the others have none: both ways must do."""
        return {"RUNQY_STATE_DIR": str(self._order.folder / "state")} if number < 2 else {}

    def _skew(self, offset_s: float) -> Mapping[str, str]:
        if not offset_s:
            return {}
        try:
            skew = clock.skewed(offset_s)
        except clock.Unavailable as exc:
            self._skipped[f"clock skew: {exc}"] = None
            return {}
        self._injected["clock skewed"] += 1
        return skew

    def _clear_away(self, place: Place) -> None:
        for log in place.logs:
            log.close()

    def _logs(self) -> str:
        return "\n".join(f"--- {log.name}:\n{log.tail()}" for each in self._places for log in each.logs[-1:])


def _make(command: Sequence[str], name: str, env: Mapping[str, str], folder: Path) -> WorkerProcess:
    return WorkerProcess(command, env, folder, name)


def _task_code() -> str:
    return (Path(__file__).parent / "program" / "main.py").read_text()
