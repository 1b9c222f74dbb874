"""Payloads and results of many megabytes: the event loop goes on, and memory holds them once or twice."""

import json
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import pytest

from appliance.process.outcome import Failed, Succeeded
from harness.bench.sizes.run import ECHO
from tests.process.bench import Bench

MB = 1_000_000
#: Seconds of CPU that the loop may work for one thing, on a machine four times as slow as the goal's (50 ms).
LONGEST_S = 0.2


class Held:
    """``longest_s``: the most CPU time that this thread used before others had a turn."""

    longest_s = 0.0


@contextmanager
def held() -> Iterator[Held]:
    """CPU time and not the clock's: what else the machine does is no fault of the loop's."""
    found, done = Held(), False

    def look() -> None:
        before_s = time.thread_time()
        while not done:
            gevent.sleep(0.001)
            now_s = time.thread_time()
            found.longest_s, before_s = max(found.longest_s, now_s - before_s), now_s

    looking = gevent.spawn(look)
    gevent.sleep(0)
    yield found
    done = True
    looking.join()


def payload(megabytes: int) -> bytes:
    """Many small values: what a parser makes of it takes ten times as much."""
    one = json.dumps({"id": 12345, "name": "a name", "values": [1.5, 2.25, None, True]}).encode()
    return b"[" + b", ".join([one] * (megabytes * MB // (len(one) + 2))) + b"]"


def test_while_a_large_payload_comes_and_goes_the_loop_turns_and_memory_holds_little(bench: Bench) -> None:
    runner = bench.long_running(ECHO)
    bench.ready(runner)
    bench.submit(runner, "first", payload(1))  # what is made once
    bench.outcome("first")
    large = payload(20)
    tracemalloc.start()
    try:
        with held() as loop:
            bench.submit(runner, "large", large)
            # Five seconds where nothing else runs: each allocation is noted.
            outcome = bench.outcome("large", 240)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert outcome == Succeeded(large)
    assert loop.longest_s < LONGEST_S
    # The line that is read, and the result that is taken out of it.
    assert peak < 2.5 * len(large)


@pytest.mark.parametrize("broken", [b"[1, 2", b'["\xff"]'], ids=["JSON", "UTF-8"])
def test_a_large_payload_that_is_none_is_null(bench: Bench, broken: bytes) -> None:
    runner = bench.long_running(ECHO)
    bench.ready(runner)
    bench.submit(runner, "t", payload(1)[:-1] + b", " + broken)

    assert bench.outcome("t") == Succeeded(b"null")


def test_lines_before_and_behind_a_large_one_keep_their_order_and_are_whole(bench: Bench) -> None:
    runner = bench.long_running(ECHO)
    bench.ready(runner)
    sizes = {"a": 0, "b": 1, "c": 0, "d": 2, "e": 0}
    for task_id, megabytes in sizes.items():
        bench.submit(runner, task_id, payload(megabytes) if megabytes else b"1")

    for task_id, megabytes in sizes.items():
        assert bench.outcome(task_id) == Succeeded(payload(megabytes) if megabytes else b"1")
    assert [task_id for task_id, _ in bench.outcomes] == list(sizes)


def test_a_longer_answer_than_is_allowed_fails_its_task_and_the_next_one_counts(bench: Bench) -> None:
    runner = bench.long_running(ECHO, max_answer_bytes=MB)
    bench.ready(runner)
    bench.submit(runner, "long", payload(2))
    bench.submit(runner, "short", b"1")

    outcome = bench.outcome("long")
    assert isinstance(outcome, Failed)
    assert "RUNQY_MAX_RESULT" in outcome.error
    assert bench.outcome("short") == Succeeded(b"1")
