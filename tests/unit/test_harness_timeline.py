"""The history of a run: its order, its look-up, and that it survives being written."""

from pathlib import Path

from harness.evidence.timeline import Event, Timeline


def test_events_are_in_the_order_they_happened_whenever_they_were_added() -> None:
    # given a fault that is recorded before a diary of earlier lines is read
    timeline = Timeline(clock=lambda: 20.0)
    timeline.record("faults", "fault.began", fault="restart")
    timeline.record("handler", "task.begin", at_s=10.5, task_id="a")
    # then
    assert [event.kind for event in timeline.events] == ["task.begin", "fault.began"]
    assert timeline.events[1] == Event(20.0, "faults", "fault.began", {"fault": "restart"})


def test_a_kind_is_found_by_its_subject_and_not_by_how_it_begins_to_read() -> None:
    timeline = Timeline(clock=lambda: 1.0)
    for kind in ("task.begin", "tasks.more", "task"):
        timeline.record("handler", kind)
    timeline.record("other", "task.end")
    assert [event.kind for event in timeline.of("task", "handler")] == ["task.begin", "task"]
    assert [event.kind for event in timeline.of("task")] == ["task.begin", "task", "task.end"]


def test_a_field_may_have_the_name_of_a_parameter() -> None:
    event = Timeline(clock=lambda: 1.0).record("w", "worker.exited", source="x", kind="y")
    assert event.fields == {"source": "x", "kind": "y"}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    timeline = Timeline(clock=lambda: 3.25)
    timeline.record("inference.default", "queue.depths", pending=3, text="line\nbreak ü")
    timeline.write(tmp_path / "history")
    assert Timeline.read(tmp_path / "history").as_json() == timeline.as_json()
