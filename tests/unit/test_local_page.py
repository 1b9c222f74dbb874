"""The local server's page: who may see it, what is escaped, what is cut."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.observe.crash import dossier
from appliance.process.spec import CrashReport
from harness.queue import dossiers
from harness.queue.views import Attempt, OutputLine, Progress, QueueView, TaskView, WorkerView
from harness.server.messages import Refused, Request
from harness.server.page import detail, form, guard, html, overview
from harness.server.page.detail import Traces
from harness.server.page.form import Form
from harness.server.page.page import PAGE_HEADERS
from harness.server.page.view import View

ROOT = Path(__file__).parents[2]
HOSTILE = "<script>alert(1)</script>\"' onload='x' &amp; \x1b[2J \u202e \ud800"
BYTES = HOSTILE.encode(errors="replace")
TASK = TaskView(
    HOSTILE,
    HOSTILE,
    "active",
    type=HOSTILE,
    payload=BYTES,
    result=BYTES,
    error=HOSTILE,
    worker_id=HOSTILE,
    progress=Progress(HOSTILE, 1.0, 1),
    failures=[Attempt(1, 1.0, HOSTILE, HOSTILE)],
    broken=HOSTILE,
)
WORKER = WorkerView(
    HOSTILE,
    status=HOSTILE,
    queues={HOSTILE: 1},
    recovery={HOSTILE: {"state": HOSTILE, "total_restarts": HOSTILE, "consecutive_fails": HOSTILE}},
    metrics={"cpu_percent": HOSTILE, "memory_used_bytes": HOSTILE},
)
CRASH = {"at": HOSTILE, "exit": HOSTILE, "uptime_s": HOSTILE, "stacks": [HOSTILE], "stderr": [HOSTILE, {}]}
TRACES = Traces([CRASH], [OutputLine(1, HOSTILE, HOSTILE, HOSTILE, HOSTILE)])
VIEW = View(HOSTILE, "active", HOSTILE, HOSTILE)


class Tags(HTMLParser):
    """Which elements and attributes a page has, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


# What is shown --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "times"),
    [
        (overview.head(VIEW, HOSTILE, HOSTILE), 2),
        (overview.queues([QueueView(HOSTILE, {"pending": 1})], VIEW), 1),
        (overview.tasks([TASK], VIEW, 1), 4),
        (overview.workers([WORKER]), 4),
        (detail.task(TASK, TRACES), 15),
        (detail.no_task(VIEW), 1),
        (detail.worker(WORKER, TRACES), 9),
        (detail.no_worker(VIEW, TRACES), 4),
        (form.render(Form(HOSTILE, HOSTILE, HOSTILE, HOSTILE), [HOSTILE]), 3),
    ],
    ids=["head", "queues", "tasks", "workers", "task", "no task", "worker", "no worker", "form"],
)
def test_nothing_hostile_becomes_part_of_the_page(shown: str, times: int) -> None:
    tags = Tags(shown)

    assert "script" not in tags.tags
    assert {"onload", "style"}.isdisjoint(tags.attributes)
    assert tags.text.count("alert(1)") >= times
    # What was typed into the form stays as it was.
    assert "textarea" in tags.tags or not re.search("[\x1b\u202e]", shown)
    shown.encode(errors="replace")


def test_a_text_that_is_not_escaped_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "escape", lambda text, quote=True: text)

    assert "script" in Tags(detail.task(TASK, TRACES)).tags


def test_a_dossier_is_shown_as_the_worker_writes_it() -> None:
    report = CrashReport(
        when_wall_s=1_700_000_000.5,
        exit="SIGSEGV",
        uptime_s=2.25,
        stderr_tail=("last words", HOSTILE),
        task_ids=("t1", "t2"),
        was_ready=True,
        memory_peak_bytes=None,
        how="SIGSEGV",
        stacks=("File a, line 1",),
    )
    late = replace(report, task_ids=("t3",), timed_out=("t3",))
    first, second = (json.loads(dossier("a", each, str)) for each in (report, late))

    shown = Tags(detail.no_worker(View(worker="w"), Traces([first, second]))).text

    assert [
        [dossiers.names(each, task_id) for task_id in ("t1", "t3", "t4")] for each in (first, second)
    ] == [
        [True, False, False],
        [False, True, False],
    ]
    assert "11-14 22:13:20 · SIGSEGV · after 2.25 s# File a, line 1\nlast words\n<script>" in shown
    assert shown.count("it ran over its limit") == 1


def test_a_large_payload_is_cut_with_a_note_and_one_that_was_not_read_has_its_size() -> None:
    whole = html.block(b'"' + b"x" * html.BLOCK_BYTES + b'"')
    absent = detail.task(TaskView("1", "q", "pending", left_out={"payload": 5 * 1024**2}), Traces())

    assert len(whole) < html.BLOCK_BYTES + 200
    assert whole.endswith('<p class="dim">the first 64.0 KiB of 64.0 KiB</p>')
    assert "5.0 MiB: too large to be shown" in absent
    assert html.block(b"x" * html.BLOCK_BYTES).endswith("</pre>"), "no note where all is there"


def test_an_error_that_is_too_large_for_a_list_has_its_size_there() -> None:
    shown = overview.tasks([TaskView("1", "q", "archived", left_out={"error": 5 * 1024**2})], View(), 1)

    assert "5.0 MiB" in shown


def test_long_lists_say_how_many_more_there_are_and_long_texts_are_cut() -> None:
    shown = overview.tasks([TaskView("1", "q", "pending", payload=b"y" * 10_000)], View(), 4_000)

    assert "and 3999 more" in shown
    assert "yyy…" in shown
    assert len(shown) < 2_000


@pytest.mark.parametrize(
    ("error", "gist"),
    [
        ("", ""),
        ("timeout: 3 s\n  File a", "timeout: 3 s File a"),
        ("Traceback (most recent call last):\n  File a\nValueError: <b>\n\n", "ValueError: &lt;b&gt;"),
        ("Traceback\n \n", "Traceback"),
    ],
)
def test_an_error_is_told_by_the_line_that_says_most(error: str, gist: str) -> None:
    assert html.gist(error) == gist


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=40)
@given(VALUES, st.sampled_from([None, 3]))
def test_json_that_is_laid_out_says_what_it_said(value: object, indent: int | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)

    assert json.loads(html.laid_out(text)) == value


def test_laid_out_json_has_a_line_for_each_entry_and_every_digit() -> None:
    text = '{"number": 1.00000000000000000001, "list": [1, {}, []], "text": "a, b: {c}", "more": "words"}'

    assert html.laid_out(text).splitlines() == [
        "{",
        '  "number": 1.00000000000000000001,',
        '  "list": [',
        "    1,",
        "    {},",
        "    []",
        "  ],",
        '  "text": "a, b: {c}",',
        '  "more": "words"',
        "}",
    ]


@pytest.mark.parametrize("text", ["", "no JSON", '{"short": 1}', "[" * 100 + "]" * 100, "1" * 10_000])
def test_what_cannot_be_laid_out_or_need_not_stays_as_it_came(text: str) -> None:
    assert html.laid_out(text) == text


@pytest.mark.parametrize("wall_s", [None, 0, -1, 1e300, float("inf"), float("nan")])
def test_what_is_no_time_is_not_shown(wall_s: float | None) -> None:
    assert html.moment(wall_s) == ""


@pytest.mark.parametrize("value", [None, True, "7", [7], HOSTILE])
def test_what_is_no_number_is_not_shown(value: object) -> None:
    assert html.number(value) == ""


def test_progress_has_a_bar_where_it_is_a_part_of_a_whole() -> None:
    def shown(value: object) -> str:
        return overview.progress(TaskView("1", "q", "active", progress=Progress(value, 1.0, 1)))

    assert shown(0.25) == '<meter min="0" max="1" value="0.2500"></meter> <span class="mono">25 %</span>'
    assert [
        re.sub("<.*?>|&quot;", "", shown(value)) for value in ({"done": 3, "of": 12}, True, 1, "half")
    ] == [
        " 3 of 12 (25 %)",
        "true",
        "1",
        "half",
    ]
    without = [
        1,
        True,
        None,
        "0.5",
        float("inf"),
        {"done": 3},
        {"done": 3, "of": 0},
        {"done": True, "of": "12"},
    ]
    assert [value for value in (*without, {"done": 13, "of": 12}, {}) if "<meter" in shown(value)] == []


def test_the_page_has_the_style_of_the_workers_and_loads_nothing_from_elsewhere() -> None:
    ours, theirs = ROOT / "harness/server/page/assets", ROOT / "appliance/observe/assets"

    # The harness is delivered without the worker's package.
    assert (ours / "base.css").read_text() == (theirs / "page.css").read_text()
    assert "url(" not in "".join(path.read_text() for path in ours.iterdir())
    policy = PAGE_HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_a_view_is_what_its_address_says() -> None:
    view = View.of({"queue": "a.b", "state": "retry", "task": "x" * 10_000, "other": "1"})

    assert (view.queue, view.state, len(view.task), view.worker) == ("a.b", "retry", 500, "")
    assert View.of({"state": "lost"}) == View()
    assert View("a b", "", "<&>").url == "/?queue=a+b&task=%3C%26%3E"


# Who may see it -------------------------------------------------------------------------------------

OURS = {"host": "127.0.0.1:8081", "origin": "http://127.0.0.1:8081"}


def asked(method: str = "GET", path: str = "/", client: str = "127.0.0.1", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method, path, {}, OURS | named, b"", client)


@pytest.mark.parametrize(
    "request_",
    [
        asked(),
        asked(host="localhost:8081"),
        asked(host="[::1]:8081", client="::1"),
        asked(host="127.0.0.2", client="::ffff:127.0.0.2"),
        asked(sec_fetch_site="cross-site"),
        asked("POST", "/_harness/page/send", sec_fetch_site="same-origin"),
        asked("POST", "/_harness/page/send"),
    ],
    ids=["typed", "by name", "IPv6", "mapped", "a link from elsewhere", "its form", "an old browser's form"],
)
def test_a_browser_on_this_machine_is_served(request_: Request) -> None:
    assert guard.refusal(request_, "") is None


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (asked(client="192.0.2.1"), "for this machine alone"),
        (asked(client=""), "for this machine alone"),
        (asked(host="evil.example:8081", origin="http://evil.example:8081"), "Host is 'evil.example:8081'"),
        (asked(host="127.0.0.1.evil.example"), "Host is"),
        (asked(host="localhost.evil.example"), "Host is"),
        (asked(host="192.0.2.1:8081"), "Host is"),
        (asked(host=""), "Host is ''"),
        (asked(host="[::1"), "Host is"),
        (asked("POST", origin="http://evil.example"), "Origin is 'http://evil.example'"),
        (asked("POST", origin="null"), "Origin is 'null'"),
        (asked("POST", origin=""), "Origin is ''"),
        (asked("POST", origin="http://127.0.0.1:9999"), "Origin is"),
        (asked("POST", origin="https://127.0.0.1:8081"), "Origin is"),
        (asked("POST", "/_harness/page/send", sec_fetch_site="same-site"), "by another site"),
        (asked(path="/_harness/page/live", sec_fetch_site="cross-site"), "by another site"),
    ],
)
def test_others_are_refused_in_words(request_: Request, why: str) -> None:
    refused = guard.refusal(request_, "")

    assert refused is not None
    assert (refused.status, refused.content_type) == (403, "text/plain; charset=utf-8")
    assert why in refused.body.decode()


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("", 401),
        ("Basic Og==", 401),
        ("Basic !", 401),
        ("Basic YW55OndyM25n", 401),
        ("Bearer wrong", 401),
        ("Basic YW55OmtleQ==", None),
        ("basic OmtleQ==", None),
        ("Bearer key", None),
    ],
)
def test_a_key_is_asked_for_where_there_is_one(authorization: str, status: int | None) -> None:
    refused = guard.refusal(asked(authorization=authorization), "key")

    assert (refused.status if refused else None) == status
    assert refused is None or refused.headers["WWW-Authenticate"].startswith("Basic ")


# The form -------------------------------------------------------------------------------------------


def test_a_form_is_read_as_browsers_write_it() -> None:
    sent = form.read(b"queue=a.b&timeout=+30&payload=%7B%22n%22%3A+%22%C3%A4%22%7D%0D%0A&other=1")

    assert (sent.queue, form.timeout_s(sent), form.payload(sent)) == ("a.b", 30, '{"n": "ä"}'.encode())
    assert form.timeout_s(form.read(b"")) == 0


def accepted(body: bytes) -> tuple[bytes, int]:
    sent = form.read(body)
    return form.payload(sent), form.timeout_s(sent)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"payload=", "the payload is no JSON"),
        (b"payload=" + b"[" * 100_000, "the payload is no JSON"),
        (b"payload=1&timeout=soon", "time limit 'soon': expected whole seconds, 1 to 31622400, or nothing"),
        (b"payload=1&timeout=0", "time limit '0': expected"),
        (b"payload=1&timeout=-1", "time limit '-1': expected"),
        (b"x" * (form.MOST_BYTES + 1), "at most 1048576: use runqy-harness enqueue"),
        (b"&".join([b"a=1"] * 11), "this is no form"),
    ],
)
def test_what_is_wrong_with_a_form_is_said(body: bytes, problem: str) -> None:
    with pytest.raises(Refused, match=re.escape(problem)):
        accepted(body)
