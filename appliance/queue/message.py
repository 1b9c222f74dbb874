"""The task as it stands in Redis: asynq's protobuf message, or runqy's legacy hash. Pure.

The field numbers are asynq's ``TaskMessage``. A message is decoded by the protobuf library, which
keeps fields it does not know, and is rewritten from the decoded object, so that nothing a client
put into it is lost on a retry. A large payload is not copied, and not sent back: what changes in its message
is added to that in Redis. ``retry`` is the *maximum*, ``retried`` how often it was retried.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
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
#: From how many bytes on the payload is left where it is in the message.
LARGE_BYTES = 256 * 1024
#: What stands before fields that are to be added to a message: no message begins with it.
ADDED = b"\0"
#: Most fields of a message that is taken apart here; the library reads more, and copies the payload.
_MOST_FIELDS = 1_000
_PAYLOAD_TAG = 2 << 3 | 2
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


#: The fields of a task's hash that hold its stamps, in the order of :class:`Stamps`.
STAMPS = ("ttl_completed", "ttl_archived", "pending_timeout", "active_timeout")


# A tuple, as is whatever is made for every task: compared and hashed several times faster than a value.
class Stamps(NamedTuple):
    """Lifetimes and limits the server stamped on a task, in seconds; None is not stamped, 0 off."""

    ttl_completed_s: float | None = None
    ttl_archived_s: float | None = None
    pending_timeout_s: float | None = None
    active_timeout_s: float | None = None


class Lease(NamedTuple):
    """What fences an attempt: the queue, the task, who runs it, and which attempt it is.

    ``owner`` and ``attempt`` are compared as text by the scripts; both are empty for a task that
    a worker took which knows nothing of fencing. ``attempt`` is its number and, behind a ``-``, when the
    task was first taken, which tells it from another one that was made under the same id.
    """

    queue: str
    task_id: str
    owner: str
    attempt: str

    @property
    def number(self) -> str:
        """Which attempt it is, for people."""
        return self.attempt.partition("-")[0]

    def is_same_task(self, other: "Lease") -> bool:
        """Whether both are of one task, and not of two that had the same id one after the other."""
        mine, others = self.attempt.partition("-")[2], other.attempt.partition("-")[2]
        return (self.queue, self.task_id, mine) == (other.queue, other.task_id, others)


class Task(NamedTuple):
    """One task that was taken, as the worker needs it.

    ``max_retry`` is None where a legacy hash names none. ``timeout_s`` and ``deadline_wall_s`` are
    None where there is none. ``message`` is the encoded form, None for a legacy hash; that of a task with a
    large payload lacks that (``apart``). ``crashes`` is how many of its runs ended because the task process
    crashed.
    """

    lease: Lease
    type: str
    payload: bytes | memoryview
    max_retry: int | None
    retried: int
    timeout_s: float | None
    deadline_wall_s: float | None
    retention_s: float
    unique_key: str
    pending_since_wall_s: float | None
    stamps: Stamps
    message: bytes | None
    crashes: int = 0
    apart: bool = False


def parse(queue: str, claimed: Sequence[Any]) -> Task:
    """Read a task as ``claim`` in the scripts returns it.

    ``claimed`` is ``[id, attempt, owner, msg, retried, pending_since, ttl_completed, ttl_archived,
    pending_timeout, active_timeout, crashes, legacy]``, each bytes or None; ``legacy`` is None or ``[type,
    payload, retry, max_retry, timeout, deadline]``. Raises :class:`TaskUndecodable`.
    """
    message, retried, since, completed, archived, pending, active, crashed, legacy = claimed[3:]
    lease = lease_of(queue, claimed)
    if not lease.task_id.isascii() and not _is_text(lease.task_id):
        raise TaskUndecodable("the task's id is not UTF-8: no answer of a process could name it")
    crashes = _count("crashes", crashed)
    stamps = _known_stamps(completed, archived, pending, active)
    since_s = _seconds("pending_since", since)
    if since_s is not None and since_s > _NANOSECONDS_ABOVE:
        since_s /= 1e9
    if message is None:
        return _parse_legacy(lease, retried, since_s, stamps, legacy or [None] * 6)._replace(crashes=crashes)
    payload = None
    if len(message) >= LARGE_BYTES:
        message, payload = _taken_apart(message)
    try:
        decoded = _TaskMessage.FromString(message)
    except DecodeError as exc:
        raise TaskUndecodable(f"the task's message is no valid protobuf: {exc}") from exc
    # In the order of its fields: by their names it takes three times as long.
    return Task(
        lease,
        decoded.type,
        decoded.payload if payload is None else payload,
        decoded.retry,
        # The hash may be ahead of the message where another program counted only there.
        # It must fit the message again, whatever the hash says.
        max(decoded.retried, _count("retried", retried)),
        decoded.timeout or None,
        decoded.deadline or None,
        decoded.retention,
        decoded.unique_key,
        since_s,
        stamps,
        message,
        crashes,
        payload is not None,
    )


def parse_stamps(values: Sequence[bytes | None]) -> Stamps:
    """Stamps by the values of their fields, :data:`STAMPS`; raises :class:`TaskUndecodable`."""
    return Stamps(*(_seconds(field, value) for field, value in zip(STAMPS, values, strict=True)))


@lru_cache(maxsize=256)
def _known_stamps(*values: bytes | None) -> Stamps:
    """The same. Most tasks of a queue have the same stamps."""
    return parse_stamps(values)


def lease_of(queue: str, claimed: Sequence[Any]) -> Lease:
    """The fence of a claimed task, readable even when the task itself is not."""
    task_id, attempt, owner = claimed[0], claimed[1], claimed[2]
    return Lease(
        queue,
        task_id.decode("utf-8", "surrogateescape"),
        owner.decode("utf-8", "surrogateescape"),
        attempt.decode("utf-8", "surrogateescape"),
    )


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
        retried=_count("retried", retried if retried is not None else retry),
        timeout_s=_seconds("timeout", timeout) or None,
        deadline_wall_s=_seconds("deadline", deadline) or None,
        retention_s=0,
        unique_key="",
        pending_since_wall_s=since_s,
        stamps=stamps,
        message=None,
    )


def to_bytes(text: str) -> bytes:
    """Text back to the bytes it came as; ids are not always UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def after_failure(
    message: bytes, *, retried: int, error_msg: str, failed_at_wall_s: float, apart: bool = False
) -> bytes:
    """The message with its failure recorded; every other field, known or not, stays as it is.

    Of one whose payload is ``apart``, what is to be added to it, behind :data:`ADDED`.
    """
    decoded = _TaskMessage() if apart else _TaskMessage.FromString(message)
    decoded.retried = retried
    decoded.error_msg = error_msg
    decoded.last_failed_at = int(failed_at_wall_s)
    encoded: bytes = decoded.SerializeToString()
    return ADDED + encoded if apart else encoded


def _taken_apart(message: bytes) -> tuple[bytes, memoryview | None]:
    """A message without its payload, and the payload; as it is, and None, where that is not simple."""
    view, pieces, at = memoryview(message), [], 0
    payload = None
    for _ in range(_MOST_FIELDS):
        if at == len(view):
            return (b"".join(pieces), payload) if payload is not None else (message, None)
        begin = at
        tag, at = _varint(view, at)
        match tag & 7:
            case 0:
                _, at = _varint(view, at)
            case 1:
                at += 8
            case 5:
                at += 4
            case 2:
                length, at = _varint(view, at)
                at += length
            case _:
                break
        if at > len(view):
            break
        if tag == _PAYLOAD_TAG:
            payload = view[at - length : at]
        else:
            pieces.append(view[begin:at])
    return message, None


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """A number and the place behind it; one that does not end, or has more than 64 bits, ends behind all."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            break
        byte = view[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
    return 0, len(view) + 1


def _is_text(word: str) -> bool:
    try:
        return bool(word.encode())
    except UnicodeEncodeError:
        return False


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


def _count(field: str, value: bytes | None) -> int:
    """A number of times; what the hash has beyond what a message can hold is that."""
    if value is None:
        return 0
    return min(max(_integer(field, value) or 0, 0), _INT32_MAX)
