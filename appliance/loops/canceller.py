"""Ends running tasks that a client has cancelled: a message on ``asynq:cancel`` is a task's id."""

from collections.abc import Callable

import structlog

from appliance.queue.subscription import Subscription

log = structlog.get_logger()

#: What the task's ``error_msg`` says.
REASON = "cancelled on request"


class Canceller:
    """Hands each id to ``cancel``, which knows whether the task runs here."""

    def __init__(self, subscription: Subscription, cancel: Callable[[str, str], None]) -> None:
        self._subscription = subscription
        self._cancel = cancel

    def tick(self) -> float:
        """Wait for one message, at most as long as the subscription is quiet; returns 0."""
        task_id = self._subscription.next()
        if task_id is not None:
            log.debug("cancel.requested", task_id=task_id)
            self._cancel(task_id, REASON)
        return 0.0
