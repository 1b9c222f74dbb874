"""Messages of one pub/sub channel, as they come."""

from appliance.errors import QueueError, QueueUnavailable
from appliance.queue.connection import Traffic
from appliance.queue.following import Following
from appliance.queue.opening import open_channel
from appliance.queue.place import RedisPlace

#: Seconds without a word after which the connection is checked.
QUIET_S = 30.0


class Subscription:
    """One connection that listens; what is published while it is away is missed, as pub/sub has it."""

    def __init__(self, place: RedisPlace, topic: str, name: str, traffic: Traffic | None = None) -> None:
        self._channels = Following(
            place, lambda endpoint: open_channel(endpoint, name, reply_timeout_s=QUIET_S, traffic=traffic)
        )
        self._topic = topic

    def next(self) -> str | None:
        """Wait for the next message; None when nothing came for a while.

        Raises :class:`~appliance.errors.QueueError`; the next call subscribes again.
        """
        channel = self._channels.get()
        if not channel.connected:
            try:
                channel.call("SUBSCRIBE", self._topic)
            except QueueError:
                # A connection without a subscription must not be taken for one that has it.
                channel.close()
                raise
        reply = channel.listen()
        if reply is None:
            # A subscribed connection may be asked one thing: whether it is alive.
            answer = channel.call("PING")
            if not isinstance(answer, list):
                raise QueueUnavailable("Redis answered a check of the subscription with something else")
            reply = answer
        kind, *rest = reply
        return rest[1].decode(errors="surrogateescape") if kind == b"message" else None

    def close(self) -> None:
        """Stop listening."""
        self._channels.get().close()
