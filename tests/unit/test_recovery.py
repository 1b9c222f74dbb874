"""Restarts as the specification has them: counted, delayed, given up, forgotten after a stable run."""

import math
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.config.settings import RecoverySettings
from appliance.process.recovery import Decision, Event, GiveUp, Phase, Recovery, Start, Wait

SETTINGS = RecoverySettings(
    max_restarts=5, initial_delay_s=1.0, max_delay_s=10.0, backoff_factor=2.0, cooldown_period_s=600.0
)


def starting(settings: RecoverySettings = SETTINGS) -> Recovery:
    recovery = Recovery(settings)
    assert recovery.on(Event.START, 0.0) == Start()
    return recovery


def running(settings: RecoverySettings = SETTINGS) -> Recovery:
    recovery = starting(settings)
    recovery.on(Event.READY, 0.0)
    return recovery


def fail(recovery: Recovery, now_s: float) -> Decision:
    return recovery.on(Event.FAILED, now_s)


def start_again(recovery: Recovery) -> float:
    """Let the wait pass; returns when the start happened."""
    due_s = recovery.due_s
    assert due_s is not None
    assert recovery.on(Event.DUE, due_s) == Start()
    return due_s


def delays_until_degraded(recovery: Recovery, gets_ready: bool) -> list[float]:
    """Crash at once, again and again."""
    delays, now_s = [], 0.0
    while True:
        decision = fail(recovery, now_s)
        if decision == GiveUp():
            return delays
        assert isinstance(decision, Wait)
        assert decision.restart == len(delays) + 1
        assert decision.due_s == now_s + decision.delay_s
        delays.append(decision.delay_s)
        now_s = start_again(recovery)
        if gets_ready:
            recovery.on(Event.READY, now_s)


@pytest.mark.parametrize("gets_ready", [True, False], ids=["crashes when ready", "never gets ready"])
def test_five_restarts_are_attempted_each_after_twice_the_delay_and_the_failure_after_them_is_final(
    gets_ready: bool,
) -> None:
    recovery = running() if gets_ready else starting()

    delays = delays_until_degraded(recovery, gets_ready)

    assert delays == [1.0, 2.0, 4.0, 8.0, 10.0]
    assert recovery.phase is Phase.DEGRADED
    assert recovery.label() == "degraded"
    assert recovery.due_s is None
    assert recovery.total_restarts == 5
    assert recovery.consecutive_fails(0.0) == 6


@given(
    max_restarts=st.integers(0, 30),
    initial_s=st.floats(0, 1e4),
    longest_s=st.floats(0, 1e6),
    factor=st.floats(0, 1e6),
)
@example(max_restarts=30, initial_s=1.0, longest_s=300.0, factor=1e300)
@example(max_restarts=3, initial_s=0.0, longest_s=300.0, factor=1e300)
def test_the_delay_of_restart_n_is_the_first_times_factor_to_the_n_minus_1_up_to_the_longest(
    max_restarts: int, initial_s: float, longest_s: float, factor: float
) -> None:
    settings = RecoverySettings(True, max_restarts, initial_s, longest_s, factor, cooldown_period_s=1e12)

    delays = delays_until_degraded(running(settings), gets_ready=True)

    assert len(delays) == max_restarts
    expected = initial_s
    for delay_s in delays:
        assert math.isclose(delay_s, min(expected, longest_s), rel_tol=1e-9, abs_tol=1e-9)
        expected *= factor


@pytest.mark.parametrize(
    "settings", [replace(SETTINGS, max_restarts=0), replace(SETTINGS, enabled=False)], ids=["0", "disabled"]
)
@pytest.mark.parametrize("ready", [True, False], ids=["running", "starting"])
def test_without_restarts_the_first_failure_is_final(settings: RecoverySettings, ready: bool) -> None:
    recovery = running(settings) if ready else starting(settings)

    assert fail(recovery, 5.0) == GiveUp()
    assert recovery.label() == "degraded"
    assert recovery.total_restarts == 0


@pytest.mark.parametrize(
    ("stable_s", "restart", "delay_s"),
    [(599.9, 3, 4.0), (600.0, 1, 1.0), (86_400.0, 1, 1.0)],
    ids=["too short", "just long enough", "long"],
)
def test_a_cooldown_period_of_running_resets_count_and_delay(
    stable_s: float, restart: int, delay_s: float
) -> None:
    recovery = running()
    fail(recovery, 0.0)
    recovery.on(Event.READY, start_again(recovery))
    fail(recovery, 10.0)
    ready_s = start_again(recovery) + 20.0
    recovery.on(Event.READY, ready_s)
    assert recovery.consecutive_fails(ready_s) == 2

    decision = fail(recovery, ready_s + stable_s)

    assert isinstance(decision, Wait)
    assert (decision.restart, decision.delay_s) == (restart, delay_s)
    assert recovery.total_restarts == 2


def test_the_consecutive_failures_is_forgotten_once_cooled_down_even_before_the_next_failure() -> None:
    recovery = running()
    fail(recovery, 0.0)
    recovery.on(Event.READY, start_again(recovery))

    assert recovery.consecutive_fails(600.9) == 1
    assert recovery.consecutive_fails(601.0) == 0


def test_the_time_to_get_ready_does_not_count_as_running() -> None:
    recovery = running()
    fail(recovery, 0.0)
    start_again(recovery)

    decision = fail(recovery, 10_000.0)

    assert isinstance(decision, Wait)
    assert decision.restart == 2


def test_it_is_recovering_from_the_failure_until_ready_again() -> None:
    recovery = running()
    assert recovery.label() == "idle"

    fail(recovery, 0.0)
    assert recovery.label() == "recovering"

    start_again(recovery)
    assert recovery.label() == "recovering"

    recovery.on(Event.READY, 5.0)
    assert recovery.label() == "idle"
    assert recovery.consecutive_fails(5.0) == 1


def test_a_planned_replacement_starts_at_once_and_counts_nothing() -> None:
    recovery = running()

    recovery.on(Event.REPLACE, 5.0)
    assert recovery.on(Event.ENDED, 6.0) == Start()
    recovery.on(Event.READY, 7.0)

    assert recovery.total_restarts == 0
    assert recovery.consecutive_fails(7.0) == 0
    assert recovery.label() == "idle"


def test_a_replacement_that_does_not_get_ready_counts() -> None:
    recovery = running()
    recovery.on(Event.REPLACE, 5.0)
    recovery.on(Event.ENDED, 6.0)

    decision = fail(recovery, 7.0)

    assert isinstance(decision, Wait)
    assert decision.restart == 1


def test_planned_replacements_do_not_interrupt_the_cooldown() -> None:
    recovery = running()
    fail(recovery, 0.0)
    recovery.on(Event.READY, start_again(recovery))

    recovery.on(Event.REPLACE, 300.0)
    recovery.on(Event.ENDED, 301.0)
    recovery.on(Event.READY, 302.0)

    assert recovery.consecutive_fails(601.0) == 0


def test_a_start_announced_too_early_goes_on_waiting() -> None:
    recovery = running()
    wait = fail(recovery, 0.0)

    assert recovery.on(Event.DUE, 0.999) == wait
    assert recovery.phase is Phase.WAITING
    assert recovery.total_restarts == 0
    assert recovery.on(Event.DUE, 1.0) == Start()
    assert recovery.total_restarts == 1


@pytest.mark.parametrize(
    ("recovery", "event"),
    [
        (Recovery(SETTINGS), Event.READY),
        (Recovery(SETTINGS), Event.FAILED),
        (starting(), Event.START),
        (starting(), Event.DUE),
        (starting(), Event.REPLACE),
        (running(), Event.READY),
        (running(), Event.ENDED),
        (running(replace(SETTINGS, max_restarts=0)), Event.DUE),
    ],
    ids=lambda value: value.name if isinstance(value, Event) else value.phase.name,
)
def test_a_event_that_cannot_come_raises_and_changes_nothing(recovery: Recovery, event: Event) -> None:
    before = recovery.phase

    with pytest.raises(RuntimeError, match=f"{event.name} cannot happen while {before.name}"):
        recovery.on(event, 1.0)

    assert recovery.phase is before


def test_other_code_that_works_ends_a_degraded_state_and_its_consecutive_failures() -> None:
    recovery = running(replace(SETTINGS, max_restarts=0))
    fail(recovery, 0.0)

    assert recovery.on(Event.RENEWED, 1.0) is None
    recovery.on(Event.READY, 1.0)

    assert (recovery.phase, recovery.label(), recovery.consecutive_fails(1.0)) == (Phase.RUNNING, "idle", 0)
    assert recovery.total_restarts == 0


def test_other_code_that_works_calls_off_a_restart_that_waits() -> None:
    recovery = running(SETTINGS)
    fail(recovery, 0.0)
    assert recovery.due_s is not None

    recovery.on(Event.RENEWED, 0.1)

    assert recovery.due_s is None


def test_degraded_is_final_but_for_the_stop_and_other_code() -> None:
    recovery = running(replace(SETTINGS, max_restarts=0))
    fail(recovery, 0.0)

    for event in set(Event) - {Event.STOP, Event.RENEWED}:
        with pytest.raises(RuntimeError):
            recovery.on(event, 1.0)
    recovery.on(Event.STOP, 2.0)

    assert recovery.phase is Phase.STOPPED


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[Event, float]]:
    """Events with growing times; which of them can come is decided while they are played."""
    events = draw(st.lists(st.tuples(st.sampled_from(Event), st.floats(0, 1000)), max_size=60))
    now_s, life = 0.0, []
    for event, later_s in events:
        now_s += later_s
        life.append((event, now_s))
    return life


@given(
    lives(),
    st.builds(
        RecoverySettings,
        enabled=st.booleans(),
        max_restarts=st.integers(0, 4),
        initial_delay_s=st.floats(0, 100),
        max_delay_s=st.floats(0, 100),
        cooldown_period_s=st.floats(0, 2000),
    ),
)
def test_whatever_comes_the_invariants_hold(
    life: list[tuple[Event, float]], settings: RecoverySettings
) -> None:
    recovery = Recovery(settings)
    alive = stopped = False
    for event, now_s in life:
        before = recovery.phase
        try:
            decision = recovery.on(event, now_s)
        except RuntimeError:
            assert recovery.phase is before
            continue
        stopped |= event is Event.STOP
        if event in (Event.FAILED, Event.CRASHED_BY_TASK, Event.ENDED):
            alive = False
        if decision == Start():
            assert not alive, "two processes at once"
            assert not stopped, "a start after the stop"
            alive = True
        if event is Event.FAILED and not stopped:
            assert isinstance(decision, Wait | GiveUp)
        if isinstance(decision, Wait):
            assert recovery.due_s == decision.due_s
            assert decision.restart <= settings.max_restarts
            assert 0 <= decision.delay_s <= settings.max_delay_s
        assert (recovery.due_s is not None) == (recovery.phase is Phase.WAITING)
        assert stopped == (recovery.phase is Phase.STOPPED)
        assert recovery.consecutive_fails(now_s) <= settings.max_restarts + 1


def test_a_crash_that_a_task_is_to_blame_for_is_not_counted_and_waits_the_first_delay() -> None:
    recovery = running()
    fail(recovery, 0.0)
    fail_again_s = start_again(recovery)
    recovery.on(Event.READY, fail_again_s)
    fail(recovery, fail_again_s)
    recovery.on(Event.READY, start_again(recovery))

    decision = recovery.on(Event.CRASHED_BY_TASK, 10.0)

    assert decision == Wait(11.0, 1.0, 0)
    assert recovery.consecutive_fails(10.0) == 2
    assert recovery.label() == "recovering"
    recovery.on(Event.READY, start_again(recovery))
    assert recovery.total_restarts == 3
    assert fail(recovery, 20.0) == Wait(24.0, 4.0, 3), "the next one that counts is the third"


def test_crashes_that_tasks_are_to_blame_for_never_degrade_and_do_not_interrupt_the_cooldown() -> None:
    recovery = running()
    fail(recovery, 0.0)
    recovery.on(Event.READY, start_again(recovery))

    for minute in range(1, 10):
        recovery.on(Event.CRASHED_BY_TASK, minute * 60.0)
        recovery.on(Event.READY, start_again(recovery))

    assert recovery.consecutive_fails(600.0) == 1
    assert recovery.consecutive_fails(601.0) == 0


@pytest.mark.parametrize(
    "settings", [replace(SETTINGS, max_restarts=0), replace(SETTINGS, enabled=False)], ids=["0", "disabled"]
)
def test_where_no_restart_is_allowed_a_crash_is_final_whoever_is_to_blame(settings: RecoverySettings) -> None:
    recovery = running(settings)

    assert recovery.on(Event.CRASHED_BY_TASK, 5.0) == GiveUp()
    assert recovery.label() == "degraded"
