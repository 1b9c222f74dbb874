"""How a loop runs, without Redis: what it says of one that cannot be reached, and what it hands on."""

from collections.abc import Iterator
from typing import cast

import pytest
from structlog.testing import capture_logs

from appliance.errors import QueueUnavailable
from appliance.event import Event
from appliance.loops import ticker
from appliance.loops.canceller import REASON, Canceller
from appliance.observe.pulse import Pulse
from appliance.queue.subscription import Subscription
from tests.clock import HandClock


def _said(ticks: str) -> list[str]:
    """What a loop logs whose ticks are good (g) or find no Redis (n), one after the other."""
    stop, waiting = Event(), iter(ticks)

    def tick() -> float:
        kind = next(waiting, "")
        if kind == "n":
            raise QueueUnavailable("no route")
        if not kind:
            stop.set()
        return 0.0

    with capture_logs() as events:
        ticker.run(Pulse("forwarder", HandClock()), tick, stop, unavailable_delay_s=0.0)
    return [event["event"].removeprefix("loop.redis_") for event in events]


@pytest.mark.parametrize(
    ("ticks", "said"),
    [
        ("gg", []),
        ("gnnng", ["unavailable", "available"]),
        ("ngng", ["unavailable", "available"] * 2),
    ],
)
def test_that_redis_is_away_is_said_when_it_begins_and_when_it_is_over(ticks: str, said: list[str]) -> None:
    assert _said(ticks) == said


def test_a_redis_that_is_away_is_asked_again_after_a_second_and_no_sooner() -> None:
    class Waits(Event):
        """Notes how long it is waited for, and stops the loop then."""

        def wait(self, timeout: float | None = None) -> bool:
            waited_s.append(timeout)
            return bool(self.set() or True)

    def tick() -> float:
        raise QueueUnavailable("no route")

    waited_s: list[float | None] = []
    ticker.run(Pulse("forwarder", HandClock()), tick, Waits())
    assert waited_s == [1.0]


def test_a_loop_that_ends_is_none_that_is_overdue() -> None:
    pulse, stop = Pulse("forwarder", HandClock()), Event()
    stop.set()
    ticker.run(pulse, lambda: 0.0, stop)
    assert pulse.problem(1e9) == "forwarder has ended"


class _Messages:
    def __init__(self, *messages: str | None) -> None:
        self._messages: Iterator[str | None] = iter(messages)

    def next(self) -> str | None:
        return next(self._messages)


def test_each_cancelled_task_is_handed_on_and_silence_is_none() -> None:
    cancelled: list[tuple[str, str]] = []
    messages = cast(Subscription, _Messages("a", None, "b"))
    canceller = Canceller(messages, lambda task_id, reason: cancelled.append((task_id, reason)))
    assert [canceller.tick() for _ in range(3)] == [0.0, 0.0, 0.0]
    assert cancelled == [("a", REASON), ("b", REASON)]
