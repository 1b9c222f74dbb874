"""The lines of the task process: whatever it prints, the channel survives and nothing is misread."""

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.process import protocol
from appliance.process.answers import Answer, Event, Noise, Ready, StartError
from appliance.process.outcome import Failed, Succeeded
from appliance.process.protocol import Decoder
from appliance.process.request_line import encode_request
from appliance.process.runner import Request

GOOD = b'{"task_id": "good", "result": 1}\n'
GOOD_ANSWER = Answer("good", Succeeded(b"1"))


def read(*chunks: bytes, max_line_bytes: int = protocol.MAX_LINE_BYTES) -> list[Event]:
    decoder = Decoder(max_line_bytes)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events + decoder.end()


def request(payload: bytes) -> Request:
    return Request("t1", "q.high", "kind", payload, retry_count=2, max_retry=5)


def line_of(request: Request) -> bytes:
    """The line of a request, in one piece."""
    line = encode_request(request, lambda: None)
    return line if isinstance(line, bytes) else b"".join(line)


def failed(events: list[Event]) -> str:
    """The error of the one answer among ``events``."""
    (answer,) = (event for event in events if isinstance(event, Answer))
    assert isinstance(answer.outcome, Failed)
    assert not answer.outcome.retry
    return answer.outcome.error


LINES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [
            b'{"status": "ready"}',
            b'{"status": "error", "error": "no GPU"}',
            b'{"task_id": "a", "result": {"x": [1.0, "\xc3\xa9"]}}',
            b'{"task_id": "b", "result": NaN}',
            b'{"task_id": "c", "error": "\xff"}',
            b'Loading... {"task_id": "d"}\r',
            b'{"task_id": "e"}{"task_id": "f"}',
            b'{"task_id": "g", "result": 1}tick\x1b[0m',
            b'tick{"task_id": "h", "result": 1}\xfftock{"task_id": "i"} x',
            b"\xf0\x9f\x99",
            b"x" * 500,
        ]
    ),
)


@given(st.lists(LINES), st.data())
def test_however_the_stream_is_chunked_the_events_are_the_same(
    lines: list[bytes], data: st.DataObject
) -> None:
    stream = b"\n".join(lines)
    whole = read(stream, max_line_bytes=200)

    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    edges = [0, *cuts, len(stream)]
    chunks = [stream[start:end] for start, end in itertools.pairwise(edges)]

    assert read(*chunks, max_line_bytes=200) == whole
    assert read(*(stream[at : at + 1] for at in range(len(stream))), max_line_bytes=200) == whole


#: What makes lines that are, or are nearly, an answer as JSON encoders write it.
HEADS = (
    b'{"task_id": "a", "result": ', b'{"task_id":"a","result":', b'{"task_id": "\\ud800", "result": ',
    b' {"task_id": "a", "result": ', b'{"task_id": "\xff", "result": ', b'{"task_id": "\x01", "result":',
    b'x{"task_id": "a", "result": ', b'{"task_id": a, "result": ', b'{"task_id": "a", "result": 1, "result":',
)  # fmt: skip
RESULTS = (
    b"1", b"-0", b"1e999", b"NaN", b"[Infinity]", b'"\xc3\xa9"', b'"\xff"', b'{"x": [1.50, {}]}', b"",
    b"9" * 60, b"[" * 30, b"nul", b'"\\ud800"', b" 1", b"1,", b'{"a":1,}', b"01", b"\xc2\xa01",
    b'"' + b"x" * 250 + b'"',
)  # fmt: skip
TAILS = (
    b"}", b', "error": null, "retry": false}', b',"error":null,"retry":false}', b', "error": null}', b"} ",
    b"}\r", b"} x", b"}}", b"", b', "error": "no"}', b', "error": 0}', b', "retry": true}',
    b', "task_id": "b"}', b', "result": 2}', b', "error": null, "retry": false}{"task_id": "c"}',
    b' , "error":\tnull }', b', "status": "ready"}',
)  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_an_answer_that_is_read_without_a_closer_look_is_what_that_would_make_of_it(head: bytes) -> None:
    for result, tail in itertools.product(RESULTS, TAILS):
        line = head + result + tail + b"\n"
        # One that comes in two pieces always gets the closer look.
        assert read(line, max_line_bytes=200) == read(line[:1], line[1:], max_line_bytes=200), line


@given(st.binary())
@example(b'{"task_id": "\\ud800"}')
@example(b'{"task_id": "x", "result": ' + b"[" * 100_000)
@example(b'{"task_id":' * 1000)
@example(b'{"task_id": "x", "result": ' + b"9" * 5000 + b"}")
@example(b'{"status": ["ready"]}')
@example(b'{"status": "error", "error": {"code": 1}}')
@example(b"\xef\xbb\xbf")
def test_a_bad_line_costs_one_line_and_never_the_channel(line: bytes) -> None:
    line = line.replace(b"\n", b"")

    events = read(GOOD + line + b"\n" + GOOD)

    assert events[0] == events[-1] == GOOD_ANSWER
    assert len(events) >= 2
    for event in events:  # whatever text comes out can be logged and stored
        str(event).encode()


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b'{"status": "ready"}', Ready()),
        (b' {"status":"ready","version":3} \r', Ready()),
        (b'{"status": "error", "error": "no GPU"}', StartError("no GPU")),
        (b'{"status": "error"}', StartError("no reason given")),
        (b'{"status": "error", "error": {"code": 7}}', StartError('{"code": 7}')),
        (b'{"task_id": "a"}', Answer("a", Succeeded(b"null"))),
        (b'{"task_id": "a", "result": null, "error": null, "retry": false}', Answer("a", Succeeded(b"null"))),
        (b'{"task_id": "a", "result": 5, "error": ""}', Answer("a", Succeeded(b"5"))),
        (b'{"result": 5, "task_id": "a"}', Answer("a", Succeeded(b"5"))),
        (b'{"task_id": "a", "error": "boom"}', Answer("a", Failed("boom", retry=False))),
        (b'{"task_id": "a", "error": "boom", "retry": true}', Answer("a", Failed("boom", retry=True))),
        (b'{"task_id": "a", "error": "boom", "retry": null}', Answer("a", Failed("boom", retry=False))),
        (b'{"task_id": "a", "error": {"code": 7}}', Answer("a", Failed('{"code": 7}', retry=False))),
        (b'{"task_id": "nobody knows it"}', Answer("nobody knows it", Succeeded(b"null"))),
        (b'{"task_id": "\\u00e9\\ud83d\\ude42"}', Answer("é🙂", Succeeded(b"null"))),
        (b'{"task_id": "a", "status": "ready"}', Answer("a", Succeeded(b"null"))),
    ],
    ids=lambda value: value.decode() if isinstance(value, bytes) else "",
)
def test_greetings_and_answers_are_read(line: bytes, event: Event) -> None:
    assert read(line + b"\n") == [event]


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"[]",
        b'"task_id"',
        b"{}",
        b'{"status": "starting"}',
        b'{"result": 1}',
        b'{"task_id": 7, "result": 1}',
        b'{"task_id": null}',
        b'{"task_id": "a"',
        b'{"task_id": "a",}',
        b"{'task_id': 'a'}",
        b'[{"task_id": "a"}]',
        b'sent {"task_id": "a"} to nobody',
        b'{"log": {"task_id": "a"}}',
        b'{"log": "x", "inner": {"task_id": "a", "result": 1}}',
    ],
    ids=bytes.decode,
)
def test_what_is_no_object_with_a_task_id_is_output_for_people(line: bytes) -> None:
    assert read(line + b"\n") == [Noise(line.decode())]


@pytest.mark.parametrize("line", [b"", b" ", b"\r", b"\t \r"], ids=repr)
def test_a_blank_line_is_nothing(line: bytes) -> None:
    assert read(line + b"\n") == []


@pytest.mark.parametrize(
    "before", ["Loading... ", "100%|####| {x}", '{"progress": 1} ', "{", '{"task_id": ', "\x1b[31mred"]
)
def test_output_glued_before_an_answer_is_told_apart(before: str) -> None:
    events = read(before.encode() + GOOD)

    assert events[-1] == GOOD_ANSWER
    assert events[:-1] == [Noise(before.strip(" \t\r"))]


@pytest.mark.parametrize(
    "invisible",
    ["\x1b[0m", "\x1b[0m\x1b[K", "\0", "\f", "\xa0", "\x1b]0;title\x07", "\ufeff", "\u200b", "\x85"],
    ids=ascii,
)
def test_what_no_terminal_shows_is_no_part_of_an_answer(invisible: str) -> None:
    line = GOOD.strip().decode()

    for text in (
        line + invisible,
        invisible + line,
        f"{invisible}{line} {invisible}",
        f"{line}{invisible}{line}",
    ):
        events = read(f"{text}\n".encode())
        assert set(events) == {GOOD_ANSWER}, text


@pytest.mark.parametrize("behind", ["tick", " 50%|###", "\x1b[0mdone", "\0x", "[0m"])
def test_output_of_another_thread_behind_an_answer_costs_it_nothing(behind: str) -> None:
    events = read(GOOD.strip() + behind.encode() + b"\n\n")

    assert events[0] == GOOD_ANSWER
    assert events[1:] == [Noise(behind.strip())]


def test_an_answer_glued_between_the_output_of_two_other_threads_counts() -> None:
    assert read(b"tick" + GOOD.strip() + b"tock\n") == [Noise("tick"), GOOD_ANSWER, Noise("tock")]


def test_answers_with_output_between_them_all_count() -> None:
    good = GOOD.strip()
    events = read(good + b"one" + good + b"two" + good + b"\n")

    assert events == [GOOD_ANSWER, Noise("one"), GOOD_ANSWER, Noise("two"), GOOD_ANSWER]


@pytest.mark.parametrize(
    "line",
    [
        b'{"task_id": "a", "result": 1},',
        b'{"task_id": "a", "result": 1}]',
        b'{"task_id": "a", "result": 1}}',
        b'{"task_id": "a"} begins',
        b'{"task_id": "a", "type": "t", "payload": {}} received',
        b'sent {"task_id": "a", "result": 1} to the worker',
        b'answer=<{"task_id": "a", "result": 1}>',
        b'x{"task_id": "a", "result": 1} y',
        b'{"log":{"task_id":"a","result":1}}',
        b'[{"task_id":"a","result":1}]',
    ],
    ids=bytes.decode,
)
def test_an_object_that_is_quoted_or_a_part_of_another_is_no_answer(line: bytes) -> None:
    assert read(line + b"\n") == [Noise(line.decode())]


def test_bytes_behind_an_answer_that_are_no_utf8_do_not_fail_it() -> None:
    assert read(GOOD.strip() + b"\xff\n") == [GOOD_ANSWER, Noise("\ufffd")]


def test_a_line_of_invisible_characters_alone_is_nothing() -> None:
    assert read(b"\0" * 1_000_000 + b"\x1b[0m" * 100_000 + b"\n" + GOOD) == [GOOD_ANSWER]


def test_several_objects_may_share_a_line() -> None:
    events = read(b'up {"status": "ready"} {"task_id": "a"}\t{"task_id": "b", "error": "x"}\n')

    assert events == [
        Noise("up"),
        Ready(),
        Answer("a", Succeeded(b"null")),
        Answer("b", Failed("x", retry=False)),
    ]


def test_an_answer_without_a_line_break_counts_when_the_output_ends() -> None:
    decoder = Decoder()

    assert decoder.feed(GOOD.rstrip()) == []
    assert decoder.end() == [GOOD_ANSWER]
    assert decoder.end() == []


@pytest.mark.parametrize(
    "result",
    [
        b"12345678901234567890123456789012345678901234567890",
        b"1.10000000000000000000000000001",
        b"1E400",
        b"-0.0",
        b'{"b":1,  "a" : [ ],"b":2}',
        b'"\\u00e9 \xc3\xa9 \\ud800"',
        b'"\xe2\x80\xa8"',
        b"9" * 5000,
    ],
    ids=repr,
)
def test_a_result_is_passed_on_byte_for_byte(result: bytes) -> None:
    assert read(b'{"task_id": "a", "result":' + result + b' , "error": null}\n') == [
        Answer("a", Succeeded(result))
    ]


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_a_result_that_json_does_not_have_fails_its_task_and_says_why(constant: str) -> None:
    events = read(f'{{"task_id": "a", "result": [1, {{"x": {constant}}}]}}\n'.encode() + GOOD)

    assert failed(events[:1]) == f"the result holds {constant}, which JSON does not have"
    assert events[1:] == [GOOD_ANSWER]


def test_a_constant_in_another_place_is_no_harm() -> None:
    assert read(b'{"loss": NaN, "task_id": "good", "result": 1, "more": [Infinity]}\n') == [GOOD_ANSWER]


def test_an_answer_in_invalid_utf8_fails_its_task() -> None:
    assert failed(read(b'{"task_id": "a", "result": "\xff"}\n')) == "the answer is not valid UTF-8"


def test_an_error_in_invalid_utf8_is_still_an_error() -> None:
    assert failed(read(b'{"task_id": "a", "error": "caf\xe9"}\n')) == "caf�"


def test_half_a_surrogate_pair_becomes_text_that_can_be_stored() -> None:
    assert failed(read(b'{"task_id": "a", "error": "\\ud83d cut"}\n')) == "� cut"


def test_a_result_nested_too_deeply_fails_its_task() -> None:
    deep = b'{"task_id": "a", "result": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"

    events = read(deep + GOOD)

    assert failed(events[:1]) == "the answer is nested too deeply"
    assert events[1:] == [GOOD_ANSWER]


def test_an_over_long_answer_fails_its_task_and_keeps_little_in_memory() -> None:
    decoder = Decoder(max_line_bytes=1000)

    events = decoder.feed(b'{"task_id": "a", "result": "' + b"x" * 900)
    for _ in range(100):
        events += decoder.feed(b"x" * 900)
        assert len(decoder._line) <= 1000
    events += decoder.feed(b'"}\n' + GOOD)

    assert "a line of 90930 bytes was dropped" in failed(events[:1])
    assert events[1:] == [GOOD_ANSWER]


def test_an_over_long_line_of_nobodys_is_noise_that_says_so() -> None:
    (noise, answer) = read(b"x" * 2000 + b"\n" + GOOD, max_line_bytes=1000)

    assert isinstance(noise, Noise)
    assert noise.text.startswith("a line of 2000 bytes was dropped")
    assert len(noise.text) < 400
    assert answer == GOOD_ANSWER


def test_a_line_of_the_longest_length_is_read() -> None:
    assert read(GOOD, max_line_bytes=len(GOOD) - 1) == [GOOD_ANSWER]
    assert failed(read(b'{"task_id": "good"  }\n', max_line_bytes=20))


def test_a_hostile_line_of_many_beginnings_costs_bounded_time() -> None:
    # Each beginning, looked at to the end, would make this quadratic: minutes instead of milliseconds.
    line = b'{"task_id": "a", "x": ' * 100_000

    assert [type(event) for event in read(line + b"\n" + GOOD)] == [Noise, Answer]


# Requests ----------------------------------------------------------------------------------------


def test_a_request_is_one_line_with_all_the_fields_of_the_wire() -> None:
    line = line_of(request(b'{"n": 1}'))

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "task_id": "t1",
        "type": "kind",
        "payload": {"n": 1},
        "retry_count": 2,
        "max_retry": 5,
        "queue": "q.high",
    }


@pytest.mark.parametrize(
    "payload",
    [
        b"123456789012345678901234567890",
        b"0.1000000000000000055511151231257827",
        b"1e999",
        b'{"b":1, "a" :[ ], "b":2}',
        b'"\\ud800 \\u00e9 \xc3\xa9 \xe2\x80\xa8"',
        b"9" * 5000,
        b"true",
    ],
    ids=repr,
)
def test_a_json_payload_reaches_the_process_byte_for_byte(payload: bytes) -> None:
    assert b'"payload": ' + payload + b', "retry_count"' in line_of(request(payload))


def test_line_breaks_between_tokens_are_dropped_so_that_the_request_stays_one_line() -> None:
    line = line_of(request(b'\n{\r\n  "a": [1,\n 2]\r}\n'))

    assert line.count(b"\n") == 1
    assert b"\r" not in line
    assert json.loads(line)["payload"] == {"a": [1, 2]}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b" ",
        b"hello",
        b"{",
        b"{} {}",
        b"NaN",
        b"[Infinity]",
        b'"\xff"',
        b'"a\nb"',
        b"\xef\xbb\xbf{}",
        b"\x0b{}",
        b"[" * 100_000,
        b'{"a": 1}, "max_retry": 99',
    ],
    ids=lambda payload: repr(payload[:20]),
)
def test_a_payload_that_is_not_json_is_null(payload: bytes) -> None:
    assert json.loads(line_of(request(payload)))["payload"] is None


@given(st.binary(max_size=50) | st.text(max_size=50).map(str.encode))
def test_no_payload_can_break_out_of_its_field(payload: bytes) -> None:
    line = line_of(request(payload))

    assert line.count(b"\n") == 1
    assert set(json.loads(line)) == {"task_id", "type", "payload", "retry_count", "max_retry", "queue"}
    assert json.loads(line)["max_retry"] == 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON, st.text(), st.booleans())
def test_what_a_process_echoes_comes_back_as_it_went(value: object, task_id: str, ascii_only: bool) -> None:
    payload = json.dumps(value, ensure_ascii=ascii_only).encode(errors="replace")
    sent = json.loads(line_of(Request(task_id, "q", "q", payload, 0, 0)))

    answer = json.dumps({"task_id": sent["task_id"], "result": sent["payload"]}, ensure_ascii=ascii_only)
    (event,) = read(answer.encode(errors="replace") + b"\n")

    assert isinstance(event, Answer)
    assert event.task_id == task_id
    assert isinstance(event.outcome, Succeeded)
    assert json.loads(event.outcome.result) == json.loads(payload)
