"""A TCP proxy that does to connections what networks do: between a worker and its Redis, or its server.

One thread serves all connections and never blocks: faults (:mod:`harness.faults.link`) say what happens
to each chunk and when. They can be set, changed and cleared while connections are open.
"""

import contextlib
import math
import random
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from harness import ports
from harness.faults.connection import CHUNK, Connection, Lane
from harness.faults.link import Fault

#: Seconds to reach the server behind, which is on this machine.
_CONNECT_TIMEOUT_S = 2.0
#: Seconds :meth:`FaultProxy.set` waits until what was asked for is in force.
_COMMAND_TIMEOUT_S = 10.0
_RST = struct.pack("ii", 1, 0)


class FaultProxy:
    """Listens on ``host``, on a port of its own, and passes on to ``target`` (host, port).

    A context manager. ``seed`` decides what faults leave to chance: the n-th connection's chances are the
    same in every run. Raises OSError from :meth:`start` where it cannot listen.
    """

    def __init__(self, target: tuple[str, int], *, host: str = ports.HOST, seed: int = 0) -> None:
        self._target = target
        self._host = host
        self._seed = seed
        self._port = 0
        self._faults: tuple[Fault, ...] = ()
        self._connections: set[Connection] = set()
        self._accepted = 0
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._commands: list[Callable[[], None]] = []
        self._running = False

    @property
    def port(self) -> int:
        """Where it listens; known from the start on."""
        return self._port

    @property
    def accepted(self) -> int:
        """Connections so far."""
        return self._accepted

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._connections)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is in force."""
        return self._faults

    def url(self, url: str) -> str:
        """``url`` of the target, by way of the proxy."""
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}{self._host}:{self._port}"))

    def start(self) -> Self:
        """Listen."""
        self._selector = selectors.DefaultSelector()
        self._alarm, self._bell = socket.socketpair()
        for end in (self._alarm, self._bell):
            end.setblocking(False)
        self._selector.register(self._alarm, selectors.EVENT_READ, self._hear)
        self._listen()
        self._running = True
        self._thread = threading.Thread(target=self._run, name=f"fault-proxy-{self._port}", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close everything, at once. Idempotent."""
        if self._thread is None:
            return
        self._running = False
        self._ring()
        self._thread.join(_COMMAND_TIMEOUT_S)
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def set(self, *faults: Fault) -> None:
        """Have these faults, and no others, from now on; they are in force when this returns.

        Several act one after the other, in this order. What a fault before held back arrives now.
        """
        self._do(lambda: self._put_in_force(faults))

    def clear(self) -> None:
        """Behave again. Connections that went deaf stay so."""
        self.set()

    @contextlib.contextmanager
    def holding(self, *faults: Fault) -> Iterator[None]:
        """:meth:`set` inside, :meth:`clear` after."""
        self.set(*faults)
        try:
            yield
        finally:
            self.clear()

    # The rest runs in the proxy's own thread -------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._running:
                now_s = time.monotonic()
                wake_s = min((self._turn(each, now_s) for each in tuple(self._connections)), default=math.inf)
                timeout_s = None if wake_s == math.inf else max(0.0, wake_s - time.monotonic())
                for key, events in self._selector.select(timeout_s):
                    key.data(events)
        finally:
            for each in tuple(self._connections):
                self._forget(each)
            self._unlisten()
            self._selector.close()
            self._alarm.close()
            self._bell.close()

    def _do(self, command: Callable[[], None]) -> None:
        if self._thread is None:
            raise RuntimeError("the proxy does not run")
        done = threading.Event()

        def act() -> None:
            command()
            done.set()

        self._commands.append(act)
        self._ring()
        if not done.wait(_COMMAND_TIMEOUT_S):
            raise RuntimeError("the proxy does not react")

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it rings already
            self._bell.send(b"!")

    def _hear(self, _: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self._alarm.recv(CHUNK)
        while self._commands:
            self._commands.pop(0)()

    def _put_in_force(self, faults: tuple[Fault, ...]) -> None:
        self._faults = faults
        if any(fault.refuses for fault in faults):
            self._unlisten()
        elif self._listener is None:
            self._listen()
        for each in tuple(self._connections):
            each.change(faults, time.monotonic())
            if any(fault.resets for fault in faults):
                self._reset(each)
            elif each.abandoned and not faults:
                self._forget(each)

    def _listen(self) -> None:
        self._listener = ports.listen(self._host, self._port or None)
        self._port = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _unlisten(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self, _: int) -> None:
        if self._listener is None:
            return  # refused by the command before
        try:
            client, _address = self._listener.accept()
        except OSError:
            return  # who knocked has gone
        try:
            server = socket.create_connection(self._target, _CONNECT_TIMEOUT_S)
        except OSError:
            _abort(client)
            return
        self._accepted += 1
        connection = Connection(client, server, random.Random(f"{self._seed}:{self._accepted}"), self._faults)
        self._connections.add(connection)
        if any(fault.resets for fault in self._faults):
            self._reset(connection)

    def _turn(self, connection: Connection, now_s: float) -> float:
        """Do what is due on a connection; returns when there is more to do."""
        try:
            if connection.deliver(now_s):
                self._reset(connection)
                return math.inf
        except OSError:
            self._break(connection)
            return math.inf
        if connection.over:
            self._forget(connection)
            return math.inf
        self._watch(connection)
        return connection.due_s()

    def _watch(self, connection: Connection) -> None:
        for side, events in connection.interests():
            known = self._selector.get_map().get(side)
            if known is None and events:
                self._selector.register(side, events, self._server(connection, side))
            elif known is not None and not events:
                self._selector.unregister(side)
            elif known is not None and known.events != events:
                self._selector.modify(side, events, known.data)

    def _server(self, connection: Connection, side: socket.socket) -> Callable[[int], None]:
        lane: Lane = connection.lane_from(side)

        def serve(events: int) -> None:
            # The turn that follows writes; here is only what cannot be known without being told.
            if events & selectors.EVENT_READ and connection in self._connections:
                try:
                    connection.receive(lane, time.monotonic())
                except OSError:
                    self._break(connection)

        return serve

    def _break(self, connection: Connection) -> None:
        """One side has reset its connection: the other hears of it the same way, unless nobody does."""
        if connection.deaf:
            self._forget(connection)
        else:
            self._reset(connection)

    def _reset(self, connection: Connection) -> None:
        self._drop(connection)
        for side in connection.sides:
            _abort(side)

    def _forget(self, connection: Connection) -> None:
        self._drop(connection)
        for side in connection.sides:
            side.close()

    def _drop(self, connection: Connection) -> None:
        self._connections.discard(connection)
        for side in connection.sides:
            if self._selector.get_map().get(side) is not None:
                self._selector.unregister(side)


def _abort(side: Any) -> None:
    with contextlib.suppress(OSError):  # gone already
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
    side.close()
