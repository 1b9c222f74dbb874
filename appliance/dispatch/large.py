"""Outcomes too large to travel with others: each is sent alone, over its own connection.

A result may take longer to send than Redis is given to answer, and Redis may refuse one by itself, in most
cases without a word: above ``proto-max-bulk-len`` or ``client-query-buffer-limit`` it ends the connection.
Sent with the others, it would keep them from being settled for ever. Sent alone, it shows that it is the
one, and its task is archived with the reason.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from appliance.clock import Clock
from appliance.dispatch.backoff import Backoff, Delays
from appliance.errors import QueueError
from appliance.event import Event
from appliance.observe.pulse import Pulse
from appliance.queue.broker import Broker
from appliance.queue.replies import FenceReply
from appliance.queue.settlement import Archive, Complete, Policy, Retry, Settlement

log = structlog.get_logger()

#: From how many bytes on an outcome is sent alone: a connection of 1 Mbit/s takes two seconds for that.
LARGE_BYTES = 256 * 1024
#: Seconds that sending one, and its reply, may take.
LARGE_TIMEOUT_S = 300.0
#: Between tries.
DELAYS = Delays(0.5, 30.0)
#: How often Redis, which answers otherwise, must have refused one for it to be the outcome's fault.
MOST_REFUSALS = 4


def size(settlement: Settlement) -> int:
    """Bytes that sending it takes, about."""
    if isinstance(settlement, Complete):
        return len(settlement.result)
    if isinstance(settlement, Retry | Archive):
        return len(settlement.message)
    return 0


def why_given_up(bytes_: int, exc: QueueError) -> str:
    """What the task's error says."""
    return (
        f"Redis refused the outcome, of {bytes_} bytes, {MOST_REFUSALS} times while it answered otherwise "
        f"(its proto-max-bulk-len or client-query-buffer-limit may be too small): {exc}"
    )


class Answer(NamedTuple):
    """The fence's reply to one that was sent; ``repeated``: an earlier reply may have been lost.

    Without a reply it was refused for good, and ``instead`` is what its task gets.
    """

    settlement: Settlement
    reply: FenceReply | None
    repeated: bool = False
    instead: Archive | None = None


@dataclass(slots=True)
class _Parcel:
    """One that waits, and what happened to it so far."""

    settlement: Settlement
    backoff: Backoff = field(default_factory=lambda: Backoff(DELAYS))
    refusals: int = 0


class LargeOutcomes:
    """Those of one dispatcher; ``wake`` tells it that there is an answer. Nothing else uses ``broker``."""

    def __init__(
        self,
        broker: Broker,
        policy: Policy,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._policy = policy
        self._clock = clock
        self._wake = wake
        self._waiting: list[_Parcel] = []
        self._answers: deque[Answer] = deque()
        self._added = Event()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._answers)

    def __iter__(self) -> Iterator[Settlement]:
        yield from [parcel.settlement for parcel in self._waiting]
        yield from [answer.settlement for answer in self._answers]

    def add(self, settlement: Settlement) -> None:
        """Send it when those before it have been sent, or wait for another try."""
        self._waiting.append(_Parcel(settlement))
        self._added.set()

    def take_answers(self) -> Iterator[Answer]:
        """Take out what has been answered."""
        while self._answers:
            yield self._answers.popleft()

    def run(self, pulse: Pulse) -> None:
        """Send one after the other, until killed."""
        while True:
            # One that takes minutes is no loop that stands still.
            pulse.rest(None)
            pause_s = self.tick()
            if pause_s != 0:
                self._added.wait(pause_s)

    def tick(self) -> float | None:
        """Send the first that may be tried; returns the seconds until the next may, None without one."""
        self._added.clear()
        now_s = self._clock.monotonic()
        parcel = next((each for each in self._waiting if each.backoff.retry_at_s <= now_s), None)
        if parcel is None:
            return min((each.backoff.retry_at_s - now_s for each in self._waiting), default=None)
        try:
            (reply,) = self._broker.settle([parcel.settlement])
        except QueueError as exc:
            self._failed(parcel, exc)
        else:
            repeated = parcel.backoff.failures > 0
            self._answered(parcel, Answer(parcel.settlement, reply, repeated=repeated))
        return 0

    def _failed(self, parcel: _Parcel, exc: QueueError) -> None:
        lease, bytes_ = parcel.settlement.lease, size(parcel.settlement)
        if self._broker.refused(exc):
            parcel.refusals += 1
        else:
            # Trouble of Redis's own: what came before may have been its beginning.
            parcel.refusals = 0
        log.warning(
            "outcome.large_not_settled",
            task_id=lease.task_id,
            queue=lease.queue,
            size_bytes=bytes_,
            error=str(exc),
            refusals=parcel.refusals,
        )
        if parcel.refusals < MOST_REFUSALS:
            parcel.backoff.failed(self._clock.monotonic())
            return
        archive = self._policy.refuse(lease, why_given_up(bytes_, exc))
        self._answered(parcel, Answer(parcel.settlement, None, instead=archive))

    def _answered(self, parcel: _Parcel, answer: Answer) -> None:
        self._waiting.remove(parcel)
        self._answers.append(answer)
        self._wake()
