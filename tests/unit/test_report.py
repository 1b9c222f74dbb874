"""What a report shows of a run's events, and that nothing in them can break the page."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from harness.evidence.report import draw, write
from harness.evidence.report.colours import LIGHT
from harness.evidence.report.model import Report, Section, Table
from harness.evidence.report.page import page
from harness.evidence.report.view import Bar, Row, View, view
from harness.evidence.timeline import Event

HOSTILE = "</svg><script>alert('x')</script>\"'&\x00"


def crashing(starts: list[float], *, expected: list[float] = [1.0, 2.0]) -> list[Event]:  # noqa: B006
    """A worker whose process dies 0.1 s after each of its ``starts``."""
    events = [Event(100.0, "worker-1", "worker.started")]
    for pid, start in enumerate(starts, 1):
        events += [
            Event(100 + start, "worker-1", "diary.start", {"pid": pid}),
            Event(100 + start + 0.1, "worker-1", "diary.crash", {"pid": pid}),
        ]
    return events + [Event(100.5, "scenario", "restart.expected", {"after_s": each}) for each in expected]


class Places:
    """A canvas that remembers its rectangles."""

    def __init__(self) -> None:
        self.rects: list[tuple[float, float, float, float, str]] = []

    def rect(self, x: float, y: float, width: float, height: float, role: str, text: str = "") -> None:
        self.rects.append((x, y, width, height, role))

    def line(self, *_: object) -> None: ...

    def area(self, *_: object) -> None: ...

    def text(self, *_: object, **__: object) -> None: ...


def row(shown: View, label: str) -> str:
    (found,) = [row for row in shown.rows if row.label.strip() == label]
    return " ".join(f"{bar.role}:{bar.from_s:g}-{bar.to_s:g}" for bar in found.bars)


def test_restarts_are_held_against_what_was_expected() -> None:
    shown = view(crashing([0, 1.15, 3.3]))

    assert [round(restart.waited_s, 6) for restart in shown.restarts] == [1.05, 2.05]
    assert [restart.timing for restart in shown.restarts] == ["as expected", "as expected"]


@pytest.mark.parametrize(
    ("second_start", "timing"),
    [(0.9, "too early"), (1.0, "as expected"), (1.2, "as expected"), (1.5, "too late")],
)
def test_a_restart_that_comes_at_another_time_is_said_to(second_start: float, timing: str) -> None:
    (restart,) = view(crashing([0, second_start])).restarts

    assert restart.timing == timing


def test_processes_last_from_their_start_to_their_end() -> None:
    assert row(view(crashing([0, 1.5])), "task process") == "up:0-0.1 up:1.5-1.6"


def test_a_process_that_was_killed_ends_with_the_kill_and_one_nobody_saw_end_with_the_next() -> None:
    events = [
        Event(0, "worker-1", "diary.start", {"pid": 1}),
        Event(0.5, "worker-1", "diary.ready", {"pid": 1}),
        Event(2, "faults", "fault.began", {"fault": "SIGKILL", "target": "task process 1"}),
        Event(3, "worker-1", "diary.start", {"pid": 2}),
        Event(5, "worker-1", "diary.start", {"pid": 3}),
        Event(6, "scenario", "scenario.result", {"passed": True}),
    ]

    assert row(view(events), "task process") == "starting:0-0.5 up:0.5-2 up:3-5 up:5-6"


def test_a_workers_states_come_from_its_heartbeat_under_its_name() -> None:
    recovering = {"q": {"state": "recovering"}}
    events = [
        Event(0, "worker-1", "worker.started"),
        Event(1, "host-12-ab", "worker.state", {"status": "running", "healthy": 1, "recovery": {}}),
        Event(2, "host-12-ab", "worker.state", {"status": "running", "healthy": 0, "recovery": recovering}),
        Event(3, "worker-1", "worker.exited", {"status": 0}),
    ]

    assert row(view(events), "worker-1") == "bootstrapping:0-1 running:1-2 recovering:2-3"


def test_a_task_that_never_came_to_its_end_is_cut_short() -> None:
    events = [
        Event(0, "worker-1", "diary.begin", {"pid": 1, "task_id": "a"}),
        Event(1, "worker-1", "diary.end", {"pid": 1, "task_id": "a"}),
        Event(1, "worker-1", "diary.begin", {"pid": 1, "task_id": "b"}),
        Event(2, "worker-1", "diary.crash", {"pid": 1}),
        Event(4, "scenario", "scenario.result", {}),
    ]

    assert row(view(events), "tasks") == "task:0-1 task-lost:1-2"


def test_curves_tell_what_waits_and_what_is_worked_off() -> None:
    events = [Event(float(n), "worker-1", "diary.end", {"pid": 1, "task_id": str(n)}) for n in range(5)]
    events.append(Event(2.0, "q.default", "queue.depths", {"pending": 3, "retry": 1, "active": 9}))

    curves = {curve.label: curve for curve in view(events).curves}

    assert curves["tasks waiting"].points == [(2.0, 4.0)]
    assert curves["tasks per second"].most == pytest.approx(4.0)


def test_a_run_without_events_has_a_page_all_the_same() -> None:
    assert view([]) == View(0.0, (), (), ())
    assert "all ok" in page(Report("t", "all ok", "now", [Section("s", "c", True, 0.0)]))


def test_every_colour_that_is_drawn_has_a_legend_and_every_legend_its_colour_and_room() -> None:
    roles = [role for role, _ in draw.LEGEND]
    others = {"paper", "text", "dim", "grid", "good", "bad", "waiting", "rate"}
    assert set(roles) == LIGHT.keys() - others, "curves have their name beside them"
    # All of them at once take several lines, none beyond the picture's edge.
    everything = View(1.0, [Row("all", [Bar(0, 1, role) for role in roles])], [], [])
    canvas = Places()
    draw.draw(everything, canvas)
    squares = [box for box in canvas.rects if box[2:4] == (10, 10)]
    assert {role for *_, role in squares} == set(roles)
    assert len({y for _, y, *_ in squares}) > 1
    assert all(x + 26 < draw.RIGHT for x, *_ in squares)
    assert max(y for _, y, *_ in squares) < draw.height(everything)


def test_nothing_that_came_from_outside_can_break_the_page() -> None:
    events = [
        Event(0, HOSTILE, "worker.started"),
        Event(1, HOSTILE, "diary.start", {"pid": HOSTILE}),
        Event(1.5, HOSTILE, "diary.begin", {"pid": HOSTILE, "task_id": HOSTILE}),
        Event(2, "faults", "fault.began", {"fault": HOSTILE, "target": HOSTILE}),
    ]
    section = Section(HOSTILE, HOSTILE, False, 1.0, events, HOSTILE, HOSTILE)

    text = page(Report(HOSTILE, HOSTILE, "now", [section], [Table(HOSTILE, (HOSTILE,), [(HOSTILE,)])]))

    tags = Tags(text)
    assert "script" not in tags.opened
    assert tags.unbalanced == []
    assert not re.search(r"(?:src|href)=", text), "nothing is fetched from anywhere"


def test_page_and_picture_are_written(tmp_path: Path) -> None:
    sections = [Section("recovery/backoff", "waits grow", True, 4.0, crashing([0, 1.15, 3.3]))]

    lines = write.write(Report("a run", "all ok", "now", sections), tmp_path / "new")

    assert [line.partition(":")[0] for line in lines] == ["report", "picture"]
    with Image.open(tmp_path / "new" / "report.png") as image:
        assert image.width == 1600
        assert len(image.convert("RGB").getcolors(10**6) or []) > 5, "something was drawn"


class Tags(HTMLParser):
    """The tags of a page, and those that close what is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: set[str] = set()
        self.unbalanced: list[str] = []
        self._stack: list[str] = []
        self.feed(text)
        self.unbalanced += self._stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.add(tag)
        if tag not in {"meta", "br"}:
            self._stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._stack and self._stack[-1] == tag:
            self._stack.pop()
        else:
            self.unbalanced.append(tag)
