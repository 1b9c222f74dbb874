"""All connections of one parent queue to its Redis: opened by purpose, counted and closed together."""

from collections.abc import Callable

from appliance.queue.connection import REPLY_TIMEOUT_S, Connection, Traffic
from appliance.queue.following import FollowingConnection
from appliance.queue.place import RedisPlace

#: Consecutive failures of a connection after which Redis counts as unavailable.
LOST_AFTER = 2


class Connections:
    """Connections to ``place``; ``client_name`` makes a connection's name of its purpose."""

    def __init__(self, place: RedisPlace, client_name: Callable[[str], str]) -> None:
        self.place = place
        self.client_name = client_name
        #: Of the connections that only listen; they are opened elsewhere, see the waiters.
        self.listening = Traffic()
        self._opened: dict[str, Connection] = {}

    def open(self, purpose: str, reply_timeout_s: float = REPLY_TIMEOUT_S) -> Connection:
        """One more; it connects when first needed."""
        self._opened[purpose] = FollowingConnection(self.place, self.client_name(purpose), reply_timeout_s)
        return self._opened[purpose]

    def lost(self, purpose: str) -> bool:
        """Whether Redis has not answered that one for a while; one that is seldom used learns it late."""
        return self._opened[purpose].traffic.losses_in_a_row >= LOST_AFTER

    @property
    def refused(self) -> bool:
        """Whether Redis does not accept our password, on the last try of any of them."""
        return any(traffic.refused for traffic in self._traffic())

    @property
    def problem(self) -> str:
        """What Redis, or the way to it, said last where it failed; empty where nothing is wrong."""
        return next((traffic.problem for traffic in self._traffic() if traffic.problem), "")

    @property
    def connects(self) -> int:
        """How many connections were made."""
        return sum(traffic.connects for traffic in self._traffic())

    @property
    def errors(self) -> int:
        """How often one failed, and how many error replies there were."""
        return sum(traffic.errors for traffic in self._traffic())

    def close(self) -> None:
        """Drop them all."""
        for connection in self._opened.values():
            connection.close()

    def _traffic(self) -> list[Traffic]:
        return [self.listening, *(connection.traffic for connection in self._opened.values())]
