"""What becomes of a task that was taken: most wait for a slot, some are settled without a run."""

from collections.abc import Mapping, Sequence

import structlog

from appliance.dispatch.gate import Gate
from appliance.dispatch.intake import Intake
from appliance.dispatch.run import Run
from appliance.dispatch.slots import Slots
from appliance.dispatch.unsettled import Unsettled
from appliance.errors import QueueRejected
from appliance.observe.tally import Tally
from appliance.process.outcome import Cancelled, TimedOut
from appliance.process.runner import Request
from appliance.queue.message import Task
from appliance.queue.replies import Ask, Exchange, Taken
from appliance.queue.settlement import Defer, Policy

log = structlog.get_logger()

#: For how long a degraded worker defers a task, in seconds, and what its ``error_msg`` then says.
DEGRADED_DEFER_S = 1.0
DEGRADED_REASON = "worker degraded: its task process keeps crashing; the task waits for another worker"
#: Why a task is archived that was not fetched.
TOO_LARGE = "the task was not run: it has %d bytes in Redis, more than RUNQY_MAX_PAYLOAD of the worker allows"
#: How long the second of two tasks that share an id waits, in seconds.
SAME_ID_DEFER_S = 1.0


class Admission:
    """Between what an exchange brought and the slots. ``tallies`` has one for each queue."""

    def __init__(
        self,
        intake: Intake,
        slots: Slots,
        unsettled: Unsettled,
        policy: Policy,
        gate: Gate,
        tallies: Mapping[str, Tally],
    ) -> None:
        self._intake = intake
        self._slots = slots
        self._unsettled = unsettled
        self._policy = policy
        self._gate = gate
        self._tallies = tallies

    def take_in(self, asks: Sequence[Ask], answer: Exchange, now_s: float) -> None:
        """Admit what came for ``asks``, and learn what that says of their queues."""
        for ask, taken in zip(asks, answer.taken, strict=True):
            if taken is not None:
                self._accept(ask, taken, now_s)
            elif isinstance(answer.failure, QueueRejected) and ask.queue not in answer.unavailable:
                self._intake.refused(ask, answer.failure, now_s)

    def _accept(self, ask: Ask, taken: Taken, now_s: float) -> None:
        self._intake.learn(ask, taken, now_s)
        if taken.strays:
            log.warning("queue.strays_dropped", queue=ask.queue, ids=taken.strays)
        for task_id in taken.foreign:
            reason = "what stands at its key is no hash; the entry is dropped, the key is left as it is"
            log.error("task.foreign_key", task_id=task_id, queue=ask.queue, reason=reason)
        for lease, reason in taken.broken:
            log.error("task.undecodable", task_id=lease.task_id, queue=lease.queue, reason=reason)
            self._unsettled.add(self._policy.refuse(lease, reason))
        for lease, bytes_ in taken.too_large:
            reason = TOO_LARGE % bytes_
            log.error("task.too_large", task_id=lease.task_id, queue=lease.queue, size_bytes=bytes_)
            self._unsettled.add(self._policy.refuse(lease, reason))
        # Where the process was given up while they were on their way, they are deferred too.
        admit = self._defer if self._gate.deferring else self._admit
        waits = self._tallies[ask.queue].waits
        for task in taken.tasks:
            if task.pending_since_wall_s is not None:
                waits.observe(taken.now_wall_s - task.pending_since_wall_s)
            admit(task, taken.now_wall_s, now_s)

    def _defer(self, task: Task, _now_wall_s: float, _now_s: float) -> None:
        self._unsettled.add(Defer(task.lease, DEGRADED_DEFER_S, DEGRADED_REASON))
        log.info("task.deferred", task_id=task.lease.task_id, queue=task.lease.queue)

    def _admit(self, task: Task, now_wall_s: float, now_s: float) -> None:
        if overdue := self._policy.overdue(task, now_wall_s):
            self._unsettled.add_outcome(task, Cancelled(overdue))
            return
        if task.deadline_wall_s is not None and task.deadline_wall_s <= now_wall_s:
            self._unsettled.add_outcome(task, TimedOut("deadline: it had passed before the run"))
            return
        known = self._slots.find(task.lease.task_id)
        if known is None:
            self._slots.ahead.add(Run(task, self._request(task, now_wall_s, now_s), now_s))
        elif known.task.lease.is_same_task(task.lease):
            # The lease ran out, upkeep put the task back, and it came here again while its run goes on.
            # A second run beside the first would do its work twice: the first serves the new attempt.
            log.warning("task.adopted", task_id=task.lease.task_id, attempt=task.lease.number)
            known.task = task
        else:
            # Answers carry nothing but the id. Of two tasks that share one, the second waits: one of
            # another queue, or one made under the id of the running one after that was deleted.
            self._unsettled.add(Defer(task.lease, SAME_ID_DEFER_S, "a task of the same id is running"))
            log.warning("task.same_id", task_id=task.lease.task_id, queue=task.lease.queue)

    def _request(self, task: Task, now_wall_s: float, now_s: float) -> Request:
        deadline_s = None
        if task.deadline_wall_s is not None:
            # By the difference, so that it is Redis's clock that counts and not this machine's.
            deadline_s = now_s + task.deadline_wall_s - now_wall_s
        # In the order of its fields: by their names it takes three times as long.
        return Request(
            task.lease.task_id,
            task.lease.queue,
            task.type,
            task.payload,
            task.retried,
            self._policy.max_retry(task),
            self._policy.run_limit_s(task),
            deadline_s,
            task.crashes,
        )
