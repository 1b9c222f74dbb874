"""Work that blocks, done beside the event loop, and not waited for for ever: a disk can hang."""

from collections.abc import Callable
from typing import Any

import gevent

from appliance.errors import StateHangs

#: Seconds a disk may take for one piece of work; well below the time after which a loop counts as stuck.
LIMIT_S = 20.0


class Aside:
    """Does one thing at a time in a thread."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._job: Any = None

    def do(self, work: Callable[[], Any]) -> Any:
        """Return what ``work`` does, or raise what it raises.

        Raises :class:`~appliance.errors.StateHangs` when that, or what is still under way from
        before, takes too long. It then goes on: what it uses must be left to it.
        """
        self._wait()
        self._job = gevent.get_hub().threadpool.spawn(work)
        self._wait()
        job, self._job = self._job, None
        return job.get()

    def _wait(self) -> None:
        if self._job is not None and not gevent.wait([self._job], self._limit_s):
            raise StateHangs(f"the disk has not answered for {self._limit_s:g} s")
