"""How a loop runs: one tick, then a wait that the stop event ends at once."""

from collections.abc import Callable

import structlog

from appliance.errors import QueueError
from appliance.event import Event
from appliance.observe.pulse import Pulse

log = structlog.get_logger()


def run(pulse: Pulse, tick: Callable[[], float], stop: Event, *, unavailable_delay_s: float = 1.0) -> None:
    """Call ``tick`` until ``stop``; it returns the seconds to wait before the next call.

    ``pulse`` has the loop's name.

    That Redis is unavailable is logged when it begins and when it is over; the next try comes after
    ``unavailable_delay_s``. Any other exception is a defect and ends the loop, and with it the worker.
    """
    unavailable = False
    try:
        while not stop.is_set():
            pulse.begin()
            try:
                delay_s = tick()
            except QueueError as exc:
                if not unavailable:
                    log.warning("loop.redis_unavailable", loop=pulse.name, error=str(exc))
                unavailable, delay_s = True, unavailable_delay_s
            else:
                if unavailable:
                    log.info("loop.redis_available", loop=pulse.name)
                unavailable = False
            pulse.rest(delay_s)
            stop.wait(delay_s)
    finally:
        pulse.end()
