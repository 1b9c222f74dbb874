"""The life of one task process, as a table."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.process.lifecycle import FINAL, Event, Stage, advance, unfinished
from appliance.process.outcome import Crashed, Returned

#: Written down a second time on purpose: what follows each event, stage by stage.
READY, BROKEN, DISMISSED, EXITED = Event.READY, Event.BROKEN, Event.DISMISSED, Event.EXITED
AFTER: dict[Stage, dict[Event, Stage]] = {
    Stage.STARTING: {
        READY: Stage.READY,
        BROKEN: Stage.FAILING,
        DISMISSED: Stage.LEAVING,
        EXITED: Stage.START_FAILED,
    },
    Stage.READY: {
        READY: Stage.READY,
        BROKEN: Stage.BREAKING,
        DISMISSED: Stage.LEAVING,
        EXITED: Stage.CRASHED,
    },
    Stage.FAILING: {**dict.fromkeys((READY, BROKEN, DISMISSED), Stage.FAILING), EXITED: Stage.START_FAILED},
    Stage.BREAKING: {**dict.fromkeys((READY, BROKEN, DISMISSED), Stage.BREAKING), EXITED: Stage.CRASHED},
    Stage.LEAVING: {**dict.fromkeys((READY, BROKEN, DISMISSED), Stage.LEAVING), EXITED: Stage.LEFT},
    Stage.START_FAILED: {},
    Stage.CRASHED: {},
    Stage.LEFT: {},
}


@pytest.mark.parametrize(
    ("stage", "event"), list(itertools.product(Stage, Event)), ids=lambda value: value.name.lower()
)
def test_every_pair_leads_where_it_should_and_an_absent_one_raises(stage: Stage, event: Event) -> None:
    after = AFTER[stage].get(event)

    if after is None:
        with pytest.raises(
            RuntimeError, match=f"{event.name} cannot happen to a process that is {stage.name}"
        ):
            advance(stage, event)
    else:
        assert advance(stage, event) is after


@given(st.lists(st.sampled_from([READY, BROKEN, DISMISSED])))
def test_whatever_happens_on_the_way_the_exit_ends_it(events: list[Event]) -> None:
    stage = Stage.STARTING

    for event in events:
        stage = advance(stage, event)
        assert stage not in FINAL

    assert advance(stage, EXITED) in FINAL


@given(st.lists(st.sampled_from([READY, BROKEN, DISMISSED])))
def test_once_asked_to_leave_it_has_left_however_it_goes_about_it(events: list[Event]) -> None:
    stage = advance(Stage.READY, DISMISSED)

    for event in events:
        stage = advance(stage, event)

    assert advance(stage, EXITED) is Stage.LEFT


def test_only_a_crash_is_held_against_the_tasks_of_a_process() -> None:
    assert unfinished(Stage.CRASHED, "why") == Crashed("why")
    assert unfinished(Stage.START_FAILED, "why") == Returned("why")
    assert unfinished(Stage.LEFT, "why") == Returned("why")
