"""Waiting for work without asking for it: a blocking move from pending to active.

Redis serves one blocked client per task, so one new task wakes one worker however many wait. The
moved id has no lease yet; the worker that gets it claims it (activate) or returns it (reclaim), and
should the worker die in between, any worker's upkeep finds the id without a lease.
"""

from collections.abc import Sequence
from typing import Any

import structlog

from appliance.errors import QueueError, QueueRejected, QueueUnavailable
from appliance.queue import keys
from appliance.queue.connection import REPLY_TIMEOUT_S, Channel, Command, Connection, Traffic
from appliance.queue.following import Following
from appliance.queue.opening import open_channel
from appliance.queue.place import RedisPlace

log = structlog.get_logger()

#: How long Redis holds a waiting client, in seconds: long enough to cost nothing, short enough to
#: notice a connection that died without a word.
BLOCK_S = 10


class Waiter:
    """One blocked connection on one queue; ``control`` is for unblocking it."""

    def __init__(
        self,
        place: RedisPlace,
        queue: str,
        name: str,
        control: Connection,
        traffic: Traffic | None = None,
    ) -> None:
        self._pending, self._active = keys.pending(queue), keys.active(queue)
        timeout_s = BLOCK_S + REPLY_TIMEOUT_S
        self._channels = Following(
            place,
            lambda endpoint: open_channel(
                endpoint, name, key=self._pending, reply_timeout_s=timeout_s, traffic=traffic
            ),
        )
        #: The one of the last :meth:`wait`: a cancellation is about that, wherever Redis is by then.
        self._channel = self._channels.get()
        self._control = control
        self.queue = queue
        self._client_id: int | None = None
        self._dropped = False

    def wait(self) -> bytes | None:
        """Move one id to active as soon as there is one; None after a while without, or a :func:`cancel`.

        Raises :class:`~appliance.errors.QueueUnavailable`: then an id may have been moved without
        our knowing, which upkeep mends.
        """
        self._channel = self._channels.get()
        self._dropped = False
        try:
            if not self._channel.connected:
                self._client_id = None
                self._client_id = self._identify()
            moved: Any = self._channel.call("BLMOVE", self._pending, self._active, "RIGHT", "LEFT", BLOCK_S)
        except QueueUnavailable:
            if self._dropped:
                return None
            raise
        return moved if isinstance(moved, bytes) else None

    def unblocking(self) -> tuple[Channel, Command] | None:
        """The command that makes a :meth:`wait` under way return, and the channel for it; None without."""
        if self._client_id is None:
            return None
        try:
            return self._control.at(self._channel.address), ("CLIENT", "UNBLOCK", self._client_id)
        except QueueError as exc:
            log.debug("waiter.unblock_failed", queue=self.queue, error=str(exc))
            return None

    def drop(self) -> None:
        """End the connection under a :meth:`wait`: without it nothing more is moved for us."""
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


def cancel(waiters: Sequence[Waiter]) -> None:
    """Make waits under way return soon, in one round trip; an id that was moved already is still returned.

    A connection that is out of reach, or may not be unblocked, is ended instead.
    """
    by_channel: dict[Channel, list[tuple[Waiter, Command]]] = {}
    for waiter in waiters:
        unblocking = waiter.unblocking()
        if unblocking is None:
            waiter.drop()
        else:
            channel, command = unblocking
            by_channel.setdefault(channel, []).append((waiter, command))
    for channel, group in by_channel.items():
        try:
            replies = channel.batch([command for _, command in group])
        except QueueError as exc:
            replies = [exc] * len(group)
        for (waiter, _), reply in zip(group, replies, strict=True):
            if isinstance(reply, Exception):
                log.debug("waiter.unblock_failed", queue=waiter.queue, error=str(reply))
                waiter.drop()
