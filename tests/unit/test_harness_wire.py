"""The harness's encoder, on its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.queue import wire

TEXT = st.text(min_size=1)
INT32 = st.integers(-(2**31), 2**31 - 1).filter(bool)
INT64 = st.integers(-(2**63), 2**63 - 1).filter(bool)
VALUES = {
    "text": TEXT,
    "bytes": st.binary(min_size=1),
    "int32": INT32,
    "int64": INT64,
    "map": st.dictionaries(st.text(), st.text(), min_size=1),
}
MESSAGES = st.fixed_dictionaries({}, optional={name: VALUES[kind] for name, kind in wire.FIELDS.values()})


@given(MESSAGES)
def test_what_is_written_is_read_again(fields: dict[str, object]) -> None:
    assert wire.decode(wire.encode(fields)) == fields


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_never_worse(message: bytes) -> None:
    try:
        fields = wire.decode(message)
    except wire.WireError:
        return
    assert wire.decode(wire.encode(fields)) == fields


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (b"\x0a\x05abc", "wants 5 bytes, 3 are left"),
        (b"\x28", "ends within a varint"),
        (b"\x28" + b"\xff" * 10, "more than ten bytes"),
        (b"\x0b", "wire type 3"),
        (b"\x02\x00", "number 0"),
        (b"\x0a\x01\xff", "no UTF-8"),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(message: bytes, complaint: str) -> None:
    with pytest.raises(wire.WireError, match=complaint):
        wire.decode(message)


def test_a_field_of_an_unexpected_wire_type_is_kept_as_unknown() -> None:
    assert wire.decode(b"\x08\x05") == {"unknown": b"\x08\x05"}


def test_an_integer_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="retry is 2147483648, which does not fit into 32 bits"):
        wire.encode({"retry": 2**31})


def test_a_name_that_is_no_field_is_refused() -> None:
    with pytest.raises(KeyError, match="payloda"):
        wire.encode({"payloda": b"x"})
