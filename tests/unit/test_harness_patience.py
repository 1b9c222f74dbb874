"""Waiting for a worker ends with the worker."""

from typing import Any, cast

import pytest

from harness import wait
from harness.sandbox import patience
from harness.sandbox.runtimes.protocol import Worker


class _Stub:
    name = "worker-1"

    def __init__(self, *statuses: int | None) -> None:
        self._statuses = list(statuses)

    @property
    def exit_status(self) -> int | None:
        return self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]

    def tail(self) -> str:
        return "its last line"


def _worker(*statuses: int | None) -> Worker:
    return cast("Worker", _Stub(*statuses))


def test_the_wait_ends_with_the_worker_and_says_how_its_log_ends() -> None:
    with pytest.raises(patience.WorkerEnded, match=r"(?s)exit status 7 while waiting for it.*its last line"):
        patience.until(_worker(None, 7), lambda: False, 600, "it")


def test_what_the_worker_did_up_to_its_end_counts() -> None:
    assert patience.until(_worker(0), lambda: "done", 600, "it") == "done"


def test_a_check_that_cannot_look_any_more_does_not_hide_the_end() -> None:
    def look() -> Any:
        raise FileNotFoundError

    with pytest.raises(patience.WorkerEnded):
        patience.until(_worker(None, 1), look, 600, "it")


def test_an_error_that_is_named_fatal_ends_the_wait_as_it_is() -> None:
    def look() -> Any:
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        patience.until(_worker(None), look, 600, "it", fatal=(KeyError,))


def test_a_worker_that_lives_on_is_waited_for_until_the_time_is_up() -> None:
    with pytest.raises(wait.TimedOut, match="its last line") as caught:
        patience.until(_worker(None), lambda: 0, 0, "it")

    assert not isinstance(caught.value, patience.WorkerEnded)
