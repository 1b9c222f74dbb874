"""A TCP proxy that does to connections what networks do: between a worker and its Redis, or its server.

One thread serves all connections and never blocks: faults (:mod:`harness.faults.link`) say what happens
to each chunk and when. They can be set, changed and cleared while connections are open.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from harness.faults.link import Fault
from harness.faults.loop import ProxyLoop
from harness.sandbox import ports

#: Seconds :meth:`FaultProxy.set` waits until what was asked for is in force.
_COMMAND_TIMEOUT_S = 10.0


class FaultProxy:
    """Listens on ``host``, on its own port, and passes on to ``target`` (host, port).

    A context manager. ``seed`` decides what faults leave to chance: the n-th connection's chances are the
    same in every run. Raises OSError from :meth:`start` where it cannot listen.
    """

    def __init__(self, target: tuple[str, int], *, host: str = ports.HOST, seed: int = 0) -> None:
        self._target = target
        self._host = host
        self._seed = seed
        self._loop: ProxyLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Where it listens; known once it is started."""
        return self._started.port

    @property
    def accepted(self) -> int:
        """Connections so far."""
        return self._started.accepted

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._started.connections)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is in force."""
        return self._started.faults

    def url(self, url: str) -> str:
        """``url`` of the target, by way of the proxy."""
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}{self._host}:{self.port}"))

    def start(self) -> Self:
        """Listen."""
        self._loop = loop = ProxyLoop(self._target, self._host, self._seed)
        self._thread = threading.Thread(target=loop.run, name=f"fault-proxy-{loop.port}", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close everything, at once. Idempotent."""
        if self._thread is None:
            return
        self._started.end()
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
        self._do(lambda: self._started.put_in_force(faults))

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

    @property
    def _started(self) -> ProxyLoop:
        if self._loop is None:
            raise RuntimeError("the proxy was not started")
        return self._loop

    def _do(self, command: Callable[[], None]) -> None:
        if self._thread is None:
            raise RuntimeError("the proxy does not run")
        done = threading.Event()

        def act() -> None:
            command()
            done.set()

        self._started.call(act)
        if not done.wait(_COMMAND_TIMEOUT_S):
            raise RuntimeError("the proxy does not react")
