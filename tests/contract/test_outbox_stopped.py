"""A worker that is asked to end while its thread is at the files of dead ones. Real files, real Redis."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import pytest
import redis

from appliance.loops import aside
from appliance.loops.aside import Aside
from appliance.loops.redelivery import Redelivery
from appliance.process.outcome import Succeeded
from appliance.queue.broker import Broker
from appliance.queue.outbox import Journal
from harness import wait
from harness.queue import asynq
from tests.clock import HandClock
from tests.contract.conftest import POLICY, QUEUE, seed
from tests.contract.test_outbox import HERE, SEAL, dead, files, leave, outcome_of, take

__all__ = ["dead"]


@pytest.fixture
def make(tmp_path: Path, broker: Broker) -> Callable[..., Redelivery]:
    return lambda **options: Redelivery(
        tmp_path, {(HERE, QUEUE): (broker, broker)}, HandClock(1_800_000_000), SEAL, POLICY, **options
    )


@pytest.fixture
def left(tmp_path: Path, dead: Broker, db: redis.Redis) -> Path:
    """A dead worker's outcome."""
    seed(db, "a")
    return leave(tmp_path, outcome_of(take(dead), Succeeded(b"1")))


class Slow:
    """What takes the place of a method of :class:`Journal`: it is carried out when ``goes_on`` is set."""

    def __init__(self, real: Callable[..., Any]) -> None:
        self._real = real
        self.goes_on = threading.Event()
        self.at_work: list[Any] = []
        self.open: list[bool] = []

    def __call__(self, *arguments: Any) -> Any:
        self.at_work.append(arguments)
        self.goes_on.wait(30)
        self.open += [_is_open(each) for each in arguments if isinstance(each, Journal)]
        return self._real(*arguments)

    def as_method(self) -> Callable[..., Any]:
        def method(*arguments: Any) -> Any:
            return self(*arguments)

        return method


def _is_open(journal: Journal) -> bool:
    try:
        os.fstat(journal._fd)
    except OSError:
        return False
    return True


@contextmanager
def stopped_in(slow: Slow, redelivery: Redelivery) -> Iterator[gevent.Greenlet]:
    """Inside, a look that is at ``slow`` was asked to end, as a worker's stop does it."""
    look = gevent.spawn(redelivery.first)
    wait.until(lambda: slow.at_work or gevent.sleep(0), 30, "the thread to be at work")
    look.kill(block=False)
    gevent.sleep(0)
    yield look
    slow.goes_on.set()


def test_a_file_is_not_closed_while_the_thread_is_at_it(
    make: Callable[..., Redelivery], left: Path, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "_ENDING_S", 30)
    slow = Slow(Journal.remove)
    monkeypatch.setattr(Journal, "remove", slow.as_method())
    with stopped_in(slow, make()) as look:
        slow.goes_on.set()
        look.join(30)
    assert look.exception is None
    assert isinstance(look.value, gevent.GreenletExit)
    assert slow.open == [True]
    assert files(left.parent) == []
    assert asynq.where_is(db, QUEUE, "a") == "completed"


def test_a_file_that_was_just_taken_is_left_to_the_next_worker(
    make: Callable[..., Redelivery], left: Path, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "_ENDING_S", 30)
    slow = Slow(Journal.adopt)
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "adopt", slow)
        with stopped_in(slow, make()) as look:
            slow.goes_on.set()
            look.join(30)
    assert look.exception is None
    assert asynq.where_is(db, QUEUE, "a") == "active"
    make().first()
    assert asynq.where_is(db, QUEUE, "a") == "completed"


def test_a_disk_that_hangs_does_not_hold_up_the_stop_and_keeps_its_file(
    make: Callable[..., Redelivery], left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "_ENDING_S", 0.05)
    slow = Slow(Journal.remove)
    monkeypatch.setattr(Journal, "remove", slow.as_method())
    with stopped_in(slow, make()) as look:
        look.join(30)
        assert look.ready()
    assert look.exception is None
    wait.until(lambda: slow.open or gevent.sleep(0), 30, "the disk to answer")
    assert slow.open == [True]


def test_whoever_asks_one_thing_at_a_time_is_done() -> None:
    thread, at_work = Aside(limit_s=30), []
    go_on = [threading.Event() for _ in range(3)]

    def work(event: threading.Event) -> int:
        at_work.append(event)
        event.wait(30)
        at_work.remove(event)
        return 7

    # given something under way that its greenlet was ended in
    ended = gevent.spawn(thread.do, partial(work, go_on[0]))
    wait.until(lambda: at_work or gevent.sleep(0), 30, "the thread to be at work")
    ended.kill(block=False)
    # when two more want something, as the keeper's look and its last one do
    more = [gevent.spawn(thread.do, partial(work, event)) for event in go_on[1:]]
    gevent.sleep(0)
    go_on[0].set()
    wait.until(lambda: at_work == [go_on[1]] or gevent.sleep(0), 30, "the first of them to be at work")
    # then the other one waits for it
    gevent.sleep(0.05)
    assert at_work == [go_on[1]]
    for event in go_on:
        event.set()
    gevent.joinall(more, 30)
    assert [each.value for each in more] == [7, 7]
    assert not thread.is_busy


def test_a_file_that_a_slow_disk_opened_too_late_is_left_to_the_next_worker(
    make: Callable[..., Redelivery], left: Path, db: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(Journal.adopt)
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "adopt", slow)
        make(aside=Aside(limit_s=0.05)).first()
        assert slow.at_work
    slow.goes_on.set()

    def is_delivered() -> bool:
        make().first()
        return asynq.where_is(db, QUEUE, "a") == "completed"

    wait.until(lambda: is_delivered() or gevent.sleep(0.01), 30, "the next one to deliver it")


def test_what_came_too_late_is_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "_ENDING_S", 0.01)
    thread, goes_on, given_away = Aside(limit_s=30), threading.Event(), []
    ended = gevent.spawn(thread.do, lambda: goes_on.wait(30) and "opened", given_away.append)
    wait.until(lambda: thread.is_busy or gevent.sleep(0), 30, "the thread to be at work")
    ended.kill()
    assert thread.is_busy
    goes_on.set()
    wait.until(lambda: given_away or gevent.sleep(0), 30, "it to be given away")
    assert given_away == ["opened"]
