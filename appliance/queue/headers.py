"""The headers of a task's message, by which a client says what the task belongs to. Pure.

They are field 15 of asynq's ``TaskMessage``, a map of strings. :mod:`appliance.queue.message` only carries
them along; here they are read, which costs a second look at the message.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

_Field = descriptor_pb2.FieldDescriptorProto


def _headers_class() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(name="headers.proto", package="asynq_headers", syntax="proto3")
    message = file.message_type.add(name="TaskMessage")
    # Bytes, because one text that is not UTF-8 would make all of it unreadable.
    entry = message.nested_type.add(name="Entry")
    for number, name in ((1, "key"), (2, "value")):
        entry.field.add(name=name, number=number, type=_Field.TYPE_BYTES, label=_Field.LABEL_OPTIONAL)
    message.field.add(
        name="headers",
        number=15,
        type=_Field.TYPE_MESSAGE,
        label=_Field.LABEL_REPEATED,
        type_name=".asynq_headers.TaskMessage.Entry",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("asynq_headers.TaskMessage"))


_Headers: Any = _headers_class()


def headers_of(message: bytes | None) -> dict[str, str]:
    """The headers of an encoded message; none where there is no message, or none that can be read."""
    try:
        entries = _Headers.FromString(message or b"").headers
    except DecodeError:
        return {}
    return {entry.key.decode(errors="replace"): entry.value.decode(errors="replace") for entry in entries}
