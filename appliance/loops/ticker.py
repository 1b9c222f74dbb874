"""How a loop runs: one tick, then a wait that the stop event ends at once."""

from collections.abc import Callable

import structlog
from gevent.event import Event

from appliance.errors import QueueError
from appliance.observe.pulse import Pulse

log = structlog.get_logger()


def run(pulse: Pulse, tick: Callable[[], float], stop: Event, *, trouble_delay_s: float = 1.0) -> None:
    """Call ``tick`` until ``stop``; it returns the seconds to wait before the next call.

    ``pulse`` has the loop's name.

    Trouble with Redis is logged when it begins and when it is over, and tried again after
    ``trouble_delay_s``; any other exception is a defect and ends the loop, and with it the worker.
    """
    trouble = False
    try:
        while not stop.is_set():
            pulse.begin()
            try:
                delay_s = tick()
            except QueueError as exc:
                if not trouble:
                    log.warning("loop.redis_trouble", loop=pulse.name, error=str(exc))
                trouble, delay_s = True, trouble_delay_s
            else:
                if trouble:
                    log.info("loop.redis_back", loop=pulse.name)
                trouble = False
            pulse.rest(delay_s)
            stop.wait(delay_s)
    finally:
        pulse.end()
