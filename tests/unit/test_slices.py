"""Large JSON, in slices: what a parser takes is taken, however it is cut, and others have their turn."""

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.process import protocol, request_line, slices
from appliance.process.answers import Answer, Noise
from appliance.process.outcome import Failed, Succeeded
from appliance.process.protocol import Decoder
from appliance.process.request_line import encode_request
from appliance.process.runner import Request
from appliance.process.slices import Scanner, is_utf8

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)
DAMAGE = st.sampled_from(["", *'[]{},:"1\\.e-\n\x00', "NaN", "é", "null", " "])


def parsed_to(text: str) -> int | None:
    """Where Python's own parser says that the value ends; None where it finds none."""

    def refuse(_: str) -> None:
        raise ValueError

    try:
        return json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=refuse).raw_decode(text)[1]
    except (ValueError, RecursionError):
        return None


def scanned_to(text: str | bytes) -> int | None:
    try:
        return Scanner(text, lambda: None).skip(0)
    except (ValueError, RecursionError):
        return None


@given(VALUES, st.booleans(), st.sampled_from([None, 1]), st.data())
@example([[[[[[1, {"a": [{}]}]]]]]], True, None, None)
def test_what_a_parser_accepts_is_accepted_and_ends_at_the_same_place(
    value: object, ascii_only: bool, indent: int | None, data: st.DataObject | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    if data is not None and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(text) - 1))
        text = text[:at] + data.draw(DAMAGE) + text[at + data.draw(st.integers(0, 1)) :]

    with pytest.MonkeyPatch.context() as patch:
        # Numbers are to fit into a slice, everything else may lie across.
        patch.setattr(slices, "SLICE", data.draw(st.sampled_from([330, 900])) if data is not None else 330)
        end = scanned_to(text)
        end_in_bytes = scanned_to(text.encode())

    assert end == parsed_to(text)
    assert end_in_bytes == (None if end is None else len(text[:end].encode()))


@pytest.mark.parametrize(
    ("depth", "accepted"), [(slices.DEEPEST, True), (slices.DEEPEST + 10, False), (100_000, False)]
)
def test_what_no_parser_can_read_is_refused(depth: int, accepted: bool) -> None:
    assert (scanned_to(b"[" * depth + b"]" * depth) is not None) is accepted


@pytest.mark.parametrize(
    "text",
    [
        b'"' + b"a" * 1_000_000 + b'"',
        b'"' + b'\\"' * 500_000 + b'"',
        b"[" + b"1.5, " * 200_000 + b"2]",
        b"[" + b'{"a": {"b": {"c": {"d": [1]}}}}, ' * 30_000 + b"2]",
        b" " * 1_000_000 + b"1",
    ],
    ids=["plain text", "escapes", "numbers", "nested", "blanks"],
)
def test_others_have_their_turn_at_least_once_a_slice(text: bytes) -> None:
    turns = [0]

    def turn() -> None:
        turns[0] += 1

    scanner = Scanner(text, turn)
    assert scanner.skip(scanner.blanks(0)) == len(text)
    # A step reads at most two slices before the next turn.
    assert turns[0] >= len(text) / (2 * slices.SLICE) - 1


@pytest.mark.parametrize(("data", "valid"), [("é" * 50_000, True), ("a", True)])
def test_utf8_is_told_across_slices(data: str, valid: bool) -> None:
    assert is_utf8(b"x" + data.encode(), lambda: None) is valid
    assert not is_utf8(data.encode() + b"\xc3", lambda: None)
    assert not is_utf8(data.encode() + b"\xff" + data.encode(), lambda: None)


# Requests -----------------------------------------------------------------------------------------


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small texts take the way of large ones."""
    monkeypatch.setattr(protocol, "LARGE", 1)
    monkeypatch.setattr(request_line, "LARGE", 0)
    monkeypatch.setattr(request_line, "SLICE", 7)


def line_of(payload: bytes) -> bytes:
    line = encode_request(Request("t1", "q.high", "kind", memoryview(payload), 2, 5), lambda: None)
    return line if isinstance(line, bytes) else b"".join(line)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a": [1, 2.50, "\xc3\xa9"]}',
        b'\n{\r\n  "a": 1}\n ',
        b"not JSON",
        b"",
        b'"\xff"',
        b"NaN",
        b"1 2",
        b'{"a": 1',
        b"[" * 2000 + b"]" * 2000,
    ],
    ids=lambda payload: payload[:12].decode(errors="replace"),
)
@pytest.mark.usefixtures("everything_is_large")
def test_a_large_request_says_what_a_small_one_does(payload: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    large = line_of(payload)
    monkeypatch.setattr(request_line, "LARGE", 10**9)
    small = line_of(payload)

    assert large.count(b"\n") == 1
    assert json.loads(large) == json.loads(small)


# Answers ------------------------------------------------------------------------------------------


ANSWERS = [
    b'{"task_id": "a", "result": {"x": [1.0, "\xc3\xa9"]}}',
    b' {"result": 1.50, "task_id": "a"} \r',
    b'{"task_id": "a"}',
    b'{"task_id": "\\u00e9", "result": null, "error": "boom", "retry": true}',
    b'{"task_id": "a", "error": "bo\\u00e9\\"m", "retry": null}',
    b'{"task_id": "a", "error": {"code": 7}}',
    b'{"task_id": "a", "result": [NaN]}',
    b'{"task_id": "a", "result": "\xff"}',
    b'{"task_id": "a", "result": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    b'{"task_id": 7, "result": 1}',
    b'{"task_id": "a", "result": 1,}',
    b'{"task_id": "a", "result": 1',
    b'Loading... {"task_id": "a", "result": 1}',
    b'{"task_id": "a", "result": 1}{"task_id": "b"}',
    b'{"task_id": "a", "result": 1}tick\x1b[0m',
    b'{"status": "ready"}',
    b"[1, 2]",
    b'{"task_id": "a", "result": 1, "result": 2}',
]


@pytest.mark.parametrize("line", ANSWERS, ids=lambda line: line[:40].decode(errors="replace"))
@pytest.mark.usefixtures("everything_is_large")
def test_a_large_line_says_what_a_small_one_does(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    large = Decoder().feed(line + b"\n")
    monkeypatch.setattr(protocol, "LARGE", 10**9)

    assert large == Decoder().feed(line + b"\n")


def test_of_a_long_error_the_beginning_is_read() -> None:
    error = "é\n" * 1_000_000
    line = json.dumps({"task_id": "a", "error": error, "retry": True}, ensure_ascii=False).encode()

    (answer,) = Decoder().feed(line + b"\n")

    assert isinstance(answer, Answer)
    assert isinstance(answer.outcome, Failed)
    assert answer.outcome.retry
    assert len(answer.outcome.error) >= 65_536
    assert error.startswith(answer.outcome.error)


def test_an_answer_over_the_bound_names_the_setting() -> None:
    decoder = Decoder(max_line_bytes=10_000)
    (answer,) = decoder.feed(b'{"task_id": "a", "result": "' + b"x" * 20_000 + b'"}\n')

    assert answer == Answer(
        "a",
        Failed("a line of 20030 bytes was dropped: at most 10000 are read (RUNQY_MAX_RESULT)", retry=False),
    )
    assert decoder.feed(b'{"task_id": "b", "result": 1}\n') == [Answer("b", Succeeded(b"1"))]


@pytest.mark.parametrize("make", [lambda: b"x" * 2_000_000, lambda: b"\xc3\xa9" * 1_000_000])
def test_large_output_that_is_no_answer_stays_output(make: Callable[[], bytes]) -> None:
    assert Decoder().feed(make() + b"\n") == [Noise(make().decode())]
