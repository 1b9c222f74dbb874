"""Tells the server and the people behind it that this worker lives, and how it is (wire §6)."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from appliance.clock import Clock
from appliance.observe.outbound import Outbound
from appliance.observe.system import SystemMetrics
from appliance.queue import keys
from appliance.queue.connection import Command, Line, check

#: Seconds between beats; the protocol asks for one every 5 s.
BEAT_EVERY_S = 4.5
#: Seconds between looks for something to ship.
LOOK_EVERY_S = 1.0
#: Life of the worker's hash without a beat, in seconds: then it counts as stale.
HASH_TTL_S = 30
#: How long a silent worker stays in the set of workers, in seconds.
REMEMBERED_S = 30 * 60
#: Seconds between two times that workers whose time in the set is over are taken out of it.
TRIM_EVERY_S = 10 * 60


class Status(StrEnum):
    """The worker's own state."""

    BOOTSTRAPPING = "bootstrapping"
    RUNNING = "running"
    QUIET = "quiet"  # running, and told to take nothing new
    STOPPED = "stopped"


@dataclass(frozen=True)
class Vitals:
    """What changes from beat to beat. ``queues`` maps sub-queue to priority, ``recovery``, ``commits`` and
    ``redeployed`` are by parent queue; a recovery entry is what the server shows of a process."""

    status: Status
    healthy: bool
    queues: Mapping[str, int]
    recovery: Mapping[str, Mapping[str, str | int]]
    commits: Mapping[str, str]
    redeployed: Mapping[str, Mapping[str, str | int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Identity:
    """What stays the same for the life of the worker."""

    worker_id: str
    started_at_wall_s: float
    concurrency: int
    instance_id: str | None


class Heartbeat:
    """Writes one worker's hash, its place in the set of workers, and what waits to be shipped."""

    def __init__(
        self,
        line: Line,
        identity: Identity,
        vitals: Callable[[], Vitals],
        outbound: Sequence[Outbound],
        system: SystemMetrics,
        clock: Clock,
    ) -> None:
        self._line = line
        self._identity = identity
        self._vitals = vitals
        self._outbound = outbound
        self._system = system
        self._clock = clock
        self._beat_at_s = 0.0
        self._trim_at_s = 0.0
        self._last: object = None

    def tick(self) -> float:
        """Beat when it is time or what people look at changed, and ship; returns the seconds to the next."""
        now_s = self._clock.monotonic()
        if now_s >= self._beat_at_s or _conspicuous(self._vitals()) != self._last:
            self.beat()
            self._beat_at_s = now_s + BEAT_EVERY_S
        self._ship()
        return min(LOOK_EVERY_S, max(0.0, self._beat_at_s - self._clock.monotonic()))

    def last(self) -> None:
        """The beat that says goodbye: seen until the hash runs out, with the last lines."""
        self.beat(remembered_s=HASH_TTL_S)
        self._ship()

    def beat(self, *, remembered_s: int = REMEMBERED_S) -> None:
        """Write everything now."""
        vitals, now = self._vitals(), self._clock.wall()
        key = keys.worker(self._identity.worker_id)
        fields = self._fields(vitals, now)
        pairs = [text for pair in fields.items() for text in pair]
        commands: list[Command] = [
            ("HSET", key, *pairs),
            ("EXPIRE", key, HASH_TTL_S),
            ("ZADD", keys.WORKERS, int(now) + remembered_s, self._identity.worker_id),
        ]
        now_s = self._clock.monotonic()
        trims = now_s >= self._trim_at_s
        if trims:
            # Who lives puts itself back with its next beat, should our clock be ahead.
            commands.append(("ZREMRANGEBYSCORE", keys.WORKERS, "-inf", f"({int(now)}"))
        for reply in self._line.batch(commands):
            check(reply)
        if trims:
            self._trim_at_s = now_s + TRIM_EVERY_S
        self._last = _conspicuous(vitals)

    def _fields(self, vitals: Vitals, now: float) -> dict[str, str]:
        queues = " ".join(f"{name}:{priority}" for name, priority in sorted(vitals.queues.items()))
        commits = vitals.commits
        return {
            "worker_id": self._identity.worker_id,
            "instance_id": self._identity.instance_id or "",
            "protected": "0",
            "started_at": str(int(self._identity.started_at_wall_s)),
            "last_beat": str(int(now)),
            "concurrency": str(self._identity.concurrency),
            # Go's print of a map: the server takes it apart that way.
            "queues": f"map[{queues}]",
            "status": vitals.status.value,
            "healthy": str(int(vitals.healthy)),
            "metrics": json.dumps(self._system.collect(now)),
            "recovery": json.dumps(vitals.recovery),
            "redeployed": json.dumps(vitals.redeployed),
            "commit": next(iter(commits.values()))
            if len(commits) == 1
            else " ".join(f"{parent}:{commit}" for parent, commit in sorted(commits.items())),
        }

    def _ship(self) -> None:
        for outbound in self._outbound:
            mark, texts = outbound.peek()
            if not texts:
                continue
            commands = [
                ("RPUSH", outbound.key, *texts),
                ("LTRIM", outbound.key, -outbound.kept, -1),
                ("EXPIRE", outbound.key, outbound.ttl_s),
            ]
            for reply in self._line.batch(commands):
                check(reply)
            outbound.drop(mark)


def _conspicuous(vitals: Vitals) -> object:
    """What nobody should learn of late: a process that is down for a moment would be missed otherwise."""
    return vitals.status, vitals.healthy, [recovery.get("state") for recovery in vitals.recovery.values()]
