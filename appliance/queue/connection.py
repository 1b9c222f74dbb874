"""One Redis connection that speaks in batches, with Redis's trouble translated into ours.

redis-py does what it is good at (connecting, authentication, parsing replies); its client and
pipeline objects stay out, because their cost per command is what a fast worker cannot afford, and so
does its TLS (:mod:`appliance.queue.tls` says why).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import redis
from gevent.lock import RLock
from redis import exceptions

from appliance.control.contract import RedisEndpoint
from appliance.errors import QueueError, QueueRejected, QueueUnavailable
from appliance.queue.tls import TlsConnection, refusal

Command = tuple[str | bytes | int | float, ...]

#: Seconds until a Redis that does not answer counts as away.
REPLY_TIMEOUT_S = 10.0
#: Seconds to wait for a connection.
CONNECT_TIMEOUT_S = 5.0

#: What our connections to a Sentinel are called there.
_SENTINEL_NAME = "runqy-appliance:sentinel"

#: What Redis says when it cannot serve now but may soon: failing over, loading, full, read-only disk.
_PASSING_CODES = (
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
    "BUSY",
)
_LOST = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.InvalidResponse, OSError)


def unavailable(reply: object) -> bool:
    """Whether an error reply is one that passes."""
    if isinstance(
        reply, exceptions.BusyLoadingError | exceptions.ReadOnlyError | exceptions.ClusterDownError
    ):
        return True
    return isinstance(reply, exceptions.OutOfMemoryError | exceptions.TryAgainError) or (
        isinstance(reply, exceptions.ResponseError) and str(reply).startswith(_PASSING_CODES)
    )


def check(reply: Any) -> Any:
    """Return the reply, or raise :class:`QueueUnavailable` / :class:`QueueRejected` for an error reply."""
    if not isinstance(reply, exceptions.RedisError):
        return reply
    if unavailable(reply):
        raise QueueUnavailable(f"Redis cannot serve now: {reply}") from reply
    raise QueueRejected(f"Redis refused a command: {reply}") from reply


@dataclass(slots=True)
class Traffic:
    """How connections fare.

    ``connects`` counts connections made, ``errors`` failures of one and error replies, ``losses_in_a_row``
    the failures since something was answered.
    """

    connects: int = 0
    errors: int = 0
    losses_in_a_row: int = 0


class Channel:
    """A connection for batches of commands; connects when first needed and again after a loss.

    One batch is on the wire at a time; others wait their turn. ``traffic`` may be shared with others, so as
    to count for all of them.
    """

    def __init__(
        self,
        endpoint: RedisEndpoint,
        name: str,
        *,
        reply_timeout_s: float = REPLY_TIMEOUT_S,
        traffic: Traffic | None = None,
    ) -> None:
        self.traffic = traffic or Traffic()
        kind = partial(TlsConnection, endpoint.settings) if endpoint.use_tls else redis.Connection
        self._connection: Any = kind(
            host=endpoint.host,
            port=endpoint.port,
            db=endpoint.db,
            username=endpoint.settings.username,
            password=endpoint.password or None,
            socket_timeout=reply_timeout_s,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_keepalive=True,
            driver_info=None,
            protocol=2,
        )
        self._name = name
        self._endpoint = endpoint
        self._sentinels = _Sentinels(endpoint) if endpoint.settings.sentinels else None
        self._lock = RLock()
        self._demoted = False
        self._greeting = False

    def batch(self, commands: Sequence[Command]) -> list[Any]:
        """Send ``commands`` in one write and return their replies in order.

        An error reply is returned in its place as an exception object, for :func:`check`. Raises
        :class:`QueueUnavailable` when the connection failed: any of the commands may or may not
        have been carried out.
        """
        with self._lock, self._translated():
            if not self._connection.is_connected:
                self._connect()
            self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
            replies = [self._read() for _ in commands]
            if self._demoted:
                # Its name may be the new master's by now; this connection stays with the old one.
                self._demoted = False
                self._connection.disconnect()
            return replies

    def _connect(self) -> None:
        if self._sentinels:
            self._connection.host, self._connection.port = self._sentinels.find_master()
        self._greeting = True
        self._connection.connect()
        # Not by redis-py, for which a user who may not do this is one who may not connect.
        self._connection.send_command("CLIENT", "SETNAME", self._name, check_health=False)
        self._read()
        self._greeting = False
        self.traffic.connects += 1

    def call(self, *command: str | bytes | int | float) -> Any:
        """Send one command and return its checked reply; raises like :meth:`batch` and :func:`check`."""
        return check(self.batch([command])[0])

    def listen(self) -> Any:
        """Wait for what Redis sends unasked (a subscription); None when the reply timeout passes first."""
        with self._lock, self._translated():
            try:
                return self._connection.read_response(disconnect_on_error=False)
            except exceptions.TimeoutError:
                return None

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as we know."""
        return bool(self._connection.is_connected)

    def close(self) -> None:
        """Drop the connection; the next batch opens another."""
        self._connection.disconnect()

    @property
    def _address(self) -> str:
        return f"{self._connection.host}:{self._connection.port}"

    def _read(self) -> Any:
        try:
            return self._connection.read_response()
        except exceptions.ResponseError as reply:
            # Redis 6.2 wraps what a script ran into in words of its own.
            self._demoted |= isinstance(reply, exceptions.ReadOnlyError) or "READONLY" in str(reply)
            self.traffic.errors += not isinstance(reply, exceptions.NoScriptError)
            return reply

    def _about(self, exc: Exception) -> str:
        settings = self._endpoint.settings
        refused = refusal(exc, settings, greeting=self._greeting) if self._endpoint.use_tls else ""
        return refused or str(exc)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except exceptions.AuthenticationError as exc:
            self._failed()
            user = self._endpoint.settings.username or "default"
            raise QueueUnavailable(
                f"Redis at {self._address} does not let user {user} (RUNQY_REDIS_USERNAME) in "
                f"with the password from the server: {exc}"
            ) from exc
        except _LOST as exc:
            self._failed()
            raise QueueUnavailable(f"Redis at {self._address}: {self._about(exc)}") from exc
        except exceptions.ResponseError as exc:
            # Raised while connecting: SELECT or AUTH refused.
            self._failed()
            raise QueueUnavailable(f"Redis at {self._address} refused the connection: {exc}") from exc
        except QueueUnavailable:
            self._failed()  # the Sentinels know of no Redis
            raise
        except BaseException:
            # Killed between request and reply: what comes next on this connection is not ours.
            self._connection.disconnect()
            raise
        self.traffic.losses_in_a_row = 0

    def _failed(self) -> None:
        self._connection.disconnect()
        self.traffic.errors += 1
        self.traffic.losses_in_a_row += 1


class _Sentinels:
    """Where Redis is, from the Sentinels that watch it; password, database and TLS are as the server says."""

    def __init__(self, endpoint: RedisEndpoint) -> None:
        self._master = endpoint.settings.sentinel_master or ""
        self._password = endpoint.password
        plain = replace(endpoint.settings, sentinels=None, username=None)
        places = [address.rpartition(":") for address in endpoint.settings.sentinels or ()]
        self._places = deque(
            replace(endpoint, host=host.strip("[]"), port=int(port), db=0, password="", settings=plain)
            for host, _, port in places
        )

    def find_master(self) -> tuple[str, int]:
        """Ask one after the other; raises :class:`QueueUnavailable` with what each said when none knows.

        Each time another is the first to be asked: one that is cut off from the rest may name a Redis
        that no longer is the master.
        """
        self._places.rotate(-1)
        heard = []
        for place in list(self._places):
            try:
                found = self._ask(place)
            except QueueError as exc:
                heard.append(str(exc))
                continue
            if found:
                return found[0].decode(), int(found[1])
            heard.append(f"{place.host}:{place.port} knows no master {self._master}")
        raise QueueUnavailable(f"no Sentinel says where Redis is: {'; '.join(heard)}")

    def _ask(self, place: RedisEndpoint) -> Any:
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master)
        with closing(Channel(place, _SENTINEL_NAME, reply_timeout_s=CONNECT_TIMEOUT_S)) as channel:
            try:
                return channel.call(*question)
            except QueueUnavailable as exc:
                wants_password = isinstance(exc.__cause__, exceptions.AuthenticationError)
                if not wants_password or place.password or not self._password:
                    raise
        return self._ask(replace(place, password=self._password))
