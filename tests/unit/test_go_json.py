"""JSON as the server reads and writes it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.server import go_json

#: Half a surrogate pair is no text in Python's sense of UTF-8.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=8,
)
BLANKS = st.text(" \t\r\n", max_size=3).map(str.encode)


@given(st.lists(st.tuples(VALUES, BLANKS)))
def test_the_elements_of_a_list_are_the_bytes_they_were_sent_as(entries: list[tuple[Any, bytes]]) -> None:
    raw = [json.dumps(value, indent=1, ensure_ascii=False).encode() for value, _ in entries]
    body = (
        b" [ " + b",".join(blank + each + blank for each, (_, blank) in zip(raw, entries, strict=True)) + b"]"
    )

    assert go_json.elements(body) == raw


@given(st.dictionaries(TEXTS, VALUES))
def test_the_members_of_an_object_are_the_bytes_they_were_sent_as(value: dict[str, Any]) -> None:
    raw = {name: json.dumps(each, ensure_ascii=False).encode() for name, each in value.items()}

    assert go_json.members(json.dumps(value, ensure_ascii=False, indent=2).encode()).keys() == raw.keys()
    assert go_json.members(json.dumps(value, ensure_ascii=False).encode()) == raw


@given(st.dictionaries(TEXTS, VALUES))
def test_a_rewritten_object_has_the_same_value_and_sorted_keys(value: dict[str, Any]) -> None:
    written = go_json.rewritten(json.dumps(value).encode())

    assert json.loads(written, parse_int=float) == json.loads(json.dumps(value), parse_int=float)
    assert list(json.loads(written)) == sorted(value)


@pytest.mark.parametrize(
    ("number", "written"),
    [
        ("1", "1"),
        ("1.0", "1"),
        ("-0.0", "-0"),
        ("0.000001", "0.000001"),
        ("0.0000001", "1e-7"),
        ("1.5e-10", "1.5e-10"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("1.25e+30", "1.25e+30"),
        ("123456789.125", "123456789.125"),
        ("12345678901234567890", "12345678901234567000"),
    ],
)
def test_a_number_is_written_as_a_double_of_go(number: str, written: str) -> None:
    assert go_json.rewritten(f'{{"n": {number}}}'.encode()) == f'{{"n":{written}}}'.encode()


@pytest.mark.parametrize("body", [b'{"n": 1e999}', b"[2, 1.0]", b'"text"', b"null", b" 7 "])
def test_what_is_no_object_or_has_a_number_beyond_a_double_stays_as_it_was_sent(body: bytes) -> None:
    assert go_json.rewritten(body) == body


@pytest.mark.parametrize(
    ("body", "written"),
    [
        (b'{"t":"<a>&\xe2\x80\xa8"}', b'{"t":"\\u003ca\\u003e\\u0026\\u2028"}'),
        (b'{"t":"\\ud83d\\ude00"}', '{"t":"😀"}'.encode()),
        (b'{"t":"\\ud83d"}', '{"t":"\ufffd"}'.encode()),
        (b'{"t":"\xff"}', '{"t":"\ufffd"}'.encode()),
    ],
    ids=["escaped", "a pair", "half a pair", "no UTF-8"],
)
def test_texts_are_escaped_and_repaired_as_go_does(body: bytes, written: bytes) -> None:
    assert go_json.rewritten(body) == written


@pytest.mark.parametrize("body", [b"", b"{", b"NaN", b'{"a": Infinity}', b"{} {}"])
def test_what_is_no_json_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting|no JSON|Extra"):
        go_json.parse(body)
