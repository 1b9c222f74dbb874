"""What a worker takes from a queue, and until when Redis may still carry that out.

A command that was sent to a Redis that hangs runs when Redis goes on, and by then the worker may have ended:
what it took would wait for its lease to run out, and be charged with a run that never began. So every take
says until when it holds, by Redis's own clock, and a script that runs later takes nothing. What that clock
says is learned from each answer, and never taken to be later than it is. The first take from a queue has
nothing to go by and holds for ever.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from appliance.clock import Clock
from appliance.queue import keys, scripts
from appliance.queue.calls import Call, script_call
from appliance.queue.replies import Ask, Taken, parse_taken

#: For how many seconds a take holds: longer than Redis mostly needs to answer, shorter than a stop takes.
HOLDS_S = 1.0
#: What that becomes at most, where takes come too late one after the other: the way to Redis is slow then.
LONGEST_S = 4.0
#: The first of what a script answers: nothing is taken from a paused queue, nor by one that came too late,
#: and some bring less than there is.
_PAUSED, _TOO_LATE, _MORE = 1, 2, 3


class Takes:
    """Those of one worker, ``owner``, over one connection; ``lease_s`` is how long a task stays its own.

    The messages of tasks that have more than ``max_message_bytes`` are not fetched.
    """

    def __init__(self, owner: str, lease_s: float, max_message_bytes: int, clock: Clock) -> None:
        self._owner = owner
        self._max_message_bytes = max_message_bytes
        self._lease_s = lease_s
        self._clock = clock
        self._holds_s = HOLDS_S
        # By queue: each may be on another node of a Redis Cluster, and that has its own clock.
        self._redis_ahead_s: dict[str, float] = {}
        self._open: dict[int, float] = {}
        self._numbers = count()

    @property
    def over_s(self) -> float:
        """Monotonic seconds from which on none that has no answer yet can be carried out any more."""
        return max(self._open.values(), default=0.0)

    def call(self, ask: Ask, accept: Callable[[Taken], None]) -> Call:
        """The call for an ``ask`` that is sent now."""
        if not (ask.arrived or ask.count):
            command = ("LLEN", keys.pending(ask.queue))
            return Call(command, lambda pending: accept(Taken(pending=pending)), queue=ask.queue)
        number, void_from = next(self._numbers), self._begin(ask.queue)

        def took(reply: Any) -> None:
            self._open.pop(number, None)
            accept(self._read(ask.queue, reply))

        # Last, since what it is about to forget may be open still.
        self._open[number] = self._clock.monotonic() + (self._holds_s if void_from else self._lease_s / 3)
        script, what = (scripts.ACTIVATE, ask.arrived) if ask.arrived else (scripts.TAKE, (ask.count,))
        terms = [self._owner, self._lease_s, void_from, self._max_message_bytes]
        return script_call(script, ask.queue, [*terms, *what], took)

    def _begin(self, queue: str) -> str:
        """Redis's time from which on the take of now is void, as the scripts have it."""
        now_s = self._clock.monotonic()
        if self._open:
            self._open = {number: over_s for number, over_s in self._open.items() if over_s > now_s}
        ahead_s = self._redis_ahead_s.get(queue)
        return "" if ahead_s is None else f"{now_s + ahead_s + self._holds_s:.6f}"

    def _read(self, queue: str, reply: Any) -> Taken:
        kind, strays, redis_now, *claimed = reply
        # Redis's clock has gone on since: so it is ahead of this machine by that much at least.
        self._redis_ahead_s[queue] = float(redis_now) - self._clock.monotonic()
        if kind == _TOO_LATE:
            self._holds_s = min(LONGEST_S, 2 * self._holds_s)
            return Taken(too_late=True, now_wall_s=float(redis_now))
        self._holds_s = HOLDS_S
        found = parse_taken(queue, claimed)
        return replace(
            found, paused=kind == _PAUSED, more=kind == _MORE, strays=strays, now_wall_s=float(redis_now)
        )
