"""The life of one task process, as a table."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.process.lifecycle import FINAL, Stage, Turn, advance, unfinished
from appliance.process.work import Died, Returned

#: Written down a second time on purpose: what follows each turn, stage by stage.
READY, BROKEN, DISMISSED, EXITED = Turn.READY, Turn.BROKEN, Turn.DISMISSED, Turn.EXITED
AFTER: dict[Stage, dict[Turn, Stage]] = {
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
    ("stage", "turn"), list(itertools.product(Stage, Turn)), ids=lambda value: value.name.lower()
)
def test_every_pair_leads_where_it_should_and_an_absent_one_raises(stage: Stage, turn: Turn) -> None:
    after = AFTER[stage].get(turn)

    if after is None:
        with pytest.raises(
            RuntimeError, match=f"{turn.name} cannot happen to a process that is {stage.name}"
        ):
            advance(stage, turn)
    else:
        assert advance(stage, turn) is after


@given(st.lists(st.sampled_from([READY, BROKEN, DISMISSED])))
def test_whatever_happens_on_the_way_the_exit_ends_it(turns: list[Turn]) -> None:
    stage = Stage.STARTING

    for turn in turns:
        stage = advance(stage, turn)
        assert stage not in FINAL

    assert advance(stage, EXITED) in FINAL


@given(st.lists(st.sampled_from([READY, BROKEN, DISMISSED])))
def test_once_asked_to_leave_it_has_left_however_it_goes_about_it(turns: list[Turn]) -> None:
    stage = advance(Stage.READY, DISMISSED)

    for turn in turns:
        stage = advance(stage, turn)

    assert advance(stage, EXITED) is Stage.LEFT


def test_only_a_crash_is_held_against_the_tasks_of_a_process() -> None:
    assert unfinished(Stage.CRASHED, "why") == Died("why")
    assert unfinished(Stage.START_FAILED, "why") == Returned("why")
    assert unfinished(Stage.LEFT, "why") == Returned("why")
