"""The event: who waits for one that was set is woken."""

import time

import gevent

from appliance.event import Event


def test_a_waiter_whose_time_runs_out_as_the_event_is_set_is_not_forgotten() -> None:
    event = Event()
    woken = []

    def look_again() -> None:
        event.wait(0.002)
        woken.append(event.wait(60))

    first, last = gevent.spawn(look_again), gevent.spawn(event.wait, 0.003)
    set_it = gevent.get_hub().loop.timer(0.001)
    set_it.start(event.set)
    gevent.sleep(0)
    # The loop comes late: the event is set and both times run out in the same turn, in that order.
    until_s = time.monotonic() + 0.02
    while time.monotonic() < until_s:
        pass

    gevent.joinall([first, last], timeout=20)

    assert woken == [True]
    assert last.ready()


def test_a_wait_says_whether_the_event_was_set() -> None:
    event = Event()

    assert not event.wait(0.001)
    gevent.spawn(event.set)
    assert event.wait(20)
    assert event.wait()
