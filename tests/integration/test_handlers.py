"""Every example handler, each in a queue of its own, all in one worker: what comes of it is what it states.

One worker for all is quick, and shows besides that no queue's handler gets in the way of another's.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from appliance.exits import Exit
from harness import cli, wait
from harness.evidence.diary import Diary
from harness.queue import asynq
from harness.queue.asynq import NewTask, StoredTask
from harness.sandbox import handlers as catalogue
from harness.sandbox.handlers import handler_files
from harness.sandbox.repo import make_repo
from harness.sandbox.sdk import sdk_requirement
from harness.server.config import QueueConfig
from tests.integration import world as worlds

SECRET = "the-vaults-own-words"
#: Seconds until every case is as it is stated to become, deployment of all included.
PATIENCE_S = 600


@dataclass(frozen=True)
class Case:
    """A handler with its settings, the tasks it gets, and what comes of them and of its process.

    ``ends`` are the states of the tasks in their order; ``open`` is one that is not over yet. ``error``
    is in the message of each that failed, ``exits`` in what the worker says of each crash.
    """

    handler: str
    ends: Sequence[str] = ("completed",)
    payloads: Sequence[Mapping[str, Any]] = ({},)
    settings: Mapping[str, str] = field(default_factory=dict)
    result: Any = None
    error: str = ""
    retried: int = 0
    exits: str | None = None
    gives_up: bool = False
    task: Mapping[str, Any] = field(default_factory=dict)
    queue: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def parent(self) -> str:
        return self.name or self.handler

    @property
    def sub_queue(self) -> str:
        return f"{self.parent}.default"


ARCHIVED, OPEN = ("archived",), ("open",)
ONE_RETRY: Mapping[str, Any] = {"retry": 1}
LIMIT: Mapping[str, Any] = {"timeout_s": 1, "retry": 0}
SHA = hashlib.sha256(SECRET.encode()).hexdigest()[:12]

CASES = (
    Case("demo", payloads=[{"say": "hello"}]),
    Case("echo", payloads=[{"n": 1}], result={"echo": {"n": 1}}),
    Case("raw_echo", payloads=[{"n": 1}], result={"echo": {"n": 1}, "retry_count": 0}),
    Case("raw_noop"),
    Case("one_shot", queue={"mode": "one_shot"}, payloads=[{"n": 1}], result={"echo": {"n": 1}}),
    Case("sleep", settings={"HANDLER_SECONDS": "0.1"}),
    Case("raw_sleep", payloads=[{"seconds": 0.1}]),
    Case("slow_start", settings={"HANDLER_SECONDS": "0.5"}),
    Case("slow_start", OPEN, queue={"startup_timeout_secs": 1}, settings={"HANDLER_SECONDS": "60"},
         exits="was not ready within 1 s", gives_up=True, name="too_slow_start"),
    Case("vault", payloads=[{"names": ["API_TOKEN", "NO_SUCH"]}],
         result={"API_TOKEN": {"present": True, "sha256": SHA}, "NO_SUCH": {"present": False}}),
    Case("print_secrets", ("completed", "archived"), payloads=[{}, {"fail": True}], error="API_TOKEN=****"),
    # Errors
    Case("error", ARCHIVED, [{"retry": True}], task=ONE_RETRY, error="as told", retried=1),
    Case("error", ARCHIVED, [{"retry": False}], task=ONE_RETRY, error="as told", name="final_error"),
    Case("raw_error", ARCHIVED, [{"retry": True}], task=ONE_RETRY, error="as told", retried=1),
    Case("raw_error", ARCHIVED, [{"retry": False}], task=ONE_RETRY, error="as told", name="raw_final_error"),
    # Starts that fail
    Case("start_error", OPEN, exits="no model in this handler", gives_up=True),
    Case("raw_start_error", OPEN, exits="no model in this handler", gives_up=True),
    Case("crash_before_ready", OPEN, settings={"HANDLER_DEATH": "3"}, exits="status 3", gives_up=True),
    Case("never_ready", OPEN, queue={"startup_timeout_secs": 1}, exits="was not ready within 1 s",
         gives_up=True),
    # Crashes
    Case("crash_after_tasks", ("completed", "completed"), [{}, {}], {"HANDLER_TASKS": "2"}, exits="status 1"),
    # One of its three processes is to live until the task is there, on a busy machine too.
    Case("crash_after_seconds", ARCHIVED, [{"seconds": 60}], {"HANDLER_SECONDS": "5"}, error="SIGKILL",
         exits="SIGKILL", gives_up=True, task={"retry": 0}),
    Case("crash_on_poison", ARCHIVED, [{"poison": True}], task=ONE_RETRY, error="SIGSEGV", retried=1,
         exits="SIGSEGV"),
    Case("segfault", ARCHIVED, task={"retry": 0}, error="SIGSEGV", exits="SIGSEGV"),
    Case("exit_zero", OPEN, settings={"HANDLER_SECONDS": "0"}, exits="status 0", gives_up=True,
         task={"retry": 20}),
    Case("out_of_memory", ARCHIVED, settings={"HANDLER_MEGABYTES": "64"}, task={"retry": 0}, error="SIGKILL",
         exits="SIGKILL"),
    # Processes that do not do what is asked
    Case("hang", ARCHIVED, task=LIMIT, error="timeout"),
    # The first one is to be within the limit, on a busy machine too.
    Case("stop_reading", ("completed", "archived"), [{}, {}], {"HANDLER_TASKS": "1"},
         task={**LIMIT, "timeout_s": 8}, error="timeout"),
    Case("close_stdout", OPEN, exits="closed its stdout", gives_up=True, task={"retry": 20}),
    # Only a write notices. The setting comes from a vault, and no vault's value is in a log.
    Case("close_stdout", ARCHIVED, settings={"HANDLER_STREAM": "stdin"}, error="closed its",
         task={"retry": 0}, exits="closed its ********", name="close_input"),
    Case("ignore_sigterm"),
    # Leaks
    Case("fork_children", ("completed", "archived"), [{}, {"die": True}], task={"retry": 0}, error="status 1",
         exits="status 1"),
    Case("fork_children", ("completed", "archived"), [{}, {"die": True}], {"HANDLER_SESSION": "own"},
         task={"retry": 0}, error="status 1", exits="status 1", name="fork_sessions"),
    Case("leak_memory", settings={"HANDLER_MEGABYTES": "5"}, result={"megabytes": 5}),
    Case("leak_descriptors", ("completed", "archived"), [{}, {}], task={"retry": 0},
         settings={"HANDLER_DESCRIPTORS": "20", "HANDLER_LIMIT": "40"}, error="Too many open files"),
    # Output
    Case("garbage"),
    Case("long_line", settings={"HANDLER_MEGABYTES": "5"}),
    Case("stderr_flood", settings={"HANDLER_MEGABYTES": "5"}),
    Case("log_flood"),
    Case("invalid_utf8", ("archived", "completed"), [{}, {"good": True}], task=ONE_RETRY, error="UTF-8"),
    Case("not_a_number", ("archived", "completed"), [{}, {"good": True}], task=ONE_RETRY, error="NaN"),
    Case("glued_output"),
    Case("unfinished_line", exits="status 0"),
    Case("unknown_id"),
    Case("duplicate_answers", result=1),
    Case("no_object_lines"),
)  # fmt: skip


class Evidence:
    """What there is to see of all cases once the worker has been stopped."""

    def __init__(self) -> None:
        self.tasks: dict[str, list[StoredTask]] = {}
        self.ids: dict[str, list[str]] = {}
        self.events: list[dict[str, Any]] = []
        self.diary = Diary()
        self.log = ""
        self.redis = ""
        self.exit_status: int | None = None
        self.left: list[str] = []
        self.heartbeat_problems: list[str] = []

    def said(self, event: str, case: Case) -> list[dict[str, Any]]:
        return [
            entry for entry in self.events if (entry["event"], entry.get("parent")) == (event, case.parent)
        ]

    def about(self, case: Case) -> str:
        """For the message of a failure."""
        lines = [line for line in self.log.splitlines() if f'"queue": "{case.parent}"' in line]
        return "\n".join([*map(str, self.tasks[case.parent]), *(line[:400] for line in lines[-25:])])


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    found = Evidence()
    with worlds.world(tmp_path_factory.mktemp("handlers")) as world:
        for case in CASES:
            files = handler_files(case.handler)
            if catalogue.behaviour(case.handler).sdk:
                files["requirements.txt"] = sdk_requirement(world.folder / "wheels") + "\n"
            repo = make_repo(world.folder / f"{case.parent}.git", files)
            vaults = {"handler": {**case.settings, "API_TOKEN": SECRET}}
            world.server.configure(
                QueueConfig(name=case.parent, git_url=repo.url, vaults=vaults, **case.queue)
            )
            tasks = [NewTask(payload, **{"retry": 3, **case.task}) for payload in case.payloads]
            found.ids[case.parent] = asynq.seed_pending(world.db, case.sub_queue, *tasks)
        worker = world.worker(
            RUNQY_QUEUES=",".join(case.parent for case in CASES),
            RUNQY_RECOVERY_MAX_RESTARTS="2",
            RUNQY_PROCESS_STOP_GRACE="1s",
            RUNQY_SHUTDOWN_TIMEOUT="2s",
        )

        def settled() -> bool:
            # Looked at one after the other: what is not there yet spares the look at all that comes after.
            return all(map(at_its_end, CASES)) and given_up() >= {
                case.parent for case in CASES if case.gives_up
            }

        def at_its_end(case: Case) -> bool:
            places = asynq.where_are(world.db, case.sub_queue, found.ids[case.parent])
            return all(end in ("open", place) for end, place in zip(case.ends, places, strict=True))

        def given_up() -> set[str]:
            degraded = [event for event in worker.log_events() if event["event"] == "process.degraded"]
            return {event["parent"] for event in degraded}

        # Where that takes too long, each case that is to blame says so itself.
        with contextlib.suppress(wait.TimedOut):
            wait.until(settled, PATIENCE_S, "all cases", longest_pause_s=0.5)
        found.heartbeat_problems = world.server.heartbeat_problems()
        worker.terminate()
        found.exit_status = worker.wait(60)
        for case in CASES:
            tasks_now = [asynq.get_task(world.db, case.sub_queue, each) for each in found.ids[case.parent]]
            found.tasks[case.parent] = [task for task in tasks_now if task is not None]
        found.left = [str(pid) for pid in worker.children()]
        found.events, found.log = worker.log_events(), worker.log_text()
        found.diary, found.redis = world.diary, world.everything_in_redis()
        yield found


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.parent)
def test_what_comes_of_a_handler_is_what_it_states(evidence: Evidence, case: Case) -> None:
    about = evidence.about(case)
    for task, end, task_id in zip(
        evidence.tasks[case.parent], case.ends, evidence.ids[case.parent], strict=True
    ):
        entries = [entry.event for entry in evidence.diary.about(task_id)]
        if end == "open":
            assert task.state in {"pending", "retry"}, about
            continue
        assert task.state == end, about
        if end == "archived":
            assert case.error in task.fields["error_msg"], about
            assert int(task.fields.get("retried", 0)) == case.retried, about
        elif case.handler != "raw_noop":
            assert entries == ["begin", "end"], about
        if isinstance(case.result, dict):
            assert {name: task.result[name] for name in case.result} == case.result, about
        elif case.result is not None:
            assert task.result == case.result, about
    crashes = evidence.said("process.crashed", case)
    assert bool(crashes) == (case.exits is not None), about
    assert [crash for crash in crashes if str(case.exits) not in str(crash)] == [], about
    assert bool(evidence.said("process.degraded", case)) == case.gives_up, about


def test_every_handler_has_its_case() -> None:
    assert {case.handler for case in CASES} == set(catalogue.handler_names())


def test_the_worker_beats_as_it_should_ends_well_and_leaves_no_process(evidence: Evidence) -> None:
    assert evidence.heartbeat_problems == []
    assert evidence.exit_status == Exit.OK, evidence.log[-4000:]
    assert evidence.left == []


def test_a_process_that_ignores_sigterm_was_asked_and_then_killed(evidence: Evidence) -> None:
    (case,) = (case for case in CASES if case.handler == "ignore_sigterm")
    (ended,) = evidence.said("process.exited", case)
    assert "SIGKILL" in ended["exit"]
    pid = evidence.diary.about(evidence.ids[case.parent][0])[0].pid
    assert [entry.more for entry in evidence.diary.of("ignored") if entry.pid == pid] == [
        {"signal": "SIGTERM"}
    ]


def test_answers_that_belong_to_no_task_are_logged_once(evidence: Evidence) -> None:
    for case in CASES:
        expected = int(case.handler in {"unknown_id", "duplicate_answers"})
        assert len(evidence.said("process.answer_ignored", case)) == expected, case.parent


def test_no_secret_that_was_printed_is_anywhere(evidence: Evidence) -> None:
    printed = [text for text in evidence.log.splitlines() if "API_TOKEN=" in text]
    assert {stream for text in printed for stream in ("stdout", "stderr") if stream in text} == {
        "stdout",
        "stderr",
    }
    assert SECRET not in evidence.log
    assert SECRET not in evidence.redis


def test_the_command_line_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["handlers"]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines() if not line.startswith(" ")] == (
        catalogue.handler_names()
    )


def test_a_catalogue_entry_names_every_variable_its_code_reads() -> None:
    for name in catalogue.handler_names():
        code = catalogue.handler_source(name).split('"""', 2)[2]
        assert set(re.findall(r"HANDLER_[A-Z_]+", code)) == set(catalogue.behaviour(name).settings), name


def test_the_table_in_the_documentation_is_the_catalogue() -> None:
    page = (Path(__file__).parents[2] / "docs" / "handlers.md").read_text()
    assert catalogue.as_table() in page, "docs/handlers.md: runqy-harness handlers --table prints the table"
