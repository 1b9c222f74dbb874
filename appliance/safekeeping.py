"""Keeps outcomes that Redis does not take in the state folder, and delivers what dead workers left there.

Without a state folder (``RUNQY_STATE_DIR``) they wait in memory only, and nothing here has anything to do.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import gevent.pool

from appliance.assembly import outbox_brokers
from appliance.contracts import Contract
from appliance.event import Event
from appliance.lane import Lane
from appliance.loops import ticker
from appliance.loops.keeper import Keeper
from appliance.loops.redelivery import Redelivery
from appliance.queue.broker import Broker
from appliance.queue.outbox import Outbox
from appliance.queue.place import RedisPlace
from appliance.queue.seal import Seal
from appliance.queue.settlement import Policy, Settlement
from appliance.tools import Tools

#: Seconds to get outcomes that Redis did not take onto the disk; it may be as sick.
LAST_KEEP_S = 2.0


class Safekeeping:
    """Keeps the outcomes of ``lanes`` in ``folder``."""

    def __init__(self, folder: Path, lanes: Callable[[], Iterable[Lane]], tools: Tools) -> None:
        def outcomes() -> list[tuple[str, Settlement]]:
            return [(lane.redis, outcome) for lane in lanes() for outcome in lane.outcomes()]

        self._folder = folder
        self._tools = tools
        server = tools.settings.server
        self._seal = Seal(server.api_key, server.previous_api_key)
        self._keeper = Keeper(Outbox(folder, tools.worker_id, self._seal), outcomes, tools.clock)
        self._of_place: dict[RedisPlace, dict[str, tuple[Broker, Broker]]] = {}
        self._brokers: dict[tuple[str, str], tuple[Broker, Broker]] = {}
        self._loops = gevent.pool.Group()
        self._stop = Event()

    @property
    def size_bytes(self) -> int:
        """How much is on disk."""
        return self._keeper.size_bytes

    def begin(self, contracts: Iterable[Contract]) -> None:
        """Deliver what dead workers left for these queues, while it is in time; then watch our own."""
        for contract in contracts:
            place, brokers = self._tools.places.of(contract.redis), outbox_brokers(contract, self._tools)
            for sub_queue in contract.sub_queues:
                self._of_place.setdefault(place, {})[sub_queue.name] = brokers
            self.moved(place)
        settings = self._tools.settings
        policy = Policy(settings.retry, settings.tasks)
        keeping, delivering = self._tools.pulses.new("keeper"), self._tools.pulses.new("redelivery")
        redelivery = Redelivery(
            self._folder, self._brokers, self._tools.clock, self._seal, policy, pulse=delivering
        )
        redelivery.first()
        for pulse, tick in ((keeping, self._keeper.tick), (delivering, redelivery.tick)):
            self._loops.spawn(ticker.run, pulse, tick, self._stop)

    def moved(self, place: RedisPlace) -> None:
        """What is kept for the Redis of this place may name where it is now, from now on."""
        for queue, brokers in self._of_place[place].items():
            self._brokers[place.endpoint.identity, queue] = brokers

    def finish(self) -> None:
        """Keep whatever waits now, and look no more. Idempotent."""
        self._keeper.last(LAST_KEEP_S)
        self._stop.set()
        self._loops.join(timeout=1.0)
        self._loops.kill()
