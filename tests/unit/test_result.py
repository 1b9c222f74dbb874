"""A result comes back from the server as the task code gave it, whatever JSON value it is."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.queue.result import stored

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def shown(text: bytes) -> bytes:
    """What the server shows: the rule of Go's decoder, spelt out group by group, by nobody else's code.

    Groups of four of the alphabet; the last may end in one or two ``=``, and nothing follows them; line
    breaks are skipped anywhere. What breaks the rule is shown as it is.
    """
    symbols = [char for char in text.decode("latin-1") if char not in "\r\n"]
    decoded = bytearray()
    if len(symbols) % 4:
        return text
    for start in range(0, len(symbols), 4):
        group = symbols[start : start + 4]
        padding = next((4 - at for at, char in enumerate(group) if char == "="), 0)
        is_last = start + 4 == len(symbols)
        if padding > (2 if is_last else 0) or group[4 - padding :] != ["="] * padding:
            return text
        if any(char not in _ALPHABET for char in group[: 4 - padding]):
            return text
        bits = sum(_ALPHABET.index(char) << 6 * (3 - at) for at, char in enumerate(group[: 4 - padding]))
        decoded += bits.to_bytes(3, "big")[: 3 - padding]
    return bytes(decoded)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(JSON_VALUES, st.booleans(), st.sampled_from(["", "\r", " "]))
@example(None, True, "")
@example(True, True, "")
@example(1234, True, "")
@example(12345678, True, "")
@example(123, True, "\r")
@example(1234, True, "\r")
@example(1e22, True, "")
def test_every_json_value_is_shown_as_it_was_given(value: Any, ascii_only: bool, behind: str) -> None:
    result = (json.dumps(value, ensure_ascii=ascii_only) + behind).encode(errors="replace")

    assert shown(stored(result)) == stored(result)
    assert json.loads(stored(result)) == json.loads(result)


@given(st.text(alphabet="0123456789eE+/=nultrasf\r\n", max_size=12).map(str.encode))
def test_whatever_consists_of_base64s_characters_is_shown_as_it_was_given(result: bytes) -> None:
    assert shown(stored(result)).rstrip(b" ") == result


@pytest.mark.parametrize("result", [b"null", b"true", b"1234", b"12345678", b"1e+5", b"12\r\n34"])
def test_without_the_blank_the_server_would_show_other_bytes(result: bytes) -> None:
    assert shown(result) != result


@pytest.mark.parametrize(
    "result",
    [b'{"a": 1}', b"[1, 2]", b'"text"', b"false", b"12345", b"-123", b"1.25", b'"' + b"a" * 98 + b'"'],
)
def test_a_result_that_is_no_base64_stays_as_it_is(result: bytes) -> None:
    assert stored(result) is result
