"""A process's output, cut into lines for people: bounded, redacted, whatever the process prints.

Carriage returns are read as a terminal would show them: of ``10%\\r20%\\r30%`` only the last remains.
"""

import codecs
from collections.abc import Callable

#: Longest line that is passed on, in characters; a longer one comes in pieces.
MAX_LINE_CHARS = 8192


class LineSplitter:
    """Bytes or text in, lines out through ``emit``, each passed through ``redact`` first.

    Redaction happens before a long line is cut, and a piece's length of it is held back, so that a
    secret (shorter than ``max_chars``) does not escape by lying across a cut. Blank lines are dropped.
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
        *lines, self._pending = (self._pending + text).split("\n")
        for line in lines:
            self._emit_line(line)
        if len(self._pending) > 2 * self._max_chars:
            self._shorten_pending()

    def end(self) -> None:
        """The output has ended: what is left is a line too."""
        self.feed_text(self._decoder.decode(b"", final=True) + "\n")

    def _emit_line(self, line: str) -> None:
        text = self._redact(_visible(line))
        if not text.strip():
            return
        for start in range(0, len(text), self._max_chars):
            self._emit(text[start : start + self._max_chars])

    def _shorten_pending(self) -> None:
        text = self._redact(_visible(self._pending))
        start = 0
        while len(text) - start > 2 * self._max_chars:
            self._emit(text[start : start + self._max_chars])
            start += self._max_chars
        self._pending = text[start:]


def _visible(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]
