"""The task as it stands in Redis: asynq's protobuf message, or runqy's legacy hash.

The field numbers are asynq's ``TaskMessage``. A message is decoded by the protobuf library, which
keeps fields it does not know, and is rewritten from the decoded object, so that nothing a client
put into it is lost on a retry. ``retry`` is the *maximum*, ``retried`` how often it was retried.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from appliance.errors import TaskUndecodable

_Field = descriptor_pb2.FieldDescriptorProto
_FIELDS = (
    (1, "type", _Field.TYPE_STRING),
    (2, "payload", _Field.TYPE_BYTES),
    (3, "id", _Field.TYPE_STRING),
    (4, "queue", _Field.TYPE_STRING),
    (5, "retry", _Field.TYPE_INT32),
    (6, "retried", _Field.TYPE_INT32),
    (7, "error_msg", _Field.TYPE_STRING),
    (8, "timeout", _Field.TYPE_INT64),
    (9, "deadline", _Field.TYPE_INT64),
    (10, "unique_key", _Field.TYPE_STRING),
    (11, "last_failed_at", _Field.TYPE_INT64),
    (12, "retention", _Field.TYPE_INT64),
    (13, "completed_at", _Field.TYPE_INT64),
    (14, "group_key", _Field.TYPE_STRING),
    # 15, the headers, is left to the library's unknown fields: we only carry it along.
)

_INT32_MAX = 2**31 - 1
#: Above this a ``pending_since`` is nanoseconds (asynq's clients), below it seconds (the Go worker).
_NANOSECONDS_ABOVE = 1e14


def _message_class() -> type[Message]:
    """Build the class at import: a generated module would pin the protobuf version it was made with."""
    file = descriptor_pb2.FileDescriptorProto(name="asynq.proto", package="asynq", syntax="proto3")
    message = file.message_type.add(name="TaskMessage")
    for number, name, kind in _FIELDS:
        message.field.add(name=name, number=number, type=kind, label=_Field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("asynq.TaskMessage"))


_TaskMessage: Any = _message_class()


# A tuple, as is whatever is made for every task: a frozen dataclass takes several times as long.
class Stamps(NamedTuple):
    """Lifetimes and limits the server stamped on a task, in seconds; None is not stamped, 0 off."""

    ttl_completed_s: float | None = None
    ttl_archived_s: float | None = None
    pending_timeout_s: float | None = None
    active_timeout_s: float | None = None


class Lease(NamedTuple):
    """What fences an attempt: the queue, the task, who runs it, and the number of the attempt.

    ``owner`` and ``attempt`` are compared as text by the scripts; both are empty for a task that
    a worker took which knows nothing of fencing.
    """

    queue: str
    task_id: str
    owner: str
    attempt: str


class Task(NamedTuple):
    """One task that was taken, as the worker needs it.

    ``max_retry`` is None where a legacy hash names none. ``timeout_s`` and ``deadline_wall_s`` are
    None where there is none. ``message`` is the encoded form, None for a legacy hash.
    """

    lease: Lease
    type: str
    payload: bytes
    max_retry: int | None
    retried: int
    timeout_s: float | None
    deadline_wall_s: float | None
    retention_s: float
    unique_key: str
    pending_since_wall_s: float | None
    stamps: Stamps
    message: bytes | None


def parse(queue: str, claimed: Sequence[Any]) -> Task:
    """Read a task as ``claim`` in the scripts returns it.

    ``claimed`` is ``[id, attempt, owner, msg, retried, pending_since, ttl_completed, ttl_archived,
    pending_timeout, active_timeout, legacy]``, each bytes or None; ``legacy`` is None or ``[type,
    payload, retry, max_retry, timeout, deadline]``. Raises :class:`TaskUndecodable`.
    """
    message, retried, since, completed, archived, pending, active, legacy = claimed[3:]
    stamps = Stamps(
        _seconds("ttl_completed", completed),
        _seconds("ttl_archived", archived),
        _seconds("pending_timeout", pending),
        _seconds("active_timeout", active),
    )
    lease = lease_of(queue, claimed)
    since_s = _seconds("pending_since", since)
    if since_s is not None and since_s > _NANOSECONDS_ABOVE:
        since_s /= 1e9
    if message is None:
        return _parse_legacy(lease, retried, since_s, stamps, legacy or [None] * 6)
    try:
        decoded = _TaskMessage.FromString(message)
    except DecodeError as exc:
        raise TaskUndecodable(f"the task's message is no valid protobuf: {exc}") from exc
    return Task(
        lease=lease,
        type=decoded.type,
        payload=decoded.payload,
        max_retry=decoded.retry,
        # The hash may be ahead of the message where another program counted only there.
        # It must fit the message again, whatever the hash says.
        retried=min(max(decoded.retried, _integer("retried", retried) or 0), _INT32_MAX),
        timeout_s=decoded.timeout or None,
        deadline_wall_s=decoded.deadline or None,
        retention_s=decoded.retention,
        unique_key=decoded.unique_key,
        pending_since_wall_s=since_s,
        stamps=stamps,
        message=message,
    )


def lease_of(queue: str, claimed: Sequence[Any]) -> Lease:
    """The fence of a claimed task, readable even when the task itself is not."""
    task_id, attempt, owner = claimed[0], claimed[1], claimed[2]
    words = (text.decode(errors="surrogateescape") for text in (task_id, owner, attempt))
    return Lease(queue, *words)


def _parse_legacy(
    lease: Lease, retried: bytes | None, since_s: float | None, stamps: Stamps, legacy: Sequence[bytes | None]
) -> Task:
    type_, payload, retry, max_retry, timeout, deadline = legacy
    if type_ is None and payload is None:
        raise TaskUndecodable("the task's hash has neither a message nor the legacy fields type and payload")
    return Task(
        lease=lease,
        type=(type_ or b"").decode(errors="replace"),
        payload=payload or b"",
        max_retry=_integer("max_retry", max_retry),
        retried=_integer("retried", retried if retried is not None else retry) or 0,
        timeout_s=_seconds("timeout", timeout) or None,
        deadline_wall_s=_seconds("deadline", deadline) or None,
        retention_s=0,
        unique_key="",
        pending_since_wall_s=since_s,
        stamps=stamps,
        message=None,
    )


def after_failure(message: bytes, *, retried: int, error_msg: str, failed_at_wall_s: float) -> bytes:
    """The message with its failure recorded; every other field, known or not, stays as it is."""
    decoded = _TaskMessage.FromString(message)
    decoded.retried = retried
    decoded.error_msg = error_msg
    decoded.last_failed_at = int(failed_at_wall_s)
    encoded: bytes = decoded.SerializeToString()
    return encoded


def _seconds(field: str, value: bytes | None) -> float | None:
    if value is None or value == b"":
        return None
    try:
        number = float(value)
    except ValueError as exc:
        raise TaskUndecodable(f"the task's field {field} is {value!r}, expected a number") from exc
    # Infinity and NaN are floats, but nothing anybody could count with.
    if not math.isfinite(number):
        raise TaskUndecodable(f"the task's field {field} is {value!r}, expected a finite number")
    return number


def _integer(field: str, value: bytes | None) -> int | None:
    number = _seconds(field, value)
    return None if number is None else int(number)
