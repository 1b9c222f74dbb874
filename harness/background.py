"""What goes on in a thread from entering to leaving."""

import threading
from types import TracebackType
from typing import Self


class Background:
    """Runs :meth:`_run` in its own thread from entering to leaving, when ``_stop`` is set.

    Leaving waits for its end, at most ``end_s`` seconds where that is given.
    """

    def __init__(self, name: str, end_s: float | None = None) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._end_s = end_s

    def _run(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(self._end_s)
