"""Connections that follow their Redis: where it has moved, the next use makes another one."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from appliance.control.contract import RedisEndpoint
from appliance.queue.connection import REPLY_TIMEOUT_S, Address, Channel, Command, Connection, Traffic
from appliance.queue.opening import open_connection
from appliance.queue.place import RedisPlace


class _Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)


class Following(Generic[C]):
    """One connection to ``place``, whatever ``make`` makes of an endpoint."""

    def __init__(self, place: RedisPlace, make: Callable[[RedisEndpoint], C]) -> None:
        self._place = place
        self._make = make
        self._endpoint = place.endpoint
        self._connection = make(place.endpoint)

    def get(self) -> C:
        """The connection to where the Redis is now."""
        if self._place.endpoint is not self._endpoint:
            # Closed first: who waits for an answer on it would wait until the connection times out.
            self._connection.close()
            self._endpoint = self._place.endpoint
            self._connection = self._make(self._endpoint)
        return self._connection


class FollowingConnection:
    """A :class:`~appliance.queue.connection.Connection` for commands on any keys."""

    def __init__(self, place: RedisPlace, name: str, reply_timeout_s: float = REPLY_TIMEOUT_S) -> None:
        self.traffic = Traffic()
        self._reply_timeout_s = reply_timeout_s
        self._following: Following[Connection] = Following(place, lambda endpoint: self._open(endpoint, name))

    def _open(self, endpoint: RedisEndpoint, name: str) -> Connection:
        connection = open_connection(endpoint, name, reply_timeout_s=self._reply_timeout_s)
        # What was counted before the move counts on.
        connection.traffic = self.traffic
        return connection

    def batch(self, commands: Sequence[Command]) -> list[Any]:
        """See :class:`~appliance.queue.connection.Connection`."""
        return self._following.get().batch(commands)

    def call(self, *command: str | bytes | int | float) -> Any:
        """See :class:`~appliance.queue.connection.Connection`."""
        return self._following.get().call(*command)

    def at(self, address: Address) -> Channel:
        """See :class:`~appliance.queue.connection.Connection`."""
        return self._following.get().at(address)

    def masters(self) -> Sequence[Channel]:
        """See :class:`~appliance.queue.connection.Connection`."""
        return self._following.get().masters()

    def close(self) -> None:
        """See :class:`~appliance.queue.connection.Connection`."""
        self._following.get().close()
