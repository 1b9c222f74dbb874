"""Work that blocks, done beside the event loop, and not waited for for ever: a disk can hang."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import gevent
from gevent.lock import BoundedSemaphore

from appliance.errors import StateHangs

T = TypeVar("T")

#: Seconds a disk may take for one piece of work; well below the time after which a loop counts as stuck.
LIMIT_S = 20.0
#: Seconds it may take where who waits for it is ended meanwhile, which is when the worker stops.
_ENDING_S = 1.0


class Aside:
    """Does one thing at a time in a thread, whichever greenlets ask for it."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._turn = BoundedSemaphore()
        #: The last one.
        self._job: Any = None

    @property
    def is_busy(self) -> bool:
        """Whether something is under way still: what it uses must be left to it."""
        return self._job is not None and not self._job.ready()

    def do(self, work: Callable[[], T], unwanted: Callable[[T], object] | None = None) -> T:
        """Return what ``work`` does, or raise what it raises.

        Raises :class:`~appliance.errors.StateHangs` when that, or what is still under way from
        before, takes too long. It then goes on, and this is busy. So may it where the greenlet that waits
        is ended. What such work returns in the end is given to ``unwanted``.
        """
        with self._turn:
            self._wait(self._limit_s)
            job: Any = gevent.get_hub().threadpool.spawn(work)
            self._job = job
            try:
                self._wait(self._limit_s)
            except BaseException as exc:
                if not isinstance(exc, StateHangs):
                    # Ended meanwhile. Before the caller closes what is used in there.
                    with suppress(StateHangs):
                        self._wait(_ENDING_S)
                if unwanted is not None:
                    self.afterwards(partial(_give_away, job, unwanted))
                raise
            result: T = job.get()
            return result

    def afterwards(self, act: Callable[[], object]) -> None:
        """Do it as soon as nothing is under way any more."""
        if self.is_busy:
            self._job.rawlink(lambda _job: gevent.spawn(act))
        else:
            act()

    def _wait(self, limit_s: float) -> None:
        if self._job is not None and not gevent.wait([self._job], limit_s):
            raise StateHangs(f"the disk has not answered for {limit_s:g} s")


def _give_away(job: Any, unwanted: Callable[[T], object]) -> None:
    if job.successful():
        with suppress(OSError):
            unwanted(job.value)
