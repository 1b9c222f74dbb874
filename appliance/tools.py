"""What the parts of a worker share: settings, time, chance, secrets, and where loops and events are noted."""

import random
from collections.abc import Callable
from dataclasses import field

from appliance.clock import Clock
from appliance.config.settings import Settings
from appliance.isolation.confinement import Confinement
from appliance.isolation.report import Report
from appliance.observe.pulse import Pulses
from appliance.observe.redaction import Redactor
from appliance.observe.tally import TaskTrace
from appliance.observe.timeline import Timeline
from appliance.queue.place import RedisPlaces
from appliance.snapshot import Identity
from appliance.values import value_class


@value_class
class Tools:
    """One set per worker; all of it may be used by any greenlet."""

    settings: Settings
    clock: Clock
    rng: random.Random
    redactor: Redactor
    pulses: Pulses
    timeline: Timeline
    identity: Identity
    confinement: Confinement
    isolation: Report
    #: How many lines of the log were lost so far.
    log_lost: Callable[[], int] = lambda: 0
    places: RedisPlaces = field(default_factory=RedisPlaces)
    traces: TaskTrace | None = None

    @property
    def worker_id(self) -> str:
        """The worker's id, part of every fence."""
        return self.identity.worker_id

    def client_name(self, purpose: str) -> str:
        """What a connection of this worker is called in Redis's list of clients."""
        return f"runqy-appliance:{self.worker_id}:{purpose}"
