"""Where the log goes: a stream whose reader may stall, end or run full, and never the worker with it.

Writing to a pipe or a terminal blocks when the reader does, and with it the whole event loop: leases,
heartbeat, signals. So lines go into a buffer, and a thread of the system's, not of gevent's, writes them.
Where the buffer is full lines are lost, counted, and said when it goes on.
"""

import io
import os
import time
from _queue import Empty, SimpleQueue  # gevent replaces the one in queue, which only greenlets can wait for

import structlog
from gevent.monkey import get_original  # noqa: TID251  patches nothing

log = structlog.get_logger()

# Not gevent's, whose threads are greenlets of this one.
_start_thread = get_original("_thread", "start_new_thread")
_sleep = get_original("time", "sleep")

#: What may wait to be written, in bytes: seconds of a busy log, and little beside a task.
MOST_WAITING_BYTES = 8 * 1024 * 1024
#: What is written at a time, in bytes.
_CHUNK_BYTES = 64 * 1024
#: Seconds between tries where the descriptor was set not to block, by a program that shares it with us.
_RETRY_S = 0.05


class LogStream(io.TextIOBase):
    """Writes whole lines to a file descriptor, later and in order; writing never blocks and never fails."""

    def __init__(self, descriptor: int, most_waiting_bytes: int = MOST_WAITING_BYTES) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._most_waiting_bytes = most_waiting_bytes
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        # Each is changed by one thread only, so that none needs a lock.
        self._taken_bytes = 0
        self._done_bytes = 0
        self._dropped = 0
        self._failed = 0
        self._told = 0
        _start_thread(self._write_all, ())

    def write(self, text: str) -> int:
        """Take text to be written, whole lines, or drop it; returns its length, as files do."""
        line = text.encode(errors="backslashreplace")
        if self._waiting_bytes + len(line) > self._most_waiting_bytes:
            self._dropped += line.count(b"\n")
        else:
            self._taken_bytes += len(line)
            self._lines.put(line)
        return len(text)

    def isatty(self) -> bool:
        """Whether people look at it."""
        return os.isatty(self._descriptor)

    @property
    def lost(self) -> int:
        """How many lines were lost so far: dropped, or not to be written."""
        return self._dropped + self._failed

    def tell_lost(self) -> None:
        """Log how many lines were lost, once there is room again."""
        untold = self.lost - self._told
        if untold and self._waiting_bytes <= self._most_waiting_bytes // 2:
            self._told += untold
            log.warning("log.lines_lost", lines=untold)

    def drain(self, timeout_s: float) -> bool:
        """Wait until all that was taken has been written; False where that took too long."""
        until_s = time.monotonic() + timeout_s
        while self._waiting_bytes:
            if time.monotonic() > until_s:
                return False
            time.sleep(0.005)
        return True

    @property
    def _waiting_bytes(self) -> int:
        return self._taken_bytes - self._done_bytes

    def _write_all(self) -> None:
        while True:
            chunk = bytearray(self._lines.get())
            try:
                while len(chunk) < _CHUNK_BYTES:
                    chunk += self._lines.get(block=False)
            except Empty:
                pass
            self._write(bytes(chunk))
            self._done_bytes += len(chunk)

    def _write(self, chunk: bytes) -> None:
        left = chunk
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                _sleep(_RETRY_S)
            except OSError:
                # The reader is gone, the disk is full. What comes later may find it otherwise.
                self._failed += left.count(b"\n")
                return
