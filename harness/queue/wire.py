"""The task message's wire format, by hand: a second opinion, sharing no code with the worker.

Protocol fact: a task's hash field ``msg`` is asynq's ``TaskMessage`` in proto3, with the fields of
:data:`FIELDS`. proto3 leaves out what has its default value; a negative integer, 32 bits or 64, is a
ten-byte varint of its two's complement; a map is a repeated message of key (1) and value (2).
"""

from collections.abc import Iterator, Mapping
from typing import Any

#: Field number → (name, kind); kinds are text, bytes, int32, int64 and map (text to text).
FIELDS: Mapping[int, tuple[str, str]] = {
    1: ("type", "text"),
    2: ("payload", "bytes"),
    3: ("id", "text"),
    4: ("queue", "text"),
    5: ("retry", "int32"),
    6: ("retried", "int32"),
    7: ("error_msg", "text"),
    8: ("timeout", "int64"),
    9: ("deadline", "int64"),
    10: ("unique_key", "text"),
    11: ("last_failed_at", "int64"),
    12: ("retention", "int64"),
    13: ("completed_at", "int64"),
    14: ("group_key", "text"),
    15: ("headers", "map"),
}
#: Under this name :func:`decode` gives, and :func:`encode` takes, the bytes of fields we do not know.
UNKNOWN = "unknown"

_NUMBERS = {name: number for number, (name, _) in FIELDS.items()}
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_BITS = {"int32": 32, "int64": 64}


class WireError(ValueError):
    """These bytes are no task message; says at which offset."""


def encode(fields: Mapping[str, Any]) -> bytes:
    """The message with ``fields`` by name, in the order of their numbers; the unknown ones come last.

    Values: str, bytes (``payload``, ``unknown``), int, and a mapping of str to str (``headers``).
    Raises KeyError for a name that is none, and ValueError for an integer that does not fit.
    """
    strangers = set(fields) - set(_NUMBERS) - {UNKNOWN}
    if strangers:
        raise KeyError(f"no such field of a task message: {', '.join(sorted(strangers))}")
    parts = []
    for number, (name, kind) in FIELDS.items():
        value = fields.get(name)
        if not value:
            continue
        if kind in _BITS:
            parts.append(_tag(number, _VARINT) + _varint(_unsigned(name, value, _BITS[kind])))
        elif kind == "map":
            parts.extend(_chunk(number, _pair(key, item)) for key, item in value.items())
        else:
            parts.append(_chunk(number, value.encode() if kind == "text" else value))
    return b"".join(parts) + bytes(fields.get(UNKNOWN, b""))


def decode(message: bytes) -> dict[str, Any]:
    """The fields that are in ``message``, by name; the inverse of :func:`encode`.

    Fields with a default value are not there, as on the wire. A field that comes twice has its last
    value. Raises :class:`WireError`.
    """
    fields: dict[str, Any] = {}
    unknown = b""
    for number, wire_type, value, raw in _entries(message):
        name, kind = FIELDS.get(number, ("", ""))
        if wire_type == _VARINT and kind in _BITS and isinstance(value, int):
            fields[name] = _signed(value, _BITS[kind])
        elif wire_type == _LENGTH and kind == "map" and isinstance(value, bytes):
            key, item = _unpair(value)
            fields.setdefault(name, {})[key] = item
        elif wire_type == _LENGTH and kind in {"text", "bytes"} and isinstance(value, bytes):
            fields[name] = value if kind == "bytes" else _text(value)
        else:
            unknown += raw
    fields = {name: value for name, value in fields.items() if value}
    return {**fields, UNKNOWN: unknown} if unknown else fields


def _entries(message: bytes) -> Iterator[tuple[int, int, int | bytes, bytes]]:
    """Each field as (number, wire type, value, its bytes as they stand)."""
    at = 0
    while at < len(message):
        start = at
        key, at = _read_varint(message, at)
        number, wire_type = key >> 3, key & 7
        if number == 0:
            raise WireError(f"offset {start}: a field with the number 0")
        if wire_type == _VARINT:
            value, at = _read_varint(message, at)
            yield number, wire_type, value, message[start:at]
            continue
        if wire_type == _LENGTH:
            length, at = _read_varint(message, at)
        elif wire_type in {_FIXED64, _FIXED32}:
            length = 8 if wire_type == _FIXED64 else 4
        else:
            raise WireError(f"offset {start}: field {number} has the wire type {wire_type}, which is none")
        if at + length > len(message):
            raise WireError(f"offset {at}: field {number} wants {length} bytes, {len(message) - at} are left")
        at += length
        yield number, wire_type, message[at - length : at], message[start:at]


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for size in range(10):
        if at + size >= len(message):
            raise WireError(f"offset {at}: the message ends within a varint")
        byte = message[at + size]
        value |= (byte & 0x7F) << (7 * size)
        if byte < 0x80:
            return value & (2**64 - 1), at + size + 1
    raise WireError(f"offset {at}: a varint of more than ten bytes")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _unsigned(name: str, value: int, bits: int) -> int:
    if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        raise ValueError(f"{name} is {value}, which does not fit into {bits} bits")
    return value % 2**64


def _signed(value: int, bits: int) -> int:
    # A reader of an int32 takes the low 32 bits of whatever was written.
    value %= 2**bits
    return value - 2**bits if value >= 2 ** (bits - 1) else value


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _chunk(number: int, content: bytes) -> bytes:
    return _tag(number, _LENGTH) + _varint(len(content)) + content


def _pair(key: str, value: str) -> bytes:
    # Unlike fields of a message, both halves of a map entry are written even when they are empty.
    return _chunk(1, key.encode()) + _chunk(2, value.encode())


def _unpair(entry: bytes) -> tuple[str, str]:
    halves = {1: "", 2: ""}
    for number, wire_type, value, _ in _entries(entry):
        if wire_type == _LENGTH and number in halves and isinstance(value, bytes):
            halves[number] = _text(value)
    return halves[1], halves[2]


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        raise WireError(f"a text field is no UTF-8: {value[:50]!r}") from exc
