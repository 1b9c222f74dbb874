"""Whom a crash is charged to: the task that is known to crash the process, or recovery."""

from appliance.process import experience
from appliance.process.experience import Experience
from appliance.process.runner import Request


def request(task_id: str, crashes: int = 0) -> Request:
    return Request(task_id, "q.a", "kind", b"{}", crashes, 3, crashes=crashes)


def test_a_first_crash_counts_whatever_has_succeeded_before() -> None:
    known = Experience(5)
    known.succeeded()

    assert known.crashed([request("a")]) is None


def test_a_crash_with_nothing_in_flight_counts() -> None:
    known = Experience(5)
    known.succeeded()

    assert known.crashed([]) is None


def test_a_second_crash_is_the_tasks_where_another_succeeded_in_between() -> None:
    known = Experience(5)
    known.crashed([request("a")])
    known.succeeded()

    again = request("a", 1)
    assert known.crashed([again]) is again


def test_a_second_crash_counts_where_nothing_succeeded_in_between() -> None:
    known = Experience(5)
    known.succeeded()
    known.crashed([request("a")])

    assert known.crashed([request("a", 1)]) is None


def test_a_crash_beside_other_tasks_counts_although_one_of_them_is_suspect() -> None:
    known = Experience(5)
    known.crashed([request("a")])
    known.succeeded()

    assert known.crashed([request("a", 1), request("b")]) is None


def test_a_task_that_crashed_another_worker_is_to_blame_here_where_tasks_have_succeeded() -> None:
    known = Experience(5)
    assert known.crashed([request("a", 1)]) is None, "nothing has ever succeeded here"

    known.succeeded()
    stranger = request("b", 2)
    assert known.crashed([stranger]) is stranger


def test_two_suspects_that_come_one_after_the_other_are_both_to_blame() -> None:
    known = Experience(5)
    for task_id in ("a", "b"):
        known.crashed([request(task_id)])
    for crashes in (1, 2, 3):
        known.succeeded()
        for task_id in ("a", "b"):
            assert known.crashed([request(task_id, crashes)]), f"crash {crashes} of {task_id}"


def test_without_a_success_suspects_are_blamed_for_no_more_crashes_than_there_are_restarts() -> None:
    known = Experience(2)
    suspects = [request(str(number), 1) for number in range(5)]
    known.succeeded()

    charged = [known.crashed([one]) for one in suspects]

    assert charged == [*suspects[:2], None, None, None]


def test_of_a_task_that_is_forgotten_the_crash_before_counts_as_an_unknown_one() -> None:
    known = Experience(5)
    known.succeeded()
    for number in range(experience.REMEMBERED + 1):
        known.crashed([request(str(number))])

    assert len(known._at_crash) == experience.REMEMBERED
    assert known.crashed([request("0", 1)]) is None
