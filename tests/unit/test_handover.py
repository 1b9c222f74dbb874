"""How one process takes over from another, as a table."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.process.handover import CLOSED, Action, Event, State, advance

REDEPLOYING = (State.REDEPLOYING, State.CLOSING_AND_REDEPLOYING)

#: Written down a second time on purpose: what each event leads to, state by state.
AFTER: dict[State, dict[Event, tuple[State, Action]]] = {
    State.SERVING: {
        Event.AGED: (State.RECYCLING, Action.START_STANDBY),
        Event.AGED_WITHOUT_ROOM: (State.CLOSING, Action.CLOSE_INTAKE),
        Event.REDEPLOY: (State.REDEPLOYING, Action.START_STANDBY),
        Event.SERVING_ENDS: (State.SERVING, Action.NOTHING),
    },
    State.RECYCLING: {
        Event.REDEPLOY: (State.REDEPLOYING, Action.START_STANDBY),
        Event.STANDBY_READY: (State.SERVING, Action.TAKE_OVER),
        Event.STANDBY_ENDED: (State.SERVING, Action.POSTPONE),
        Event.SERVING_ENDS: (State.SERVING, Action.DROP_STANDBY),
    },
    State.CLOSING: {
        Event.REDEPLOY: (State.CLOSING_AND_REDEPLOYING, Action.START_STANDBY),
        Event.SERVING_ENDS: (State.SERVING, Action.NOTHING),
    },
    State.REDEPLOYING: {
        Event.STANDBY_READY: (State.SERVING, Action.TAKE_OVER),
        Event.STANDBY_ENDED: (State.SERVING, Action.REFUSE),
        Event.SERVING_ENDS: (State.REDEPLOYING, Action.NOTHING),
    },
    State.CLOSING_AND_REDEPLOYING: {
        Event.STANDBY_READY: (State.SERVING, Action.TAKE_OVER),
        Event.STANDBY_ENDED: (State.CLOSING, Action.REFUSE),
        Event.SERVING_ENDS: (State.REDEPLOYING, Action.NOTHING),
    },
}


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(State, Event)), ids=lambda value: value.name.lower()
)
def test_every_pair_leads_where_it_should_and_an_absent_one_raises(state: State, event: Event) -> None:
    after = AFTER[state].get(event)

    if after is None:
        with pytest.raises(RuntimeError, match=f"{event.name} cannot happen while {state.name}$"):
            advance(state, event)
    else:
        assert advance(state, event) == after


@given(st.lists(st.sampled_from(Event), max_size=60))
def test_whatever_happens_a_standby_is_there_when_one_is_planned_and_each_redeployment_is_answered_once(
    events: list[Event],
) -> None:
    state = State.SERVING
    standby: str | None = None
    asked = answered = 0

    for event in events:
        try:
            after, action = advance(state, event)
        except RuntimeError:
            continue
        asked += event is Event.REDEPLOY
        if event is Event.STANDBY_ENDED:
            assert standby is not None, "no standby, so none can end"
        match action:
            case Action.START_STANDBY:
                assert standby != "other code", "a redeployment is never pushed aside"
                standby = "other code" if event is Event.REDEPLOY else "same code"
            case Action.DROP_STANDBY:
                assert standby == "same code", "other code still has to show that it works"
                standby = None
            case Action.TAKE_OVER:
                answered += standby == "other code"
                standby = None
            case Action.POSTPONE:
                assert standby == "same code"
                standby = None
            case Action.REFUSE:
                assert standby == "other code"
                answered += 1
                standby = None
        assert (after in CLOSED) <= (state in CLOSED or action is Action.CLOSE_INTAKE)
        state = after
        assert (standby is not None) == (state is State.RECYCLING or state in REDEPLOYING)
        assert (standby == "other code") == (state in REDEPLOYING)
        assert asked - answered == (state in REDEPLOYING)


@pytest.mark.parametrize("state", State, ids=lambda state: state.name.lower())
def test_a_fresh_process_opens_the_intake_again(state: State) -> None:
    after, _ = advance(state, Event.SERVING_ENDS)

    assert after not in CLOSED
