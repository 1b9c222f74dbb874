"""Progress: which line is one, whose it is, and what becomes of it on its way to Redis."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import gevent
import pytest
from gevent.os import make_nonblocking
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from appliance.dispatch.progress import MOST_WAITING, Progress
from appliance.dispatch.run import Run
from appliance.errors import QueueError, QueueRejected, QueueUnavailable
from appliance.process.launch import Launched
from appliance.process.listener import Listener
from appliance.process.outcome import Succeeded
from appliance.process.output_pipes import OutputPipes
from appliance.process.progress import MAX_BYTES, Report, read
from appliance.process.protocol import Answer, Decoder, Noise
from appliance.process.runner import Request
from appliance.queue.message import Lease
from appliance.queue.progress import ProgressStore
from tests.clock import HandClock
from tests.documentation.blocks import code
from tests.unit.dispatching import task

# Which line is one ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "report"),
    [
        ('{"task_id": "a", "progress": 0.5}', Report("a", "0.5")),
        (' {"progress": {"done": 3, "of": 10}, "task_id": "a"} ', Report("a", '{"done":3,"of":10}')),
        ('{"progress": "loading"}', Report(None, '"loading"')),
        ('{"task_id": null, "progress": null}', Report(None, "null")),
        ('{"task_id": "a", "progress": "\\ud800"}', Report("a", '"?"')),
    ],
)
def test_a_line_with_nothing_but_progress_is_a_report(line: str, report: Report) -> None:
    assert read(line) == report


def test_the_line_that_the_page_prints_is_progress(capfd: pytest.CaptureFixture[str]) -> None:
    exec(code("docs/task-process.md", "python"), {"task_id": "a"})  # the page's own words

    printed = capfd.readouterr()
    assert printed.out == ""
    assert read(printed.err) == Report("a", '{"done":3,"of":10}')


@pytest.mark.parametrize(
    "line",
    [
        '"progress"',
        '{"progress": 0.5',
        '{"progress": 0.5} trailing',
        '{"level": "info", "progress": 0.5}',
        '{"task_id": 7, "progress": 0.5}',
        '{"task_id": "a", "progress": 1, "result": 2}',
        '{"progress": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"progress": ' + "9" * 5000 + "}",
        '["progress"]',
        "",
    ],
)
def test_any_other_line_is_output(line: str) -> None:
    assert read(line) is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("NaN", "NaN"),
        ("[1e999]", "NaN or Infinity"),
        (json.dumps("ü" * (MAX_BYTES // 2)), f"{MAX_BYTES + 2} bytes, at most {MAX_BYTES}"),
    ],
)
def test_progress_that_cannot_be_kept_says_why(value: str, why: str) -> None:
    report = read(f'{{"task_id": "a", "progress": {value}}}')

    assert report is not None
    assert report.value == ""
    assert why in report.refused


@given(st.text())
def test_whatever_a_line_holds_reading_it_raises_nothing(text: str) -> None:
    read('{"progress": ' + text)
    read('{"task_id": "a", "progress": ' + text + "}")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8))
def test_what_is_kept_is_what_was_said(value: Any) -> None:
    report = read(json.dumps({"task_id": "a", "progress": value}))

    assert report is not None
    assert json.loads(report.value) == json.loads(
        json.dumps(value).encode("utf-16", "replace").decode("utf-16")
    )


@pytest.mark.parametrize(
    "line",
    [
        b'{"task_id": "a", "progress": 0.5}',
        b'{"task_id": "a", "progress": 0.5, "retry": false}',
        b'{"task_id": "a", "progress": NaN}',
    ],
)
def test_progress_on_stdout_is_no_answer(line: bytes) -> None:
    assert Decoder().feed(line + b"\n") == [Noise(line.decode())]


def test_an_answer_may_hold_progress_and_stays_an_answer() -> None:
    events = Decoder().feed(
        b'{"task_id": "a", "progress": 1, "result": 2}\n{"task_id": "b", "progress": 1, "error": null}\n'
    )

    assert events == [Answer("a", Succeeded(b"2")), Answer("b", Succeeded(b"null"))]


def test_an_answer_behind_progress_on_one_line_counts() -> None:
    progress, answer = '{"task_id": "a", "progress": 1}', '{"task_id": "a", "result": 2}'

    assert Decoder().feed(f"{progress}{answer}\n".encode()) == [Noise(progress), Answer("a", Succeeded(b"2"))]


# What comes out of the pipes -----------------------------------------------------------------------


class Heard:
    """A listener that remembers what it hears, in order."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_event(self, event: Any) -> None:
        self.heard.append(event)

    def on_output(self, source: str, text: str) -> None:
        self.heard.append((source, text))


@contextmanager
def pipes() -> Iterator[tuple[Heard, Callable[[int, str], None], Callable[[], None]]]:
    """What was heard; a function that prints to 1 or 2 as a process does; one that lets it be read."""
    heard = Heard()
    out, err = os.pipe(), os.pipe()
    for read_end in (out[0], err[0]):
        make_nonblocking(read_end)
    output = OutputPipes(cast(Listener, heard), str, lambda: None)
    output.open(cast(Launched, type("L", (), {"stdout": out[0], "stderr": err[0]})), lambda: None)
    gevent.sleep(0)

    def say(descriptor: int, line: str) -> None:
        os.write({1: out[1], 2: err[1]}[descriptor], line.encode() + b"\n")

    def settle() -> None:
        before = -1
        while before != len(heard.heard):
            before = len(heard.heard)
            for _ in range(3):
                gevent.sleep(0.001)

    try:
        yield heard, say, settle
    finally:
        os.close(out[1])
        os.close(err[1])
        output.wait()
        output.end()


def test_progress_is_heard_before_the_answer_that_was_written_after_it() -> None:
    with pipes() as (heard, say, settle):
        say(2, '{"task_id": "a", "progress": 1}')
        settle()
        for number in range(20):
            say(2, f'{{"task_id": "a", "progress": {number}}}')
            say(1, f'{{"task_id": "a", "result": {number}}}')
            settle()

    kinds = [type(each) for each in heard.heard if type(each) is not tuple]
    assert kinds == [Report, *[Report, Answer] * 20]


def test_lines_of_a_flood_are_not_torn_apart_by_answers() -> None:
    with pipes() as (heard, say, settle):
        say(2, '{"task_id": "a", "progress": 1}')
        settle()
        flood = "\n".join(f"line {number}" for number in range(2_000))
        say(2, flood)
        say(1, '{"task_id": "a", "result": 1}')
        settle()

    lines = [each[1] for each in heard.heard if type(each) is tuple and each[1].startswith("line")]
    assert lines == flood.split("\n")


def test_a_report_is_output_too() -> None:
    line = '{"task_id": "a", "progress": 1}'
    with pipes() as (heard, say, settle):
        say(2, line)
        say(1, line)
        settle()

    assert sorted(map(str, heard.heard)) == sorted(
        map(str, [Report("a", "1"), ("stderr", line), Report("a", "1"), ("stdout", line)])
    )


# On the way to Redis -------------------------------------------------------------------------------


class Store:
    """Takes what is written, or fails as told."""

    def __init__(self) -> None:
        self.written: list[dict[str, str]] = []
        self.failure: QueueError | None = None

    def write(self, progress: Mapping[Lease, str]) -> None:
        if self.failure is not None:
            raise self.failure
        self.written.append({lease.task_id: value for lease, value in progress.items()})


def masked(text: str) -> str:
    return text.replace("s3cret", "***")


class Room:
    """A room for progress, with the tasks that are here."""

    def __init__(self, *task_ids: str) -> None:
        self.store = Store()
        self.runs = {each: Run(task(each), cast(Request, None), 0.0) for each in task_ids}
        self.progress = Progress(cast(ProgressStore, self.store), self.runs.get, masked, HandClock())

    def note(self, task_id: str, value: str) -> None:
        self.progress.note(task_id, Report(task_id, value))


def test_of_each_task_what_it_said_last_is_written() -> None:
    room = Room("a", "b")
    for number in range(100):
        room.note("a", str(number))
    room.note("b", "1")
    room.note("unknown", "1")

    room.progress.tick()

    assert room.store.written == [{"a": "99", "b": "1"}]


def test_what_is_written_has_the_lease_of_the_attempt_that_said_it() -> None:
    room = Room("a")
    room.note("a", "1")
    leases: list[Lease] = []
    room.runs["a"].task = task("a", attempt=2)
    room.store.write = leases.extend  # type: ignore[method-assign]

    room.progress.tick()

    assert [lease.attempt for lease in leases] == ["1"]


def test_while_redis_is_unavailable_progress_waits_and_the_newest_counts() -> None:
    room = Room("a")
    room.note("a", "1")
    room.store.failure = QueueUnavailable("away")
    room.progress.tick()
    room.note("a", "2")
    room.store.failure = None

    room.progress.tick()
    room.progress.tick()

    assert room.store.written == [{"a": "2"}, {}]


def test_what_redis_refuses_is_given_up_and_said_once() -> None:
    room = Room("a")
    room.store.failure = QueueRejected("no permission")
    with capture_logs() as logged:
        for _ in range(3):
            room.note("a", "1")
            room.progress.tick()
    room.store.failure = None
    room.progress.tick()

    assert [(line["event"], line["error"]) for line in logged] == [("progress.refused", "no permission")]
    assert room.store.written == [{}]


def test_progress_that_cannot_be_kept_is_said_once_and_never_written() -> None:
    room = Room("a")
    with capture_logs() as logged:
        for _ in range(3):
            room.progress.note("a", Report("a", "", "too large"))

    assert [line["event"] for line in logged] == ["progress.not_kept"]
    room.progress.tick()
    assert room.store.written == [{}]


def test_a_secret_that_was_spelled_with_escapes_is_not_kept() -> None:
    room = Room("a")
    report = read('{"task_id": "a", "progress": "\\u00733cret"}')
    assert report is not None

    with capture_logs() as logged:
        room.progress.note("a", report)
    room.progress.tick()

    assert [line["reason"] for line in logged] == ["it holds a secret"]
    assert room.store.written == [{}]


def test_only_so_much_waits() -> None:
    ids = [str(number) for number in range(MOST_WAITING + 10)]
    room = Room(*ids)
    for task_id in ids:
        room.note(task_id, "1")

    room.progress.tick()

    assert list(room.store.written[0]) == ids[10:]


def test_it_is_written_at_once_and_then_no_more_than_once_in_a_while() -> None:
    room = Room("a")
    pauses: list[float] = []

    class Pulse:
        def begin(self) -> None: ...
        def rest(self, _: float | None) -> None: ...

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        room.note("a", str(len(pauses)))
        if len(pauses) == 3:
            raise gevent.GreenletExit

    room.progress._clock.sleep = pause  # type: ignore[method-assign]
    room.note("a", "0")
    gevent.spawn(room.progress.run, cast(Any, Pulse())).join()

    assert room.store.written == [{"a": "0"}, {"a": "1"}, {"a": "2"}]
    assert pauses == [1.0, 1.0, 1.0]
