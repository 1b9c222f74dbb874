"""Waiting for work without asking for it: a blocking move from pending to active.

Redis serves one blocked client per task, so one new task wakes one worker however many wait. The
moved id has no lease yet; whoever gets it claims it (activate) or gives it back (reclaim), and
should the worker die in between, any worker's upkeep finds the id without a lease.
"""

from typing import Any

import structlog

from appliance.control.contract import RedisEndpoint
from appliance.errors import QueueError, QueueRejected, QueueUnavailable
from appliance.queue import keys
from appliance.queue.connection import REPLY_TIMEOUT_S, Line, Traffic
from appliance.queue.opening import open_channel

log = structlog.get_logger()

#: How long Redis holds a waiting client, in seconds: long enough to cost nothing, short enough to
#: notice a connection that died without a word.
BLOCK_S = 10


class Waiter:
    """One blocked connection on one queue; ``control`` is for unblocking it."""

    def __init__(
        self, endpoint: RedisEndpoint, queue: str, name: str, control: Line, traffic: Traffic | None = None
    ) -> None:
        self._pending, self._active = keys.pending(queue), keys.active(queue)
        timeout_s = BLOCK_S + REPLY_TIMEOUT_S
        self._channel = open_channel(
            endpoint, name, key=self._pending, reply_timeout_s=timeout_s, traffic=traffic
        )
        self._control = control
        self._queue = queue
        self._client_id: int | None = None
        self._dropped = False

    def wait(self) -> bytes | None:
        """Move one id to active as soon as there is one; None after a while without, or a :meth:`cancel`.

        Raises :class:`~appliance.errors.QueueUnavailable`: then an id may have been moved without
        our knowing, which upkeep mends.
        """
        if not self._channel.connected:
            self._client_id = self._identify()
        self._dropped = False
        try:
            moved: Any = self._channel.call("BLMOVE", self._pending, self._active, "RIGHT", "LEFT", BLOCK_S)
        except QueueUnavailable:
            if self._dropped:
                return None
            raise
        return moved if isinstance(moved, bytes) else None

    def cancel(self) -> None:
        """Make a :meth:`wait` under way return soon; an id it has moved already is still returned."""
        try:
            if self._client_id is not None:
                self._control.at(self._channel.address).call("CLIENT", "UNBLOCK", self._client_id)
                return
        except QueueError as exc:
            log.debug("waiter.unblock_failed", queue=self._queue, error=str(exc))
        # Out of reach or not permitted: without the connection nothing more is moved for us.
        self._dropped = True
        self._channel.close()

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def _identify(self) -> int | None:
        try:
            return int(self._channel.call("CLIENT", "ID"))
        except QueueRejected:
            # An ACL may forbid CLIENT; cancelling then closes the connection instead.
            return None
