"""The standard input of one process: lines go out in order, and one that does not read blocks nothing."""

import os
from collections import deque
from collections.abc import Callable, Iterator

import gevent
from gevent.os import nb_write

from appliance.event import Event


class InputPipe:
    """Buffers what is sent until the process reads it. ``broken`` is called when it no longer can."""

    def __init__(self, broken: Callable[[], None]) -> None:
        self._broken = broken
        self._descriptor: int | None = None
        self._backlog: deque[memoryview | Iterator[bytes]] = deque()
        #: How many of these come in pieces.
        self._large = 0
        self._flush_due = False
        self._writing = False
        self._more = Event()
        self._closing = False
        self._writer: gevent.Greenlet[..., object] | None = None

    def open(self, descriptor: int) -> None:
        """Write to ``descriptor`` (non-blocking), which belongs to this pipe from now on."""
        self._descriptor = descriptor
        self._writer = gevent.spawn(self._write)

    def send(self, line: bytes | Iterator[bytes]) -> None:
        """Write a line. What the process does not read waits here, in order, until its end.

        A large one comes in pieces, which are asked for one by one as it reads.
        """
        # Behind the end of the input no line can follow; its task stays in flight until the process is gone.
        if self._closing:
            return
        if not isinstance(line, bytes):
            self._large += 1
            self._backlog.append(line)
            self._more.set()
            return
        self._backlog.append(memoryview(line))
        if not self._flush_due:
            # When the loop turns next: lines that are sent together are written together.
            self._flush_due = True
            gevent.get_hub().loop.run_callback(self.flush)

    def flush(self) -> None:
        """Write what was sent, without waiting. The pipe mostly has room; the writer takes the rest."""
        self._flush_due = False
        # While the writer is in the middle of a line, writing here would tear it apart.
        if self._descriptor is None or self._writing or not self._backlog:
            return
        if self._large:
            self._more.set()
            return
        waiting = [line for line in self._backlog if isinstance(line, memoryview)]
        lines = waiting[0] if len(waiting) == 1 else memoryview(b"".join(waiting))
        try:
            written = os.write(self._descriptor, lines)
        except BlockingIOError:
            # The pipe is full to the last byte: a busy process, not a broken one.
            written = 0
        except OSError:
            self._give_up()
            return
        self._backlog.clear()
        if written < len(lines):
            self._backlog.append(lines[written:])
            self._more.set()

    def flush_if_due(self) -> None:
        """Write now what would be written when the loop turns next."""
        if self._flush_due:
            self.flush()

    def close(self) -> None:
        """Close the pipe once everything sent has been written."""
        self._closing = True
        self._more.set()

    def drop(self) -> None:
        """Close the pipe now; what was not yet written is lost."""
        self._closing = True
        if self._writer is not None:
            self._writer.kill()
        self._backlog.clear()
        self._close_descriptor()

    def _write(self) -> None:
        try:
            while self._descriptor is not None:
                self._writing = True
                while self._backlog:
                    line = self._backlog.popleft()
                    if isinstance(line, memoryview):
                        self._write_all(line)
                        continue
                    for piece in line:
                        self._write_all(memoryview(piece))
                    self._large -= 1
                self._writing = False
                # Looked at behind the backlog and before the wait: the end of input comes behind every line.
                if self._closing:
                    break
                self._more.clear()
                self._more.wait()
        except OSError:
            self._give_up()
        finally:
            self._close_descriptor()

    def _write_all(self, rest: memoryview) -> None:
        while rest and self._descriptor is not None:
            rest = rest[nb_write(self._descriptor, rest) :]

    def _give_up(self) -> None:
        """The process closed its end: it is about to exit, or cannot work any more."""
        self._closing = True
        self._backlog.clear()
        self._broken()

    def _close_descriptor(self) -> None:
        # Taken first: the writer that is killed comes by here as well, and a number closed twice may by then
        # be the descriptor of something else.
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
