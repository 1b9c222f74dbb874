"""The status as JSON and as a page: what is in it, what is escaped, what is masked."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from appliance.commands.status import tell
from appliance.masking.matcher import MASK
from appliance.observe import page
from appliance.observe.recent import KEPT_LINES, Recent
from appliance.observe.redaction import Redactor
from appliance.observe.startup import Startup, age_of_process_s
from appliance.observe.status import state_of, status
from appliance.observe.tally import BOUNDS_S, Histogram, Tally
from appliance.observe.timeline import KEPT, Timeline
from appliance.queue.depths import Depths
from appliance.snapshot import Identity, ParentSnapshot, RedisSnapshot, Status, TaskSnapshot, WorkerSnapshot

HOSTILE = "<script>alert(1)</script>\" onload='x' &amp; \x1b[2J \ud800"
PARENT = ParentSnapshot(
    name="a",
    commit="c0ffee" * 6,
    ready=True,
    recovery="idle",
    redis=RedisSnapshot("redis:6379"),
    slots=2,
    in_use=1,
    tasks=(TaskSnapshot(HOSTILE, "a.b", HOSTILE, 1, 2.5),),
    queues={"a.b": 1, "a.c": 2},
    depths={"a.b": Depths(5, 1, 0, 0, 7, 3, paused=True)},
    tallies={"a.b": Tally()},
)
WORKER = WorkerSnapshot(
    Identity("w", "1", "3", started_at_wall_s=0.0, concurrency=2), Status.RUNNING, (PARENT,), now_wall_s=90.0
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


def _status(worker: WorkerSnapshot = WORKER) -> dict:
    clock, recent = Clock(), Recent()
    timeline = Timeline(clock)
    timeline.state("a", "ready")
    timeline.add("a", "crashed", HOSTILE)
    recent.add({"event": HOSTILE, "level": "error", "timestamp": "2026-01-01T00:00:00.1Z", "queue": HOSTILE})
    return status(worker, timeline.moments(), recent.lines(), lambda text: text.replace("canary", "****"))


class Tags(HTMLParser):
    """Which elements and attributes a page has, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_nothing_hostile_becomes_part_of_the_page() -> None:
    html = page.render(_status())
    tags = Tags(html)

    assert tags.tags.count("script") == 1, "the page's own"
    assert {"onload", "style"}.isdisjoint(tags.attributes)
    assert tags.text.count("<script>alert(1)</script>") == 5, "id, type, last words, event and queue"
    html.encode(errors="replace")


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_else() -> None:
    policy = dict(page.HEADERS)["Content-Security-Policy"]

    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; ")
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page.render(_status()))


def test_the_status_is_ascii_json_whatever_a_task_is_called() -> None:
    text = json.dumps(_status())

    assert text.isascii()
    task = json.loads(text)["parents"][0]["tasks"][0]
    assert task == {"id": HOSTILE, "queue": "a.b", "type": HOSTILE, "retried": 1, "age_s": 2.5}


def test_what_comes_from_elsewhere_is_masked() -> None:
    task = TaskSnapshot("id-canary", "a.b", "type-canary", 0, 0.0)

    shown = json.dumps(_status(replace(WORKER, parents=(replace(PARENT, tasks=(task,)),))))
    assert "canary" not in shown
    assert "id-****" in shown


def test_a_queue_redis_was_not_asked_about_has_no_depth() -> None:
    (known, unknown) = _status()["parents"][0]["queues"]

    assert known["depth"]["pending"] == 5
    assert known["depth"]["paused"] is True
    assert unknown["depth"] is None
    assert "–" in page.render(_status())


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "ready"),
        ({"commit": None}, "deploying"),
        ({"ready": False}, "starting"),
        ({"ready": False, "recovery": "recovering"}, "recovering"),
        ({"ready": False, "recovery": "degraded"}, "degraded"),
    ],
)
def test_a_parent_queue_is_told_in_one_word_and_every_word_has_a_colour(changes: dict, state: str) -> None:
    parent = replace(PARENT, **changes)

    assert state_of(parent) == state
    assert f">{state}</span>" in page.render(_status(replace(WORKER, parents=(parent,))))


def test_the_text_for_terminals_has_no_controls() -> None:
    shown = tell(_status())

    assert "\x1b" not in shown
    assert "a.b (priority 1): 5 pending, 1 active, 0 scheduled, 0 retry, paused" in shown
    assert "a.c (priority 2): Redis does not say" in shown
    assert "a: ready, 1 of 2 slots in use, 0 restarts, commit c0ffeec0ff" in shown


def test_a_worker_that_is_not_registered_has_a_page_too() -> None:
    bare = _status(replace(WORKER, parents=(), status=Status.BOOTSTRAPPING))

    assert "not registered with the server yet" in page.render(bare)
    assert "not registered with the server yet" in tell(bare)


def test_the_timeline_has_crashes_and_changes_only() -> None:
    clock = Clock()
    timeline = Timeline(clock)
    for what in ("not_ready", "ready", "ready"):
        timeline.state("a", what)
    timeline.add("a", "crashed", "exit status 3")
    timeline.state("a", "recovering")
    timeline.add("a", "crashed", "exit status 3")
    timeline.state("a", "ready")

    assert [m.what for m in timeline.moments()] == ["ready", "crashed", "recovering", "crashed", "ready"]
    for _ in range(2 * KEPT):
        timeline.add("a", "crashed", "again")
    assert len(timeline.moments()) == KEPT


def test_only_the_newest_lines_are_kept() -> None:
    recent = Recent()
    for number in range(2 * KEPT_LINES):
        recent.add({"event": str(number), "level": "info", "queue": "x" * 100_000})

    lines = recent.lines()
    assert [line.event for line in lines] == [str(n) for n in range(KEPT_LINES, 2 * KEPT_LINES)]
    assert max(len(line.text) for line in lines) == 1_000


def test_a_histogram_counts_into_buckets_up_to_their_bound() -> None:
    histogram = Histogram()
    for seconds in (0.0005, 0.001, 0.002, 9_999.0, -1.0):
        histogram.observe(seconds)

    buckets = dict(histogram.cumulative())
    assert [buckets[le] for le in ("0.001", "0.0025", "1800.0", "+Inf")] == [3, 4, 4, 5]
    assert histogram.sum_s == pytest.approx(9_999.0035)
    assert len(buckets) == len(BOUNDS_S) + 1


def test_the_phases_of_the_start_are_timed_and_the_rest_is_the_processes() -> None:
    clock = Clock()
    startup = Startup(clock)
    startup.add("import", 0.5)
    with startup.phase("register"):
        clock.now_s += 1
    clock.now_s += 2

    startup.done()
    assert startup.phases == {"import": 0.5, "register": 1.0, "process": 2.0}
    assert startup.total_s == 3.5


def test_the_age_of_this_process_is_known() -> None:
    assert 0 < age_of_process_s() < 86_400


GUESSES = ("canary-of-the-worker", "a-guess-that-is-wrong")


@pytest.mark.parametrize("guess", GUESSES)
@pytest.mark.parametrize(
    "event",
    [
        {"event": "process.output", "src": "stdout", "text": "is it {}?"},
        {"event": "process.crashed", "exit": "{}", "stderr": ["{}"], "tasks": ["t1"]},
        {"event": "process.broken", "reason": "reported that it cannot start: {}"},
        {"event": "process.answer_ignored", "answered_id": "{}", "count": 1},
        {"event": "task.archived", "task_id": "t1", "queue": "a.b", "error": "{}"},
        {"event": "deploy.output", "line": "Collecting {}"},
        {"event": "loop.defect", "exception": "ValueError: {}"},
        {"event": "redis.unavailable", "exception": "ValueError: {}"},
        {"event": "an.event_of_later", "words": {"of": ["{}"]}},
    ],
    ids=lambda event: event["event"],
)
def test_what_task_code_chose_tells_it_nothing_about_a_secret(event: dict, guess: str) -> None:
    redactor, recent = Redactor(), Recent()
    redactor.add(GUESSES[0])
    said = json.loads(json.dumps({**event, "level": "info", "pid": 7}).replace("{}", guess))

    recent.add({name: redactor.field(name, value) for name, value in said.items()})

    (line,) = recent.lines()
    assert MASK not in line.text
    assert guess not in line.text
    assert "=…" in line.text
    assert "pid=7" in line.text


def test_what_only_the_worker_its_server_and_redis_say_is_shown() -> None:
    recent = Recent()
    recent.add(
        {"event": "redis.unavailable", "level": "warning", "attempt": 2, "error": "Connection refused"}
    )
    recent.add({"event": "process.ready", "level": "info", "parent": "a", "pid": 7, "seconds": 0.5})

    assert [line.text for line in recent.lines()] == [
        "attempt=2 error=Connection refused",
        "parent=a pid=7 seconds=0.5",
    ]
