"""When what is saved is taken on: debounce, saves during a reload, code that does not work, a dead worker."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.dev.live.reloading import LONGEST_S, QUIET_S, Action, Event, Reloading, State, advance

SAVED, RUNS, RELOADED, ENDED = Event.SAVED, Event.RUNS, Event.RELOADED, Event.ENDED


def played(*steps: tuple[float, Event | None]) -> tuple[State, list[tuple[float, Action]]]:
    """What was to be done when; a step is what happened at a time, None that it was only looked."""
    reloading = Reloading()
    done = []
    for now_s, event in steps:
        for action in ([reloading.on(event, now_s)] if event else []) + [reloading.tick(now_s)]:
            if action is not Action.NOTHING:
                done.append((now_s, action))
    return reloading.state, done


@pytest.mark.parametrize(
    ("steps", "state", "done"),
    [
        pytest.param(
            [(0, RUNS), (1, SAVED), (1.09, None), (1.1, None)],
            State.RELOADING,
            [(1.1, Action.RELOAD)],
            id="a save is taken on once it has been quiet",
        ),
        pytest.param(
            [(0, RUNS), (1, SAVED), (1.08, SAVED), (1.16, SAVED), (1.25, None), (1.27, None)],
            State.RELOADING,
            [(1.27, Action.RELOAD)],
            id="several files are one reload",
        ),
        pytest.param(
            [(0, RUNS), *((1 + each * 0.05, SAVED) for each in range(41))],
            State.RELOADING,
            [(3.0, Action.RELOAD)],
            id="a folder that is never quiet is taken on all the same",
        ),
        pytest.param(
            [(0, RUNS), (1, SAVED), (1.1, None), (2, SAVED), (3, None), (4, RELOADED)],
            State.RELOADING,
            [(1.1, Action.RELOAD), (4, Action.RELOAD)],
            id="an edit during a reload is one more after it",
        ),
        pytest.param(
            [(0, RUNS), (1, SAVED), (1.1, None), (2, RELOADED), (9, None)],
            State.SERVING,
            [(1.1, Action.RELOAD)],
            id="nothing is tried again by itself, broken or not",
        ),
        pytest.param(
            [(0, RUNS), (1, SAVED), (1.1, None), (2, RELOADED), (9, SAVED), (9.05, None), (9.1, None)],
            State.RELOADING,
            [(1.1, Action.RELOAD), (9.1, Action.RELOAD)],
            id="each save is waited for by itself",
        ),
        pytest.param(
            [(0, SAVED), (5, None), (6, RUNS)],
            State.RELOADING,
            [(6, Action.RELOAD)],
            id="an edit while the worker starts is taken on when it runs",
        ),
        pytest.param(
            [(0, ENDED), (5, None), (6, SAVED), (6.1, None)],
            State.STARTING,
            [(6.1, Action.START)],
            id="a worker that could not start is started by the next save",
        ),
        pytest.param(
            [(0, SAVED), (1, ENDED)],
            State.STARTING,
            [(1, Action.START)],
            id="also by one that came while it was about to end",
        ),
        pytest.param(
            [(0, RUNS), (1, SAVED), (1.05, ENDED), (1.1, None)],
            State.STARTING,
            [(1.1, Action.START)],
            id="or right before",
        ),
        pytest.param(
            [(0, RUNS), (1, SAVED), (1.1, None), (2, SAVED), (3, ENDED)],
            State.STARTING,
            [(1.1, Action.RELOAD), (3, Action.START)],
            id="a worker that ends in a reload takes what was saved in it",
        ),
    ],
)
def test_what_is_done_when(
    steps: list[tuple[float, Event | None]], state: State, done: list[tuple[float, Action]]
) -> None:
    assert played(*steps) == (state, [(pytest.approx(at), action) for at, action in done])


def test_what_cannot_come_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="RELOADED cannot happen while SERVING"):
        advance(State.SERVING, Event.RELOADED)


@pytest.mark.parametrize("state", State)
def test_a_save_is_understood_at_any_time_and_leads_to_work_sooner_or_later(state: State) -> None:
    """Whatever is under way ends in one of these ways."""
    after, _ = advance(state, SAVED)
    ends = {State.STARTING_CHANGED: (RUNS, ENDED), State.RELOADING_CHANGED: (RELOADED, ENDED)}

    for end in ends.get(after, ()):
        assert advance(after, end)[0] in (State.SETTLING, State.DOWN_SETTLING)
    assert after in {*ends, State.SETTLING, State.DOWN_SETTLING}


@given(st.lists(st.floats(0, 0.3), min_size=1, max_size=40))
def test_no_save_waits_longer_than_that(pauses: list[float]) -> None:
    reloading = Reloading()
    reloading.on(RUNS, 0)
    first_s, now_s = None, 0.0
    for pause_s in itertools.chain(pauses, [QUIET_S]):
        now_s += pause_s
        if reloading.tick(now_s) is Action.RELOAD:
            assert now_s - first_s <= LONGEST_S + max(pauses)
            return
        reloading.on(SAVED, now_s)
        first_s = now_s if first_s is None else first_s
    assert reloading.tick(now_s + QUIET_S) is Action.RELOAD
