"""Which commands clients send to Redis, one by one. Redis works for it: only for idle moments."""

import socket
from types import TracebackType
from typing import Self

_CHUNK = 1 << 20
#: How Redis marks a command that a script ran: with this in place of a client's address.
_IN_SCRIPT = b" lua] "
_TIMEOUT_S = 10.0


class Spy:
    """A context manager: from its beginning on Redis tells us what it is sent, until :meth:`sent` ends it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)

    def __enter__(self) -> Self:
        self._socket = socket.create_connection(self._address, _TIMEOUT_S)
        self._socket.sendall(b"MONITOR\r\n")
        assert self._socket.recv(_CHUNK) == b"+OK\r\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def sent(self) -> int:
        """Commands that clients sent since the beginning, those inside scripts not counted."""
        # Redis answers this after all it has to tell, and then closes the connection.
        self._socket.sendall(b"QUIT\r\n")
        told = b""
        while chunk := self._socket.recv(_CHUNK):
            told += chunk
        return sum(1 for line in told.split(b"\r\n") if line.startswith(b"+1") and _IN_SCRIPT not in line)
