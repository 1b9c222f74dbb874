"""Standard output that may come to its end: a reader that has gone, a device that is full.

A command of the harness prints while it works and has processes to end, so that it is interrupted then as by
Ctrl-C: what it started goes, and there is no traceback.
"""

import os
import threading
from typing import Any, TextIO


class OutputLost(BaseException):
    """Nothing can be printed any more; not an Exception, so that no handler takes it for its failure.

    ``reason`` is empty where the reader has gone, as that of ``| head`` does.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Outlet:
    """Stands in for ``stream``, and raises :class:`OutputLost` in the main thread where that takes no more.

    In other threads what is printed is dropped: a server goes on when its lines are read no more.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As that of ``stream``."""
        try:
            return self._stream.write(text)
        except OSError as exc:
            self._lost(exc)
            return len(text)

    def flush(self) -> None:
        """As that of ``stream``."""
        try:
            self._stream.flush()
        except OSError as exc:
            self._lost(exc)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lost(self, exc: OSError) -> None:
        # What is still buffered would be tried again at the interpreter's end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if threading.current_thread() is threading.main_thread():
            raise OutputLost("" if isinstance(exc, BrokenPipeError) else str(exc.strerror)) from exc
