"""The proxy's own thread: one loop that accepts, delivers and closes, and never blocks."""

import contextlib
import math
import random
import selectors
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from harness.faults.connection import CHUNK, Connection, Lane
from harness.faults.link import Fault
from harness.sandbox import ports

#: Seconds to reach the server behind, which is on this machine.
_CONNECT_TIMEOUT_S = 2.0
_RST = struct.pack("ii", 1, 0)


class ProxyLoop:
    """All of a proxy that its thread owns; other threads may call :meth:`call` and :meth:`end` alone.

    Listens on ``host`` from the construction on; raises OSError where it cannot. ``seed`` decides what
    faults leave to chance.
    """

    def __init__(self, target: tuple[str, int], host: str, seed: int) -> None:
        self._target = target
        self._host = host
        self._seed = seed
        self.port = 0
        self.accepted = 0
        self.faults: tuple[Fault, ...] = ()
        self.connections: set[Connection] = set()
        self._listener: socket.socket | None = None
        self._commands: list[Callable[[], None]] = []
        self._running = True
        self._selector = selectors.DefaultSelector()
        self._bell = _Bell()
        self._selector.register(self._bell.ear, selectors.EVENT_READ, self._hear)
        self._listen()

    def call(self, command: Callable[[], None]) -> None:
        """Have ``command`` called in the loop's thread, soon."""
        self._commands.append(command)
        self._bell.ring()

    def end(self) -> None:
        """Close everything and return from :meth:`run`, soon."""
        self._running = False
        self._bell.ring()

    def run(self) -> None:
        """Serve until :meth:`end`."""
        try:
            while self._running:
                now_s = time.monotonic()
                wake_s = min((self._turn(each, now_s) for each in tuple(self.connections)), default=math.inf)
                timeout_s = None if wake_s == math.inf else max(0.0, wake_s - time.monotonic())
                for key, events in self._selector.select(timeout_s):
                    key.data(events)
        finally:
            for each in tuple(self.connections):
                self._forget(each)
            self._unlisten()
            self._selector.close()
            self._bell.close()

    def put_in_force(self, faults: tuple[Fault, ...]) -> None:
        """Have ``faults`` and no others from now on; only in the loop's thread."""
        self.faults = faults
        if any(fault.refuses for fault in faults):
            self._unlisten()
        elif self._listener is None:
            self._listen()
        for each in tuple(self.connections):
            each.change(faults, time.monotonic())
            if any(fault.resets for fault in faults):
                self._reset(each)
            elif each.abandoned and not faults:
                self._forget(each)

    def _hear(self, _: int) -> None:
        self._bell.silence()
        while self._commands:
            self._commands.pop(0)()

    def _listen(self) -> None:
        self._listener = ports.listen(self._host, self.port or None)
        self.port = self._listener.getsockname()[1]
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
        self.accepted += 1
        connection = Connection(client, server, random.Random(f"{self._seed}:{self.accepted}"), self.faults)
        self.connections.add(connection)
        if any(fault.resets for fault in self.faults):
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
            if events & selectors.EVENT_READ and connection in self.connections:
                try:
                    connection.receive(lane, time.monotonic())
                except OSError:
                    self._break(connection)

        return serve

    def _break(self, connection: Connection) -> None:
        """One side has reset its connection: the other learns it so, unless the connection is deaf."""
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
        self.connections.discard(connection)
        for side in connection.sides:
            if self._selector.get_map().get(side) is not None:
                self._selector.unregister(side)


def _abort(side: Any) -> None:
    with contextlib.suppress(OSError):  # gone already
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
    side.close()


class _Bell:
    """What wakes a loop that waits in a selector: readable at :attr:`ear` once it was rung."""

    def __init__(self) -> None:
        self.ear, self._clapper = socket.socketpair()
        for end in (self.ear, self._clapper):
            end.setblocking(False)

    def ring(self) -> None:
        """From any thread."""
        with contextlib.suppress(BlockingIOError):  # it rings already
            self._clapper.send(b"!")

    def silence(self) -> None:
        """However often it was rung."""
        with contextlib.suppress(BlockingIOError):
            self.ear.recv(CHUNK)

    def close(self) -> None:
        """No more."""
        self.ear.close()
        self._clapper.close()
