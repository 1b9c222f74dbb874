"""Commands that travel together, each with what its reply is good for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from redis.exceptions import NoPermissionError, NoScriptError

from appliance.errors import QueueError, QueueNodeUnavailable, QueueRejected
from appliance.queue import keys
from appliance.queue.connection import Command, Connection, check
from appliance.queue.scripts import Script

log = structlog.get_logger()

#: In refusals of a key that another program has written, and of a permission that is missing, from 6.2 on:
#: they are over when people have put that right, and then the same call is accepted.
_UP_TO_PEOPLE = ("WRONGTYPE", "ACL failure", "can't run this command")


def _ignore(_: Any) -> None:
    pass


@dataclass(slots=True)
class Call:
    """One command; ``accept`` is given its reply. A refused one that is ``optional`` fails nothing."""

    command: Command
    accept: Callable[[Any], None] = _ignore
    script: Script | None = None
    queue: str = ""
    optional: bool = False


def script_call(
    script: Script, queue: str, arguments: Sequence[Any], accept: Callable[[Any], None] = _ignore
) -> Call:
    """The call of a script on the keys of one queue."""
    command = ("EVALSHA", script.digest, 1, keys.prefix(queue), *arguments)
    return Call(command, accept, script, queue)


class Caller:
    """Sends calls over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._complained = False

    def one(self, script: Script, queue: str, arguments: Sequence[Any]) -> Any:
        """Run one script; returns its reply, or raises what went wrong."""
        replies: list[Any] = []
        self.all([script_call(script, queue, arguments, replies.append)])
        return replies[0]

    def all(self, calls: Sequence[Call]) -> None:
        """Send the calls together, and raise what went wrong with the first that went wrong."""
        unavailable: dict[str, QueueNodeUnavailable] = {}
        for failure in (self.attempt(calls, unavailable), *unavailable.values()):
            if failure is not None:
                raise failure

    def attempt(
        self, calls: Sequence[Call], unavailable: dict[str, QueueNodeUnavailable]
    ) -> QueueError | None:
        """Send the calls together; a script that Redis does not have (any more) is sent again as its source.

        Returns the first error reply to a call that is not optional; what the other calls brought is
        accepted, since it has happened. The queues whose node is unavailable go into ``unavailable`` instead.
        """
        if not calls:
            return None
        failure: QueueError | None = None
        unknown = []
        for call, reply in zip(calls, self._connection.batch([call.command for call in calls]), strict=True):
            if isinstance(reply, NoScriptError) and call.script is not None:
                # EVAL loads it too, and where it is needed: each node of a cluster has its own scripts.
                source = ("EVAL", call.script.source, *call.command[2:])
                unknown.append(replace(call, command=source, script=None))
                continue
            try:
                call.accept(check(reply))
            except QueueError as exc:
                if call.optional:
                    self._complain(exc)
                elif isinstance(exc, QueueNodeUnavailable):
                    unavailable[call.queue] = exc
                else:
                    failure = failure or exc
        again = self.attempt(unknown, unavailable)
        return failure or again

    def refused(self, exc: QueueError) -> bool:
        """Whether ``exc``, what a call met, is Redis's answer to it and no trouble that Redis itself has.

        Redis says so, and means neither another key nor a permission. Or it ends the connection without a
        word, as it does above ``proto-max-bulk-len`` and ``client-query-buffer-limit``, and answers on the
        next one.
        """
        if isinstance(exc, QueueRejected):
            forbidden = isinstance(exc.__cause__, NoPermissionError)
            return not (forbidden or any(words in str(exc) for words in _UP_TO_PEOPLE))
        if not self._connection.traffic.losses_in_a_row:
            return False
        try:
            return all(channel.call("PING") for channel in self._connection.masters())
        except QueueError:
            return False

    def _complain(self, exc: QueueError) -> None:
        """Say once that reverse lookups cannot be written: no reason to keep a result from its owner."""
        if not self._complained:
            self._complained = True
            log.warning("queue.lookup_refused", error=str(exc), consequence="reverse lookups keep their age")
