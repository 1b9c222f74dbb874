"""What becomes of a task, given what came of its run."""

import pytest

from appliance.config.settings import RetrySettings, TaskSettings
from appliance.process.outcome import (
    Cancelled,
    Crashed,
    Failed,
    Lapsed,
    Outcome,
    Returned,
    Succeeded,
    TimedOut,
)
from appliance.queue.message import Lease, Stamps, Task
from appliance.queue.settlement import MAX_ERROR_CHARS, Archive, Complete, Policy, Retry, Return

LEASE = Lease("q.a", "t1", "me", "1")
TASK = Task(
    lease=LEASE,
    type="q.a",
    payload=b"{}",
    max_retry=3,
    retried=0,
    timeout_s=None,
    deadline_wall_s=None,
    retention_s=0,
    unique_key="",
    pending_since_wall_s=None,
    stamps=Stamps(),
    message=None,
)
POLICY = Policy(RetrySettings(), TaskSettings())
NOW = 1_700_000_000.0


def test_a_result_that_the_server_would_take_for_base64_is_stored_with_a_blank() -> None:
    assert POLICY.settle(TASK, Succeeded(b"null"), NOW) == Complete(LEASE, b"null ", 86_400.0, "")


def test_a_success_completes_the_task_with_its_result_for_the_default_lifetime() -> None:
    assert POLICY.settle(TASK, Succeeded(b"42"), NOW) == Complete(LEASE, b"42", 86_400.0, "")


@pytest.mark.parametrize(
    ("task", "ttl_s"),
    [
        pytest.param(TASK._replace(stamps=Stamps(ttl_completed_s=5)), 5, id="stamp"),
        pytest.param(TASK._replace(stamps=Stamps(ttl_completed_s=0)), 0, id="a stamp of 0 is for ever"),
        pytest.param(TASK._replace(retention_s=7), 7, id="the message's retention"),
        pytest.param(TASK._replace(retention_s=7, stamps=Stamps(ttl_completed_s=5)), 5, id="stamp wins"),
    ],
)
def test_the_tasks_own_lifetime_wins_over_the_default(task: Task, ttl_s: float) -> None:
    settled = POLICY.settle(task, Succeeded(b"1"), NOW)
    assert isinstance(settled, Complete)
    assert settled.ttl_s == ttl_s


@pytest.mark.parametrize(("stamp_s", "ttl_s"), [(None, 9), (5, 5), (0, 0)])
def test_a_lifetime_that_was_set_wins_over_the_messages_retention_and_not_over_a_stamp(
    stamp_s: float | None, ttl_s: float
) -> None:
    policy = Policy(RetrySettings(), TaskSettings(ttl_completed_s=9, ttl_completed_is_set=True))
    task = TASK._replace(retention_s=86_400, stamps=Stamps(ttl_completed_s=stamp_s))
    settled = policy.settle(task, Succeeded(b"1"), NOW)
    assert isinstance(settled, Complete)
    assert settled.ttl_s == ttl_s


@pytest.mark.parametrize(
    "outcome",
    [Failed("boom", retry=True), Crashed("SIGKILL"), TimedOut("timeout")],
    ids=lambda o: type(o).__name__,
)
def test_a_failure_that_may_pass_spends_one_retry(outcome: Outcome) -> None:
    settled = POLICY.settle(TASK._replace(retried=1), outcome, NOW)
    assert isinstance(settled, Retry)
    assert settled.retried == 2


@pytest.mark.parametrize(("retried", "delay_s"), [(0, 10), (1, 160), (2, 810), (3, 2560), (24, 86_400)])
def test_the_delay_of_the_nth_retry_is_n_to_the_fourth_times_ten_seconds_up_to_a_day(
    retried: int, delay_s: float
) -> None:
    settled = POLICY.settle(TASK._replace(max_retry=99, retried=retried), Failed("x", retry=True), NOW)
    assert isinstance(settled, Retry)
    assert settled.delay_s == delay_s


def test_without_retries_left_the_failure_archives() -> None:
    settled = POLICY.settle(TASK._replace(retried=3), Crashed("SIGSEGV"), NOW)
    assert settled == Archive(LEASE, 259_200.0, "SIGSEGV", b"", 1)


def test_a_crash_is_counted_beside_the_retry_that_it_costs() -> None:
    settled = POLICY.settle(TASK._replace(crashes=1, retried=1), Crashed("SIGSEGV"), NOW)
    assert isinstance(settled, Retry)
    assert (settled.crashes, settled.error_msg) == (2, "SIGSEGV")


@pytest.mark.parametrize("retried", [3, 4])
def test_the_last_of_several_crashes_archives_the_task_with_their_number(retried: int) -> None:
    settled = POLICY.settle(TASK._replace(crashes=3, retried=retried), Crashed("SIGSEGV"), NOW)
    assert settled == Archive(LEASE, 259_200.0, "crashed the process 4 times; SIGSEGV", b"", 4)


@pytest.mark.parametrize(
    "outcome", [Lapsed("its worker died"), TimedOut("timeout"), Failed("x", retry=True)], ids=str
)
def test_what_is_no_crash_of_the_task_process_is_not_counted_as_one(outcome: Outcome) -> None:
    settled = POLICY.settle(TASK._replace(crashes=1), outcome, NOW)
    assert isinstance(settled, Retry)
    assert settled.crashes == 1


def test_a_failure_flagged_as_final_archives_with_retries_left() -> None:
    assert isinstance(POLICY.settle(TASK, Failed("bad input", retry=False), NOW), Archive)


def test_the_policy_always_retries_what_was_flagged_as_final() -> None:
    always = Policy(RetrySettings(policy="always"), TaskSettings())
    assert isinstance(always.settle(TASK, Failed("bad input", retry=False), NOW), Retry)


def test_a_cancelled_task_is_archived() -> None:
    assert isinstance(POLICY.settle(TASK, Cancelled("asked to"), NOW), Archive)


def test_what_was_not_the_tasks_fault_goes_back_uncharged() -> None:
    assert POLICY.settle(TASK._replace(retried=3), Returned("stopping"), NOW) == Return(LEASE, "stopping")


def test_a_legacy_task_without_a_count_has_the_settings_retries() -> None:
    policy = Policy(RetrySettings(max_retry=1), TaskSettings())
    assert policy.max_retry(TASK._replace(max_retry=None)) == 1


def test_the_messages_own_count_rules_unless_the_setting_was_set_to_cap_it() -> None:
    assert Policy(RetrySettings(max_retry=2), TaskSettings()).max_retry(TASK._replace(max_retry=25)) == 25
    capped = Policy(RetrySettings(max_retry=2, max_retry_caps=True), TaskSettings())
    assert capped.max_retry(TASK._replace(max_retry=25)) == 2
    assert capped.max_retry(TASK._replace(max_retry=1)) == 1


def test_an_endless_error_text_is_cut() -> None:
    settled = POLICY.settle(TASK, Failed("x" * (MAX_ERROR_CHARS + 1), retry=True), NOW)
    assert isinstance(settled, Retry)
    assert len(settled.error_msg) == MAX_ERROR_CHARS


def test_half_a_surrogate_pair_in_an_error_does_not_make_it_unwritable() -> None:
    settled = POLICY.settle(TASK, Failed("bad \ud800 text", retry=True), NOW)
    assert isinstance(settled, Retry)
    assert settled.error_msg == "bad ? text"


@pytest.mark.parametrize(
    ("stamp_s", "setting_s", "waited_s", "overdue"),
    [
        (None, 0, 1e6, False),
        (None, 10, 11, True),
        (None, 10, 9, False),
        (20, 10, 11, False),
        (0, 10, 11, False),
        (5, 0, 6, True),
    ],
)
def test_a_task_that_waited_longer_than_its_pending_timeout_is_overdue(
    stamp_s: float | None, setting_s: float, waited_s: float, overdue: bool
) -> None:
    policy = Policy(RetrySettings(), TaskSettings(pending_timeout_s=setting_s))
    task = TASK._replace(pending_since_wall_s=NOW - waited_s, stamps=Stamps(pending_timeout_s=stamp_s))
    assert (policy.overdue(task, NOW) is not None) == overdue


@pytest.mark.parametrize(
    ("timeout_s", "stamp_s", "setting_s", "limit_s"),
    [
        (None, 0.5, 10, 0.5),
        (None, None, 0, None),
        (300, None, 0, 300),
        (300, 20, 0, 20),
        (300, None, 60, 60),
        (30, None, 60, 30),
        (30, 0, 60, None),
        (30, 40, 20, 40),
    ],
)
def test_a_stamped_limit_of_a_run_decides_alone_and_without_one_the_earliest_of_the_others(
    timeout_s: float | None, stamp_s: float | None, setting_s: float, limit_s: float | None
) -> None:
    policy = Policy(RetrySettings(), TaskSettings(active_timeout_s=setting_s))
    task = TASK._replace(timeout_s=timeout_s, stamps=Stamps(active_timeout_s=stamp_s))
    assert policy.run_limit_s(task) == limit_s
