"""A Redis that has moved: where it does not answer, the server is asked again, and its new answer counts.

Nothing that runs is touched: tasks go on, their outcomes wait as in any outage, and are delivered to where
the server says Redis is now. A Redis that answers is never left for another.
"""

from collections.abc import Callable, Iterable

import gevent
import structlog

from appliance.contracts import Contract
from appliance.errors import RegistrationError
from appliance.lane import Lane
from appliance.queue.absence import Absence
from appliance.queue.place import RedisPlace
from appliance.tools import Tools

log = structlog.get_logger()

#: Seconds between looks at whether Redis answers.
LOOK_EVERY_S = 0.5


class Relocation:
    """See the module. ``ask`` gets the present contract of a parent queue; it raises RegistrationError.

    ``moved`` is called with a place that has changed.
    """

    def __init__(
        self,
        lanes: Callable[[], Iterable[Lane]],
        ask: Callable[[str], Contract],
        moved: Callable[[RedisPlace], None],
        tools: Tools,
    ) -> None:
        self._lanes = lanes
        self._ask = ask
        self._moved = moved
        self._tools = tools
        self._absences: dict[RedisPlace, Absence] = {}

    def run(self) -> None:
        """Look again and again, until killed."""
        while True:
            self.tick()
            gevent.sleep(LOOK_EVERY_S)

    def hurry(self) -> None:
        """Ask about each Redis that is unavailable now, not when it is time."""
        for absence in self._absences.values():
            absence.hurry()

    def tick(self) -> None:
        """Look once, and ask where it is time to."""
        by_place: dict[RedisPlace, list[Lane]] = {}
        for lane in self._lanes():
            by_place.setdefault(lane.place, []).append(lane)
        for place, lanes in by_place.items():
            absence = self._absences.get(place)
            if absence is None:
                after_s = self._tools.settings.redis.ask_server_after_s
                absence = self._absences[place] = Absence(after_s, self._tools.rng.uniform)
            available = all(lane.redis_available for lane in lanes)
            refused = any(lane.redis_refused for lane in lanes)
            if absence.look(self._tools.clock.monotonic(), available=available, refused=refused):
                self._ask_about(place, lanes)
                # Measured afterwards: a server that does not answer either takes its time.
                absence.asked(self._tools.clock.monotonic())

    def _ask_about(self, place: RedisPlace, lanes: list[Lane]) -> None:
        parents = [lane.parent for lane in lanes]
        log.info("redis.asking_server", redis=place.endpoint.address, parents=parents)
        try:
            answers = [self._ask(parent).redis for parent in parents]
        except RegistrationError as exc:
            log.warning("redis.server_unavailable", redis=place.endpoint.address, error=str(exc))
            return
        now = answers[0]
        if any(answer != now for answer in answers):
            log.error(
                "redis.parents_part",
                redis=place.endpoint.address,
                now={parent: answer.address for parent, answer in zip(parents, answers, strict=True)},
                consequence="parent queues that shared a Redis no longer do: restart the worker",
            )
        elif now == place.endpoint:
            log.info("redis.not_moved", redis=now.address)
        else:
            same = now.address == place.endpoint.address
            log.warning(
                "redis.moved",
                was=place.endpoint.address,
                now=now.address,
                changed="how it is reached (password, database or TLS)" if same else "its address",
            )
            self._tools.places.move(place, now)
            self._moved(place)
