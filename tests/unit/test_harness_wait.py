"""The poll loop: what it returns, when it gives up, and what it says then."""

import pytest

from harness import wait


class FakeTime:
    """Stands in for the module ``time``; sleeping is the only thing that takes time."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.naps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def fake_time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(wait, "time", fake)
    return fake


def test_what_is_true_already_is_returned_without_waiting(fake_time: FakeTime) -> None:
    assert wait.until(lambda: "here", 5, "it") == "here"
    assert fake_time.naps == []


def test_it_looks_again_until_the_answer_is_true(fake_time: FakeTime) -> None:
    answers = iter([0, None, "", 7])
    assert wait.until(lambda: next(answers), 5, "a number") == 7
    assert len(fake_time.naps) == 3


def test_an_exception_counts_as_not_yet(fake_time: FakeTime) -> None:
    results = iter([KeyError("x"), 3])

    def check() -> int:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    assert wait.until(check, 5, "a number") == 3


def test_it_gives_up_when_time_is_up_and_not_before(fake_time: FakeTime) -> None:
    with pytest.raises(wait.TimedOut):
        wait.until(lambda: False, 5, "it")
    assert fake_time.now == pytest.approx(1_005.0)
    assert max(fake_time.naps) <= wait.LONGEST_PAUSE_S


def test_a_timeout_of_zero_looks_once(fake_time: FakeTime) -> None:
    assert wait.until(lambda: 1, 0, "it") == 1
    with pytest.raises(wait.TimedOut):
        wait.until(lambda: 0, 0, "it")


def test_the_timeout_names_what_was_awaited_the_last_value_and_the_diagnosis(fake_time: FakeTime) -> None:
    with pytest.raises(wait.TimedOut) as caught:
        wait.until(list, 2, "three results", lambda: "the log's last line")
    assert str(caught.value) == "waited 2 s for three results; seen last: []\nthe log's last line"


def test_the_timeout_shows_the_last_exception_and_has_it_as_its_cause(fake_time: FakeTime) -> None:
    with pytest.raises(wait.TimedOut, match="seen last: ZeroDivisionError: ") as caught:
        wait.until(lambda: 1 // 0, 1, "the end")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_diagnosis_that_fails_does_not_hide_the_timeout(fake_time: FakeTime) -> None:
    with pytest.raises(wait.TimedOut, match=r"waited 1 s for it(.|\n)*no diagnosis: KeyError"):
        wait.until(lambda: False, 1, "it", lambda: {}["log"])


def test_a_time_out_is_a_failed_assertion(fake_time: FakeTime) -> None:
    with pytest.raises(AssertionError):
        wait.until(lambda: False, 1, "it")
