"""The worker's presence in Redis: every server it works on is reached first, told that it lives, and left.

Queues that share a Redis share one heartbeat, one list of lines and one of crash dossiers there.
"""

from collections.abc import Callable, Iterable

import gevent
import gevent.pool
import structlog

from appliance.control.contract import RedisEndpoint
from appliance.errors import QueueError, StartupError
from appliance.event import Event
from appliance.loops import ticker
from appliance.loops.heartbeat import HASH_TTL_S, Heartbeat
from appliance.observe.crash import DOSSIER_TTL_S, KEPT_DOSSIERS
from appliance.observe.outbound import Outbound
from appliance.observe.output import KEPT_LINES, MOST_LINES, Output
from appliance.observe.system import SystemMetrics
from appliance.queue import keys
from appliance.queue.following import FollowingConnection
from appliance.queue.opening import open_connection
from appliance.snapshot import WorkerSnapshot
from appliance.tools import Tools
from appliance.values import value_class

log = structlog.get_logger()

#: Seconds to leave the set of workers; a Redis that hangs must not hold up the end.
GOODBYE_S = 2.0


@value_class
class Outlets:
    """Where lines and crash dossiers of task processes go: to the Redis of their parent queue."""

    output: Output
    crashes: Outbound


class Presence:
    """See the module. ``snapshot`` is what a heartbeat tells of."""

    def __init__(self, tools: Tools, snapshot: Callable[[], WorkerSnapshot]) -> None:
        self._tools = tools
        self._snapshot = snapshot
        self._outlets: dict[RedisEndpoint, Outlets] = {}
        self._heartbeats: list[Heartbeat] = []
        self._loops = gevent.pool.Group()
        self._stop = Event()

    def outlets(self, endpoint: RedisEndpoint) -> Outlets:
        """Those of the Redis at ``endpoint``."""
        if endpoint not in self._outlets:
            logs, crashes = (
                keys.worker_logs(self._tools.worker_id),
                keys.worker_crashes(self._tools.worker_id),
            )
            lines = Outbound(logs, kept=KEPT_LINES, longest=MOST_LINES, ttl_s=HASH_TTL_S)
            output = Output(self._tools.clock, self._tools.redactor.text, lines)
            dossiers = Outbound(crashes, kept=KEPT_DOSSIERS, longest=KEPT_DOSSIERS, ttl_s=DOSSIER_TTL_S)
            self._outlets[endpoint] = Outlets(output, dossiers)
        return self._outlets[endpoint]

    def reach(self, endpoints: Iterable[RedisEndpoint]) -> None:
        """Wait until each has answered; raises :class:`~appliance.errors.StartupError` where one does not."""
        settings = self._tools.settings.bootstrap
        attempts = 1 + settings.retries
        for endpoint in dict.fromkeys(endpoints):
            self.outlets(endpoint)
            connection = open_connection(endpoint, self._tools.client_name("start"))
            for attempt in range(1, attempts + 1):
                try:
                    connection.call("PING")
                    break
                except QueueError as exc:
                    log.warning("redis.unavailable", attempt=attempt, of=attempts, error=str(exc))
                    if attempt == attempts:
                        raise StartupError(f"gave up after {attempts} attempts: {exc}") from exc
                self._tools.clock.sleep(settings.retry_delay_s)
            connection.close()

    def begin(self) -> None:
        """Beat from now on in every Redis that was reached."""
        system = SystemMetrics(self._tools.clock)
        for endpoint, outlets in self._outlets.items():
            place, name = self._tools.places.of(endpoint), self._tools.client_name("heartbeat")
            connection = FollowingConnection(place, name)
            lists = outlets.output.outbound, outlets.crashes
            heartbeat = Heartbeat(connection, self._snapshot, *lists, system, self._tools.clock)
            self._heartbeats.append(heartbeat)
            self._loops.spawn(ticker.run, self._tools.pulses.new("heartbeat"), heartbeat.tick, self._stop)

    def leave(self) -> None:
        """Beat no more, and take this worker out of every Redis that answers in time."""
        self._stop.set()
        self._loops.join(timeout=1.0)
        self._loops.kill()
        goodbyes = [gevent.spawn(_say_goodbye, heartbeat) for heartbeat in self._heartbeats]
        gevent.joinall(goodbyes, timeout=GOODBYE_S)
        gevent.killall(goodbyes)


def _say_goodbye(heartbeat: Heartbeat) -> None:
    try:
        heartbeat.leave()
    except QueueError as exc:
        log.warning("heartbeat.not_removed", error=str(exc))
