"""One Redis connection that speaks in batches, with Redis's trouble translated into ours.

redis-py does what it is good at (connecting, authentication, parsing replies); its client and
pipeline objects stay out, because their cost per command is what a fast worker cannot afford, and so
does its TLS (:mod:`appliance.queue.tls` says why).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import gevent
import redis
from gevent.lock import RLock
from hiredis import pack_command
from redis import exceptions
from redis.connection import DefaultParser

from appliance.control.contract import RedisEndpoint
from appliance.errors import QueueNodeUnavailable, QueueRejected, QueueUnavailable
from appliance.queue.tls import TlsConnection, refusal

Command = tuple[str | bytes | int | float, ...]
#: Host and port.
Address = tuple[str, int]

#: Seconds until a Redis that does not answer counts as away.
REPLY_TIMEOUT_S = 10.0
#: Seconds to wait for a connection.
CONNECT_TIMEOUT_S = 5.0

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
    "UNBLOCKED",
)
#: What Redis before 7 makes of an error that a script ran into: which script, which line, and its own words.
_IN_A_SCRIPT = re.compile(
    r"(?:Error running script \(call to (?:f_)?(\w+)\): )?(?:@user_script: ?(\d+): )+-?(.+)", re.DOTALL
)
#: Commands that are shorter than this together go out as one piece; more is not copied once again.
_ONE_PIECE_BYTES = 1024 * 1024
#: Of up to 64 kB each.
_READS_A_TURN = 32
#: A UnicodeError is a host that no name service would be asked for, such as ``redis..svc``.
_LOST = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.InvalidResponse,
    OSError,
    UnicodeError,
)


class NodeUnavailable(exceptions.RedisError):
    """Stands where the reply of a node of a Redis Cluster would: it cannot serve now, and why."""


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
    if isinstance(reply, NodeUnavailable):
        raise QueueNodeUnavailable(str(reply)) from reply
    if isinstance(reply, exceptions.AskError):
        hint = "it is a Redis Cluster (RUNQY_REDIS_CLUSTER=true is for that)"
        raise QueueRejected(f"Redis sends us to another server: {hint}") from reply
    if unavailable(reply):
        raise QueueUnavailable(f"Redis cannot serve now: {reply}") from reply
    raise QueueRejected(f"Redis refused a command: {reply}") from reply


def _unwrapped(reply: exceptions.ResponseError) -> exceptions.ResponseError:
    """The same error as Redis from 7 on says it: by its code a replica is told from a mistake in a script."""
    found = _IN_A_SCRIPT.match(str(reply))
    if found is None:
        return reply
    script, line, words = found.groups()
    where = f"script: {script}, on @user_script:{line}." if script else f"on @user_script:{line}."
    try:
        said = DefaultParser.parse_error(f"{words.strip()} {where}")  # type: ignore[no-untyped-call]
    except ValueError:  # one with parts, as MOVED, which no script runs into
        return reply
    return said if isinstance(said, exceptions.ResponseError) else reply


def _packed(commands: Sequence[Command]) -> list[bytes]:
    """Commands as they are sent. Without redis-py, which looks at every word and cuts at 6,000 bytes."""
    # Its types say a tuple of one word.
    pieces = [pack_command(command) for command in commands]  # type: ignore[arg-type]
    return [b"".join(pieces)] if sum(map(len, pieces)) < _ONE_PIECE_BYTES else pieces


class _TurnTaking(DefaultParser):  # type: ignore[misc, valid-type]  # a choice
    """redis-py's parser on hiredis, which lets others have their turns while much comes in.

    A Redis that is near has always more to read, and then nothing that reads it would ever wait.
    """

    _reads = 0

    def read_from_socket(self, *arguments: Any, **options: Any) -> bool:
        """Read once, as there."""
        self._reads += 1
        if self._reads % _READS_A_TURN == 0:
            gevent.sleep(0)
            if self._sock is None:
                raise exceptions.ConnectionError("closed meanwhile")
        return bool(super().read_from_socket(*arguments, **options))


@dataclass(slots=True)
class Traffic:
    """How connections fare.

    ``connects`` counts connections made, ``errors`` failures of one and error replies, ``losses_in_a_row``
    the failures since something was answered. ``problem`` is the last failure's text, empty once something
    was answered; ``refused`` says that it was our password that was not accepted.
    """

    connects: int = 0
    errors: int = 0
    losses_in_a_row: int = 0
    problem: str = ""
    refused: bool = False

    def answered(self) -> None:
        """Redis has answered."""
        if self.losses_in_a_row:
            self.losses_in_a_row, self.problem, self.refused = 0, "", False


class Connection(Protocol):
    """Carries batches of commands to the servers with their keys: one server, or a cluster's nodes."""

    traffic: Traffic

    def batch(self, commands: Sequence[Command]) -> list[Any]:
        """See :meth:`Channel.batch`."""

    def call(self, *command: str | bytes | int | float) -> Any:
        """See :meth:`Channel.call`."""

    def at(self, address: Address) -> "Channel":
        """The channel to the server at ``address``; raises :class:`QueueUnavailable`."""

    def masters(self) -> "Sequence[Channel]":
        """A channel to each server that holds keys; raises :class:`QueueUnavailable`."""

    def close(self) -> None:
        """Drop the connections; the next batch opens others."""


class Channel:
    """A connection for batches of commands; connects when first needed and again after a loss.

    One batch is on the wire at a time; others wait their turn. ``locate`` is asked at each connect where to
    connect to, None for where ``endpoint`` says. ``traffic`` may be shared with others, so as to count for
    all of them.
    """

    def __init__(
        self,
        endpoint: RedisEndpoint,
        name: str,
        *,
        reply_timeout_s: float = REPLY_TIMEOUT_S,
        traffic: Traffic | None = None,
        locate: Callable[[], Address] | None = None,
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
            parser_class=_TurnTaking,
        )
        self._name = name
        self._endpoint = endpoint
        self._locate = locate
        #: Who holds it has the connection to himself, from a :meth:`send` to the last :meth:`receive`.
        self.lock = RLock()
        self._astray = False
        self._greeting = False
        self._closings = 0

    def batch(self, commands: Sequence[Command]) -> list[Any]:
        """Send ``commands`` in one write and return their replies in order.

        An error reply is returned in its place as an exception object, for :func:`check`. Raises
        :class:`QueueUnavailable` when the connection failed: any of the commands may or may not
        have been carried out.
        """
        closings = self._closings
        with self.lock:
            if self._closings != closings:
                # Redis is elsewhere by now, perhaps: what waited for its turn does not go to the old one.
                raise QueueUnavailable(f"Redis at {self._address}: closed meanwhile")
            self.send(commands)
            return self.receive(len(commands))

    def send(self, commands: Sequence[Command]) -> None:
        """The first half of :meth:`batch`, for who holds the lock and has others to send to meanwhile."""
        with self._translated():
            if not self._connection.is_connected:
                self._connect()
            self._connection.send_packed_command(_packed(commands), check_health=False)

    def receive(self, count: int) -> list[Any]:
        """The second half of :meth:`batch`: the replies to the ``count`` commands that were sent."""
        with self._translated():
            replies = [self._read() for _ in range(count)]
            self.traffic.answered()
            if self._astray:
                # Its name may be the new master's by now; this connection stays with the old one.
                self._astray = False
                self._connection.disconnect()
            return replies

    def _connect(self) -> None:
        closings = self._closings
        if self._locate is not None:
            self._connection.host, self._connection.port = self._locate()
        self._greeting = True
        self._connection.connect()
        # Not by redis-py, for which a user who may not do this is one who may not connect.
        self._connection.send_command("CLIENT", "SETNAME", self._name, check_health=False)
        self._read()
        self._greeting = False
        self.traffic.connects += 1
        if self._closings != closings:
            # Before there was a socket that could be closed: what follows would go out all the same.
            raise exceptions.ConnectionError("closed meanwhile")

    def call(self, *command: str | bytes | int | float) -> Any:
        """Send one command and return its checked reply; raises like :meth:`batch` and :func:`check`."""
        return check(self.batch([command])[0])

    def listen(self) -> Any:
        """Wait for what Redis sends unasked (a subscription); None when the reply timeout passes first."""
        with self.lock, self._translated():
            try:
                heard = self._connection.read_response(disconnect_on_error=False)
            except exceptions.TimeoutError:
                heard = None
            self.traffic.answered()
            return heard

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as we know."""
        return bool(self._connection.is_connected)

    def close(self) -> None:
        """Drop the connection; the next batch opens another. Batches that others have under way are lost."""
        self._closings += 1
        self._connection.disconnect()

    @property
    def address(self) -> Address:
        """Where it is connected to, or was last or will be next."""
        return self._connection.host, self._connection.port

    def at(self, address: Address) -> "Channel":  # noqa: ARG002  there is one server only
        """The channel to the server at ``address``."""
        return self

    def masters(self) -> "Sequence[Channel]":
        """A channel to each server that holds keys."""
        return (self,)

    @property
    def _address(self) -> str:
        return f"{self._connection.host}:{self._connection.port}"

    def _read(self) -> Any:
        try:
            return self._connection.read_response()
        except exceptions.ResponseError as wrapped:
            reply = _unwrapped(wrapped)
            self.traffic.errors += not isinstance(reply, exceptions.NoScriptError)
            if self._locate is not None and isinstance(reply, exceptions.AskError):
                self._astray = True
                return NodeUnavailable(
                    f"{self._address} has not, or not all of, slot {reply.slot_id} any more"
                )
            self._astray |= isinstance(reply, exceptions.ReadOnlyError)
            return reply

    def _about(self, exc: Exception) -> str:
        settings = self._endpoint.settings
        refused = refusal(exc, settings, greeting=self._greeting) if self._endpoint.use_tls else ""
        return refused or str(exc)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        closings = self._closings
        try:
            yield
        except exceptions.AuthenticationError as exc:
            user = self._endpoint.settings.username or "default"
            problem = (
                f"Redis at {self._address} does not let user {user} (RUNQY_REDIS_USERNAME) in "
                f"with the password from the server: {exc}"
            )
            raise self._failed(problem, refused=True) from exc
        except _LOST as exc:
            raise self._failed(f"Redis at {self._address}: {self._about(exc)}") from exc
        except exceptions.ResponseError as exc:
            # Raised while connecting: SELECT or AUTH refused.
            raise self._failed(f"Redis at {self._address} refused the connection: {exc}") from exc
        except QueueUnavailable as exc:
            self._failed(str(exc))  # no Sentinel knows where Redis is
            raise
        except Exception as exc:
            self._connection.disconnect()
            # What a closed connection makes of being read is a ValueError where there is TLS.
            if self._closings == closings:
                raise
            raise self._failed(f"Redis at {self._address}: closed meanwhile: {exc}") from exc
        except BaseException:
            # Killed between request and reply: what comes next on this connection is not ours.
            self._connection.disconnect()
            raise

    def _failed(self, problem: str, *, refused: bool = False) -> QueueUnavailable:
        self._connection.disconnect()
        self.traffic.errors += 1
        self.traffic.losses_in_a_row += 1
        self.traffic.problem, self.traffic.refused = problem, refused
        return QueueUnavailable(problem)
