"""Deploys anew while the worker runs (SIGHUP): asks the server again, prepares code beside the old, swaps.

Whatever goes wrong on the way, what runs is kept. One redeployment is under way at a time; requests
that come meanwhile become one more, since what they are about may have been pushed after we looked.
"""

from collections.abc import Callable, Iterable

import gevent
import structlog
from gevent.event import Event

from appliance.control.contract import Registration, SubQueue
from appliance.deploy.deployment import Deployer
from appliance.errors import ApplianceError
from appliance.lane import Lane

log = structlog.get_logger()

#: A queue's contract and which of its sub-queues are ours.
Contract = tuple[Registration, tuple[SubQueue, ...]]


class Redeployer:
    """See the module. ``ask`` gets the present contract of a parent queue; it raises RegistrationError."""

    def __init__(
        self, lanes: Callable[[], Iterable[Lane]], ask: Callable[[str], Contract], deployer: Deployer
    ) -> None:
        self._lanes = lanes
        self._ask = ask
        self._deployer = deployer

    def run(self, requested: Event) -> None:
        """Redeploy whenever ``requested`` is set, until killed."""
        while True:
            requested.wait()
            requested.clear()
            jobs = [gevent.spawn(self._redeploy, lane) for lane in self._lanes()]
            try:
                gevent.joinall(jobs)
            finally:
                gevent.killall(jobs)

    def _redeploy(self, lane: Lane) -> None:
        log.info("redeploy.started", queue=lane.parent, running=lane.commit)
        try:
            lane.redeploy(*self._ask(lane.parent), self._deployer)
        except ApplianceError as exc:
            lane.keep(str(exc))
        except Exception:
            # A defect of ours, but none that should end a worker which works.
            log.exception("redeploy.defect", queue=lane.parent)
            lane.keep("a defect in the worker; the log has a traceback")
