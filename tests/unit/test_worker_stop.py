"""The steps of a stop: each is done, whatever those before it have met."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from appliance.event import Event
from appliance.lane import Lane
from appliance.worker import Worker


class Steps:
    """What a worker stops, which notes it; ``failing`` are the steps that raise."""

    def __init__(self, *failing: str) -> None:
        self.done: list[str] = []
        self._failing = failing

    def __call__(self, step: str) -> None:
        self.done.append(step)
        if step in self._failing:
            raise OSError(step)


@pytest.fixture
def worker_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Steps], Worker]:
    def make(steps: Steps) -> Worker:
        monkeypatch.setattr(Lane, "drain", lambda lane, _hurry: steps(f"drain {lane.parent}"))
        monkeypatch.setattr(Lane, "stop", lambda lane: steps(f"stop {lane.parent}"))
        return _worker(steps)

    return make


def _lane(name: str) -> Lane:
    lane = Lane.__new__(Lane)
    lane.parent = name
    return lane


def _worker(steps: Steps) -> Worker:
    worker = Worker.__new__(Worker)
    worker._asked = SimpleNamespace(hurry=Event())  # type: ignore[assignment]
    worker._lanes = {name: _lane(name) for name in ("a", "b")}
    worker._safekeeping = SimpleNamespace(finish=lambda: steps("keep outcomes"))  # type: ignore[assignment]
    worker._presence = SimpleNamespace(leave=lambda: steps("leave"))  # type: ignore[assignment]
    worker._endpoints = SimpleNamespace(stop=lambda: steps("close endpoints"))  # type: ignore[assignment]
    return worker


ALL = ["drain a", "drain b", "stop a", "stop b", "keep outcomes", "leave", "close endpoints"]


def test_the_steps_have_their_order(worker_of: Callable[[Steps], Worker]) -> None:
    steps = Steps()
    worker_of(steps)._shut_down()
    assert steps.done == ALL


@pytest.mark.parametrize("failing", ALL)
def test_one_that_fails_keeps_no_other_from_being_done(
    failing: str, worker_of: Callable[[Steps], Worker]
) -> None:
    steps = Steps(failing)
    with pytest.raises(OSError, match=failing):
        worker_of(steps)._shut_down()
    assert steps.done == ALL
