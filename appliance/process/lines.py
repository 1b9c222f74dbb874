"""The output of a process, cut into lines for the log: bounded and redacted, whatever the process prints.

Carriage returns are read as a terminal would show them: of ``10%\\r20%\\r30%`` only the last remains.
"""

import codecs
from collections.abc import Callable

#: Longest line that is passed on, in characters; a longer one comes in pieces.
MAX_LINE_CHARS = 8192


class LineSplitter:
    """Bytes or text in, lines out through ``emit``, each passed through ``redact`` first.

    A long line is redacted before it is cut, and the last ``max_chars`` of it are held back, so that a
    secret (shorter than that) does not escape by lying across a cut. Blank lines are dropped.
    """

    def __init__(
        self, emit: Callable[[str], None], redact: Callable[[str], str], max_chars: int = MAX_LINE_CHARS
    ) -> None:
        self._emit = emit
        self._redact = redact
        self._max_chars = max_chars
        self._pending = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; invalid UTF-8 becomes U+FFFD."""
        self.feed_text(self._decoder.decode(chunk))

    def feed_text(self, text: str) -> None:
        """Take the next text."""
        # In pieces: redacting a line of many megabytes at once would hold up everything else.
        for start in range(0, len(text), self._max_chars):
            self._feed_piece(text[start : start + self._max_chars])

    def end(self) -> None:
        """The output has ended: pass on what is left as a line."""
        self.feed_text(self._decoder.decode(b"", final=True) + "\n")

    def _feed_piece(self, text: str) -> None:
        *lines, self._pending = (self._pending + text).split("\n")
        for line in lines:
            self._emit_line(line)
        # A progress bar may never end its line: what is kept of it must have a bound.
        if len(self._pending) > 2 * self._max_chars:
            self._shorten_pending()

    def _emit_line(self, line: str) -> None:
        text = self._redact(_visible(line))
        if not text.strip():
            return
        for start in range(0, len(text), self._max_chars):
            self._emit(text[start : start + self._max_chars])

    def _shorten_pending(self) -> None:
        # Before the cut: two halves of a secret would each pass the redactor.
        text = self._redact(_visible(self._pending))
        start = 0
        while len(text) - start > 2 * self._max_chars:
            self._emit(text[start : start + self._max_chars])
            start += self._max_chars
        self._pending = text[start:]


def _visible(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]
