"""Says in Redis that this worker lives, and what it does; the server and operators read it (wire §6)."""

from collections.abc import Callable

from appliance.clock import Clock
from appliance.observe import beat
from appliance.observe.outbound import Outbound
from appliance.observe.system import SystemMetrics
from appliance.queue import keys
from appliance.queue.connection import Command, Connection, check
from appliance.snapshot import WorkerSnapshot

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


class Heartbeat:
    """Writes one worker's hash, its place in the set of workers, and what waits to be shipped."""

    def __init__(
        self,
        connection: Connection,
        snapshot: Callable[[], WorkerSnapshot],
        logs: Outbound,
        crashes: Outbound,
        system: SystemMetrics,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._snapshot = snapshot
        self._logs = logs
        self._crashes = crashes
        self._system = system
        self._clock = clock
        self._beat_at_s = 0.0
        self._trim_at_s = 0.0
        self._last: object = None

    def tick(self) -> float:
        """Beat when it is time or what people look at changed, and ship; returns the seconds to the next."""
        now_s = self._clock.monotonic()
        if now_s >= self._beat_at_s or beat.conspicuous(self._snapshot()) != self._last:
            self.beat()
            self._beat_at_s = now_s + BEAT_EVERY_S
        self._ship(self._logs, self._crashes)
        return min(LOOK_EVERY_S, max(0.0, self._beat_at_s - self._clock.monotonic()))

    def leave(self) -> None:
        """Take the worker out: one that has ended is none, whatever its hash would say.

        The server's autoscaler counts every hash, whatever its status. Crash dossiers stay.
        """
        self._ship(self._crashes)
        worker_id = self._snapshot().identity.worker_id
        commands: list[Command] = [
            ("DEL", keys.worker(worker_id)),
            ("DEL", self._logs.key),
            ("ZREM", keys.WORKERS, worker_id),
        ]
        for reply in self._connection.batch(commands):
            check(reply)

    def beat(self) -> None:
        """Write everything now."""
        snapshot = self._snapshot()
        worker_id, now = snapshot.identity.worker_id, snapshot.now_wall_s
        key = keys.worker(worker_id)
        fields = beat.fields(snapshot, self._system.collect(now))
        pairs = [text for pair in fields.items() for text in pair]
        commands: list[Command] = [
            ("HSET", key, *pairs),
            ("EXPIRE", key, HASH_TTL_S),
            # Lines that no new one follows live as long as the worker does, and no longer.
            ("EXPIRE", self._logs.key, HASH_TTL_S),
            ("ZADD", keys.WORKERS, int(now) + REMEMBERED_S, worker_id),
        ]
        now_s = self._clock.monotonic()
        trims = now_s >= self._trim_at_s
        if trims:
            # Who lives puts itself back with its next beat, should our clock be ahead.
            commands.append(("ZREMRANGEBYSCORE", keys.WORKERS, "-inf", f"({int(now)}"))
        for reply in self._connection.batch(commands):
            check(reply)
        if trims:
            self._trim_at_s = now_s + TRIM_EVERY_S
        self._last = beat.conspicuous(snapshot)

    def _ship(self, *outbound: Outbound) -> None:
        for one in outbound:
            mark, texts = one.peek()
            if not texts:
                continue
            commands: list[Command] = [("RPUSH", one.key, *texts), ("EXPIRE", one.key, one.ttl_s)]
            length, _ = (check(reply) for reply in self._connection.batch(commands))
            one.drop(mark)
            if length > one.longest:
                self._connection.call("LTRIM", one.key, -one.kept, -1)
