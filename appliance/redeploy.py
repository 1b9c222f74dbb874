"""New code while the worker runs (SIGHUP): the story of a redeployment, from top to bottom.

For each parent queue by itself: the server is asked again, its code is put beside what runs, a process of
it is started there, and when that works the lane hands over to it. Whatever goes wrong on the way, what
runs is kept. One redeployment is under way at a time; requests that come meanwhile become one more, since
what they are about may have been pushed after we looked.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import StrEnum
from typing import Any

import gevent
import structlog

from appliance import assembly
from appliance.contracts import Contract
from appliance.control import changes
from appliance.deploy.deployment import Deployer
from appliance.errors import ApplianceError, RedeployRefused
from appliance.event import Event
from appliance.lane import Lane, Running
from appliance.tools import Tools
from appliance.values import value_class

log = structlog.get_logger()


class Outcome(StrEnum):
    """How a redeployment ended."""

    DONE = "done"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


_EVENTS = {
    Outcome.DONE: "redeploy.done",
    Outcome.UNCHANGED: "redeploy.unchanged",
    Outcome.REFUSED: "redeploy.refused",
}


@value_class
class _Ended:
    """An outcome, and a reason for people; empty where there is nothing to say."""

    outcome: Outcome
    reason: str = ""


class Redeployer:
    """See the module. ``ask`` gets the present contract of a parent queue; it raises RegistrationError."""

    def __init__(
        self,
        lanes: Callable[[], Iterable[Lane]],
        ask: Callable[[str], Contract],
        deployer: Deployer,
        tools: Tools,
    ) -> None:
        self._lanes = lanes
        self._ask = ask
        self._deployer = deployer
        self._tools = tools

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
        log.info("redeploy.started", parent=lane.parent, running=lane.running.deployed.commit)
        try:
            ended = self._attempt(lane)
        except ApplianceError as exc:
            ended = _Ended(Outcome.REFUSED, str(exc))
        except Exception:
            # A defect in the worker, but not one that should end a worker whose tasks run.
            log.exception("redeploy.defect", parent=lane.parent)
            ended = _Ended(Outcome.REFUSED, "a defect in the worker; the log has a traceback")
        self._tell(lane, ended)

    def _attempt(self, lane: Lane) -> _Ended:
        """Raises :class:`~appliance.errors.ApplianceError` where what runs is kept."""
        before = lane.running
        contract = self._accepted(lane, before.contract, self._ask(lane.parent))
        with lane.preparing() as uses:
            registration = contract.registration
            deployed = self._deployer.deploy(
                lane.parent, registration.deployment, registration.git_token, uses, may_stay=False
            )
            after = assembly.running(contract, deployed, self._tools)
            if _is_same(before, after):
                # The repository answered, whatever it did when what runs was deployed.
                problem = deployed.repository_problem
                kept = replace(before.deployed, notes=deployed.notes, repository_problem=problem)
                lane.running = replace(before, deployed=kept)
                return _Ended(Outcome.UNCHANGED)
            if reason := lane.hand_over(after):
                raise RedeployRefused(f"commit {deployed.commit}: {reason}")
        return _Ended(Outcome.DONE, f"was {before.deployed.commit}")

    def _accepted(self, lane: Lane, before: Contract, now: Contract) -> Contract:
        """The new contract, as far as a running worker can take it on."""
        if reason := changes.refusal(before.registration, now.registration):
            raise RedeployRefused(reason)
        # One that does not answer is looked for elsewhere all the time: no restart is needed for that.
        redis = lane.place.endpoint if lane.redis_available else now.redis
        known = replace(before.registration, redis=redis)
        left = changes.left_for_restart(known, before.sub_queues, now.registration, now.sub_queues)
        for problem in left:
            log.warning("redeploy.needs_restart", parent=before.parent, problem=problem)
        return Contract(replace(now.registration, redis=before.redis), before.sub_queues)

    def _tell(self, lane: Lane, ended: _Ended) -> None:
        commit, reason = lane.running.deployed.commit, self._tools.redactor.text(ended.reason)
        lane.redeployed = {
            "at": int(self._tools.clock.wall()),
            "outcome": ended.outcome.value,
            "commit": commit,
            "reason": reason,
        }
        say = log.error if ended.outcome is Outcome.REFUSED else log.info
        say(_EVENTS[ended.outcome], parent=lane.parent, running=commit, reason=reason)


def _is_same(before: Running, after: Running) -> bool:
    old, new = before.deployed, after.deployed
    if (old.commit, old.environment) != (new.commit, new.environment):
        return False
    # The same commit in another folder has other paths, and is the same all the same.
    return _without_place(before) == _without_place(after)


def _without_place(running: Running) -> tuple[Any, ...]:
    """What a process is started with, whichever slot its code is in."""
    deployed, process = running.deployed, running.process

    def unplaced(text: str) -> str:
        if deployed.venv_dir is not None:
            text = text.replace(str(deployed.venv_dir), "{venv}")
        return text.replace(str(deployed.code_dir), "{code}")

    env = {name: unplaced(value) for name, value in process.env.items()}
    return tuple(map(unplaced, process.argv)), env, process.startup_timeout_s
