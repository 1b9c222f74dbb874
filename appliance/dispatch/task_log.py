"""One log line for each task that ended; where too many end, lines for some and a summary of the rest.

What is left out at the level that people read is there at debug.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog

from appliance.clock import Clock
from appliance.process.outcome import Failed, Outcome
from appliance.queue.settlement import Archive, Complete, Defer, Retry, Return, Settlement

log = structlog.get_logger()

#: Lines of one kind a second in the long run, and how many more at once.
LINES_PER_S = 5.0
BURST = 50
#: Seconds that what was left out is collected for one summary.
SUMMARY_EVERY_S = 10.0
#: Why a task goes back that was taken in advance: routine, and seen at debug only.
NOT_NEEDED = "fetched ahead, and no slot came free"


class TaskLog:
    """Of one dispatcher."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Bound once: looking the logger up for every task costs more than anything else here.
        self._log = log.bind()
        self._tells_all = self._log.is_enabled_for(logging.DEBUG)
        self._rations: dict[str, _Ration] = {}
        self._left_out: Counter[str] = Counter()
        self._run_s: list[float] = [0.0, 0.0]
        self._since_s = 0.0

    def ended(self, settlement: Settlement, outcome: Outcome, run_s: float | None) -> None:
        """Log what becomes of a task; ``run_s`` is how long it ran, None for one that did not."""
        match settlement:
            case Complete():
                self._say(self._log.info, "task.completed", "completed", settlement, run_s)
            case Retry(_, delay_s, retried, error):
                more = {"retried": retried, "delay_s": delay_s, "error": _telling(error, outcome)}
                self._say(self._log.warning, "task.retry", "retried", settlement, run_s, **more)
            case Archive(_, _, error):
                told = _telling(error, outcome)
                self._say(self._log.warning, "task.archived", "archived", settlement, run_s, error=told)
            case Return(lease, reason) if reason == NOT_NEEDED:
                self._log.debug("task.returned", task_id=lease.task_id, queue=lease.queue, reason=reason)
            case Return(_, reason) | Defer(_, _, reason):
                self._say(self._log.info, "task.returned", "returned", settlement, run_s, reason=reason)

    def summarise(self, now_s: float) -> None:
        """Say what was left out, where it is time for that."""
        if not self._left_out or now_s < self._since_s + SUMMARY_EVERY_S:
            return
        total_s, longest_s = self._run_s
        tasks = self._left_out.total()
        self._log.info(
            "task.summary",
            lines_left_out=tasks,
            seconds=round(self._clock.monotonic() - self._since_s, 1),
            **self._left_out,
            mean_run_s=round(total_s / tasks, 4),
            longest_run_s=round(longest_s, 3),
        )
        self._left_out.clear()
        self._run_s = [0.0, 0.0]

    def next_look_s(self, now_s: float) -> float | None:
        """Seconds until the next summary; None where nothing was left out."""
        return self._since_s + SUMMARY_EVERY_S - now_s if self._left_out else None

    def _say(
        self,
        tell: Callable[..., object],
        event: str,
        kind: str,
        settlement: Settlement,
        run_s: float | None,
        **more: Any,
    ) -> None:
        now_s = self._clock.monotonic()
        ration = self._rations.get(event)
        if ration is None:
            ration = self._rations[event] = _Ration(now_s)
        if not ration.take(now_s):
            self._leave_out(kind, run_s or 0.0, now_s)
            if not self._tells_all:
                return
            tell = self._log.debug
        if run_s is not None:
            more["run_s"] = round(run_s, 4)
        lease = settlement.lease
        tell(event, task_id=lease.task_id, queue=lease.queue, attempt=lease.number, **more)

    def _leave_out(self, kind: str, run_s: float, now_s: float) -> None:
        if not self._left_out:
            self._since_s = now_s
        self._left_out[kind] += 1
        self._run_s = [self._run_s[0] + run_s, max(self._run_s[1], run_s)]


class _Ration:
    """How many lines may be written now."""

    __slots__ = ("_at_s", "_left")

    def __init__(self, now_s: float) -> None:
        self._left: float = BURST
        self._at_s = now_s

    def take(self, now_s: float) -> bool:
        self._left = min(BURST, self._left + (now_s - self._at_s) * LINES_PER_S)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _telling(text: str, outcome: Outcome) -> str:
    """An exception is the last line of a traceback; what the worker says comes before what it quotes."""
    lines = text.strip().splitlines() or [""]
    return lines[-1 if isinstance(outcome, Failed) else 0]
