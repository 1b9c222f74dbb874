"""Keeps the progress of tasks beside them in Redis: in a field of the hash, fenced as outcomes are."""

from collections.abc import Mapping

from appliance.queue import scripts
from appliance.queue.calls import Caller, script_call
from appliance.queue.connection import Connection
from appliance.queue.message import Lease, to_bytes


class ProgressStore:
    """Writes over one connection, which it may share."""

    def __init__(self, connection: Connection) -> None:
        self._caller = Caller(connection)

    def write(self, progress: Mapping[Lease, str]) -> None:
        """Write what attempts said last, as JSON, in one round trip.

        Of an attempt that is over for this worker, or whose task is gone, nothing is written. Raises
        :class:`~appliance.errors.QueueUnavailable` and :class:`~appliance.errors.QueueRejected`.
        """
        arguments: dict[str, list[bytes]] = {}
        for lease, value in progress.items():
            fence = to_bytes(lease.task_id), to_bytes(lease.owner), to_bytes(lease.attempt)
            arguments.setdefault(lease.queue, []).extend((*fence, value.encode()))
        self._caller.all([script_call(scripts.PROGRESS, queue, each) for queue, each in arguments.items()])
