"""Keeps an HTTP client from holding up the worker, whatever its server sends.

gevent gives others a turn only where a read has to wait. A server that never makes it wait, with one interim
answer (``102 Processing``) after the other, would be listened to for ever: no timeout ends that, because none
gets its turn. So each read gives way first, and all reads together have a bound.
"""

from typing import Any

import gevent
import httpx

from appliance.clock import TURN_S

#: Reads between two turns for timers.
_TURN = 4


class TooMuch(Exception):
    """Raised when a server sent more than it was allowed to."""


def bound(client: httpx.Client, most_bytes: int) -> None:
    """Let each connection of ``client`` read so many bytes at most, giving way before each read."""
    # httpx has no public way to give its connections another backend.
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            pool: Any = transport._pool
            pool._network_backend = _Backend(pool._network_backend, most_bytes)


class _Backend:
    """httpcore's backend, with other streams."""

    def __init__(self, backend: Any, most_bytes: int) -> None:
        self._backend = backend
        self._most_bytes = most_bytes

    def connect_tcp(self, *args: Any, **options: Any) -> "_Stream":
        return _Stream(self._backend.connect_tcp(*args, **options), self._most_bytes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class _Stream:
    """httpcore's stream, read fairly."""

    def __init__(self, stream: Any, left_bytes: int) -> None:
        self._stream = stream
        self._left_bytes = left_bytes
        self._reads = 0

    def read(self, *args: Any, **options: Any) -> bytes:
        self._reads += 1
        # Timers have their turn now and then: such a sleep takes up to a millisecond.
        gevent.sleep(0 if self._reads % _TURN else TURN_S)
        data: bytes = self._stream.read(*args, **options)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise TooMuch
        return data

    def start_tls(self, *args: Any, **options: Any) -> "_Stream":
        return _Stream(self._stream.start_tls(*args, **options), self._left_bytes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
