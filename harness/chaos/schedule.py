"""The planned faults of a run, each put into effect when its time comes and taken back when it is over."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from harness.chaos import inject
from harness.chaos.inject import NotHere, Rig
from harness.chaos.plan import REDIS, PlannedFault
from harness.evidence.history import Trouble
from harness.evidence.timeline import Timeline


@dataclass(frozen=True)
class _InEffect:
    """``until_s`` counts from the beginning of the run, ``began_s`` is unix time."""

    fault: PlannedFault
    until_s: float
    began_s: float
    effect: ExitStack


class Schedule:
    """Driven by :meth:`tick`. What was done is in :attr:`troubles` and :attr:`injected`."""

    def __init__(self, faults: Sequence[PlannedFault], rig: Rig, timeline: Timeline) -> None:
        self._waiting = list(faults)
        self._rig = rig
        self._timeline = timeline
        self._in_effect: list[_InEffect] = []
        self._begun_s = time.monotonic()
        self.troubles: list[Trouble] = []
        self.injected: Counter[str] = Counter()
        #: What could not be done here, each with the reason.
        self.skipped: dict[str, None] = {}

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun_s

    @property
    def quiet(self) -> bool:
        """Whether no fault is in effect."""
        return not self._in_effect

    def tick(self) -> None:
        """Begin and end what is due."""
        elapsed_s = self.elapsed_s
        while self._waiting and self._waiting[0].at_s <= elapsed_s:
            self._begin(self._waiting.pop(0))
        for each in [each for each in self._in_effect if each.until_s <= elapsed_s]:
            self._end(each)

    def close(self) -> None:
        """Take back what is in effect, where the run ends before its time."""
        with ExitStack() as effects:
            while self._in_effect:
                effects.push(self._in_effect.pop(0).effect)

    def _begin(self, fault: PlannedFault) -> None:
        began_s, effect = time.time(), ExitStack()
        try:
            effect.enter_context(inject.inject(fault, self._rig))
        except NotHere as exc:
            self.skipped[f"{fault.kind}: {exc}"] = None
            return
        self._timeline.record(
            "faults", "fault.began", fault=fault.kind, target=_target(fault), **fault.parameters
        )
        self.injected[fault.kind] += 1
        # From when it is in effect: a power cut takes a moment to bring about.
        until_s = max(fault.at_s, self.elapsed_s) + fault.for_s
        self._in_effect.append(_InEffect(fault, until_s, began_s, effect))

    def _end(self, ended: _InEffect) -> None:
        self._in_effect.remove(ended)
        ended.effect.close()
        fault = ended.fault
        self._timeline.record("faults", "fault.ended", fault=fault.kind, target=_target(fault))
        lingers_s = inject.lingers_s(fault.kind)
        self.troubles.append(Trouble(fault.kind, fault.target, ended.began_s, time.time(), lingers_s))


def _target(fault: PlannedFault) -> str:
    return fault.target if fault.target == REDIS else f"worker {fault.target}"
