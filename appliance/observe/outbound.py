"""Lines on their way to Redis: kept here while it is away, bounded, the newest win."""

from collections import deque


class Outbound:
    """JSON texts for one list in Redis, which lives for ``ttl_s`` seconds.

    The list is cut back to the newest ``kept`` only when it is longer than ``longest``: for a program that
    reads on from where it was, a list that is cut with every line stands still.
    """

    def __init__(self, key: str, *, kept: int, longest: int, ttl_s: int) -> None:
        self.key = key
        self.kept = kept
        self.longest = longest
        self.ttl_s = ttl_s
        self._first = 0
        self._texts: deque[str] = deque()

    def add(self, text: str) -> None:
        """Queue one; with ``kept`` waiting the oldest is dropped."""
        self._texts.append(text)
        if len(self._texts) > self.kept:
            self._texts.popleft()
            self._first += 1

    def peek(self) -> tuple[int, list[str]]:
        """What waits, oldest first, and a mark for :meth:`drop`."""
        return self._first + len(self._texts), list(self._texts)

    def drop(self, mark: int) -> None:
        """Forget what was there at the :meth:`peek` that returned ``mark``: it has arrived."""
        while self._texts and self._first < mark:
            self._texts.popleft()
            self._first += 1
