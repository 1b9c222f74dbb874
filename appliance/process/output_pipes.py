"""Both outputs of one process: read to the last byte, however much it prints, without holding up the loop."""

import os
from collections import deque
from collections.abc import Callable

import gevent
from gevent.os import nb_read

from appliance.clock import TURN_S, Clock
from appliance.process import progress
from appliance.process.answers import Event, Noise
from appliance.process.launch import Launched
from appliance.process.lines import LineSplitter
from appliance.process.listener import Listener
from appliance.process.protocol import MAX_LINE_BYTES, Decoder

#: Seconds after the exit in which a descendant may still write to our pipes.
DRAIN_S = 1.0
#: Seconds, at most, for reading what is left when a descendant that was not found goes on writing.
LEFTOVER_S = 5.0
#: How many of the last stderr lines are kept, and how much of each, in characters.
TAIL_LINES = 200
TAIL_CHARS = 2000

_CHUNK_BYTES = 65_536
#: Bytes of stderr that are read before a chunk of stdout: a flood of lines must hold up no answer.
_AHEAD_BYTES = 4_096
#: Chunks and lines handled before the other greenlets get a turn.
_TURN = 32


class OutputPipes:
    """Reads stdout as protocol, stderr as lines, and passes both to the listener.

    ``after_chunk`` is called when what one chunk of stdout held has been passed on. Before each chunk of
    stdout its stderr is read: what a task printed before its answer comes while the task is known to run.
    ``max_line_bytes`` is the longest line of stdout that is read.
    """

    def __init__(
        self,
        listener: Listener,
        redact: Callable[[str], str],
        after_chunk: Callable[[], None],
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        self._listener = listener
        self._after_chunk = after_chunk
        self._decoder = Decoder(max_line_bytes, self._slice_done)
        self._stdout_lines = LineSplitter(self._stdout_line, redact)
        self._stderr_lines = LineSplitter(self._stderr_line, redact)
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._moved = 0
        #: Lines of stderr are passed on by its own reader, which has a chunk in hand, or before stdout.
        self._in_hand = self._ahead = False
        self._descriptors: tuple[int, ...] = ()
        self._readers: list[gevent.Greenlet[..., object]] = []

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines of stderr."""
        return tuple(self._tail)

    def open(self, launched: Launched, stdout_closed: Callable[[], None]) -> None:
        """Read both pipes, which belong to this object from now on."""
        self._descriptors = (launched.stdout, launched.stderr)
        self._readers = [
            gevent.spawn(self._read, launched.stdout, self._from_stdout),
            gevent.spawn(self._read, launched.stderr, self._from_stderr),
        ]
        # Only stdout: a process may close stderr and work on, but without stdout it can never answer.
        self._readers[0].link(lambda _: stdout_closed())

    def wait(self) -> None:
        """Give the pipes :data:`DRAIN_S` to end by themselves."""
        gevent.joinall(self._readers, timeout=DRAIN_S)

    def drain(self, clock: Clock) -> None:
        """Read on while anything comes, up to :data:`LEFTOVER_S`, and no longer than a quiet second."""
        before, deadline_s = -1, clock.monotonic() + LEFTOVER_S
        while before != self._moved and any(not reader.dead for reader in self._readers):
            if clock.monotonic() >= deadline_s:
                break
            # Compared, not timed: a reader that is slow on a busy machine has still moved.
            before = self._moved
            gevent.joinall(self._readers, timeout=DRAIN_S)

    def end(self) -> None:
        """Stop reading, pass on what is left of the last lines, and close the pipes."""
        # The readers first: they and this method use the same decoders.
        gevent.killall(self._readers)
        # Output that ends in the middle of a line: the last words of a crash often do.
        for event in self._decoder.end():
            self._take(event)
        self._stdout_lines.end()
        self._stderr_lines.end()
        for descriptor in self._descriptors:
            os.close(descriptor)

    def _read(self, descriptor: int, take: Callable[[bytes], None]) -> None:
        while chunk := nb_read(descriptor, _CHUNK_BYTES):
            take(chunk)
            self._give_way()

    def _from_stdout(self, chunk: bytes) -> None:
        # Not before a chunk that was read earlier, nor in the middle of one: lines would be torn apart.
        if not self._in_hand:
            self._stderr_ahead()
        for event in self._decoder.feed(chunk):
            self._take(event)
        self._after_chunk()

    def _stderr_ahead(self) -> None:
        try:
            chunk = os.read(self._descriptors[1], _AHEAD_BYTES)
        except OSError:
            return  # there is nothing, as mostly
        self._ahead = True
        self._stderr_lines.feed(chunk)
        self._ahead = False

    def _from_stderr(self, chunk: bytes) -> None:
        self._in_hand = True
        while self._ahead:
            gevent.sleep(TURN_S)
        self._stderr_lines.feed(chunk)
        self._in_hand = False

    def _take(self, event: Event) -> None:
        if isinstance(event, Noise):
            self._stdout_lines.feed_text(event.text + "\n")
        else:
            self._listener.on_event(event)

    def _stdout_line(self, text: str) -> None:
        self._line("stdout", text)

    def _stderr_line(self, text: str) -> None:
        self._tail.append(text[:TAIL_CHARS])
        self._line("stderr", text)

    def _line(self, source: str, text: str) -> None:
        if (report := progress.read(text)) is not None:
            self._listener.on_event(report)
        # Also a report: it is output to every other worker, and the log has it with its task.
        self._listener.on_output(source, text)
        self._give_way()

    def _slice_done(self) -> None:
        """A slice of a large line has been looked at."""
        self._moved += 1
        gevent.sleep(TURN_S)

    def _give_way(self) -> None:
        """Let others run now and then: nb_read does not, as long as there is something to read."""
        self._moved += 1
        if self._moved % _TURN == 0:
            gevent.sleep(TURN_S)
