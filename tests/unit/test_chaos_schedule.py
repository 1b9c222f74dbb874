"""Faults of a run of chaos that ends before its time."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from harness.chaos import inject
from harness.chaos.plan import PlannedFault
from harness.chaos.schedule import Schedule
from harness.evidence.timeline import Timeline


def test_what_is_in_effect_is_taken_back_the_last_one_first(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    @contextlib.contextmanager
    def injected(fault: PlannedFault, _: object) -> Iterator[None]:
        done.append(f"{fault.target} begins")
        try:
            yield
        finally:
            done.append(f"{fault.target} ends")

    monkeypatch.setattr(inject, "inject", injected)
    nothing: Any = None
    faults = [PlannedFault(0.0, 600.0, "a fault", target) for target in ("0", "1")]

    with contextlib.closing(Schedule(faults, nothing, Timeline())) as schedule:
        schedule.tick()
        assert not schedule.quiet

    assert done == ["0 begins", "1 begins", "1 ends", "0 ends"]
    assert schedule.quiet
