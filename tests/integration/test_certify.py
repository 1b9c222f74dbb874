"""``runqy-harness certify``: good task code is certified; bad code fails the check made for it."""

import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.integration.program import Program, program

#: For a busy machine; a run of two checks takes a few seconds.
TIMEOUT_S = 800

pytestmark = pytest.mark.timeout(TIMEOUT_S + 30)


@pytest.fixture(autouse=True)
def _uv_installs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is quicker than pip, which is what production has: one test is about that."""
    monkeypatch.setenv("RUNQY_USE_SYSTEM_SITE_PACKAGES", "false")


SECRET = "correct-horse-battery"
#: Leaves a half-made file behind when it is killed, and will not work where there is one.
NOT_TO_BE_REPEATED = """
import os, sys, time, json
print(json.dumps({"status": "ready"}), flush=True)
for line in sys.stdin:
    task = json.loads(line)
    error = "half is there already" if os.path.exists("half") else ""
    if not error:
        open("half", "w").close()
        time.sleep(1.2)
        os.remove("half")
    print(json.dumps({"task_id": task["task_id"], "result": 1, "error": error, "retry": False}), flush=True)
"""


def results(folder: Path) -> dict[str, str]:
    return {check["name"]: check["result"] for check in json.loads((folder / "json").read_text())["checks"]}


#: Answers well, but for every third task, and hangs on null.
UNSTEADY = """
import sys, time, json
print(json.dumps({"status": "ready"}), flush=True)
for count, line in enumerate(sys.stdin):
    task = json.loads(line)
    if task["payload"] is None:
        time.sleep(1000000)
    error = "every third" if count % 3 == 2 else ""
    print(json.dumps({"task_id": task["task_id"], "result": 1, "error": error, "retry": False}), flush=True)
"""


def finish(certify: Program) -> int:
    status = certify.process.wait(TIMEOUT_S)
    assert certify.leftovers() == [], certify.said()
    return status


def test_good_code_is_certified_and_every_output_says_so(tmp_path: Path) -> None:
    # given a handler that reads its vault entry and shows only its hash
    files = ["--json", str(tmp_path / "json"), "--junit", str(tmp_path / "xml"), "--report", str(tmp_path)]
    payload = ["--payload", '{"name": "API_TOKEN"}', "--vault", f"API_TOKEN={SECRET}"]

    # when
    with program(tmp_path / "run", "certify", "--handler", "vault", *payload, *files) as certify:
        status = finish(certify)

    # then
    assert status == 0, certify.said()
    found = results(tmp_path)
    assert set(found.values()) == {"pass"}, certify.said()
    assert f"✓ certified: {len(found)} passed, in " in certify.out
    suite = ElementTree.parse(tmp_path / "xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == (str(len(found)), "0")
    page, log = ((tmp_path / name).read_text() for name in ("report.html", "worker.log"))
    assert all(name in page for name in found)
    assert SECRET not in certify.said() + (tmp_path / "json").read_text() + page + log


@pytest.mark.parametrize(
    ("handler", "check", "result", "seen", "more"),
    [
        ("start_error", "starts", "fail", "did not become ready", []),
        ("not_a_number", "result", "fail", "Turn arrays into lists, NaN into", ["--payload", "{}"]),
        ("raw_error", "result", "fail", "code that completes nothing is not certified", ["--only", "many"]),
        ("leak_memory", "many", "fail", "It grows with every task", ["--only", "many"]),
        ("hang", "result", "fail", "neither ended nor failed within 3 s", ["--longest", "3s"]),
        ("leak_descriptors", "many", "fail", "Close what each task opens", ["--only", "many"]),
        ("segfault", "result", "fail", "The process ended of it", ["--payload", "{}"]),
        ("ignore_sigterm", "stopped-idle", "fail", "had to be killed", ["--only", "stopped-idle"]),
        ("no_object_lines", "stdout", "warn", "lines on stdout that are no answers", ["--only", "stdout"]),
        (
            "print_secrets",
            "vaults",
            "fail",
            "in what the task process wrote",
            ["--only", "vaults", "--vault", f"API_TOKEN={SECRET}"],
        ),
        ("raw_echo", "frozen", "fail", "ended within 2 s", ["--only", "frozen", "--hanging", "{}"]),
        ("duplicate_answers", "together", "fail", "no task, or twice", ["--only", "together"]),
    ],
)
def test_bad_code_is_found_by_the_check_made_for_it(
    tmp_path: Path, handler: str, check: str, result: str, seen: str, more: list[str]
) -> None:
    arguments = ["--handler", handler, "--json", str(tmp_path / "json"), *more]

    with program(tmp_path / "run", "certify", *arguments) as certify:
        status = finish(certify)

    assert results(tmp_path)[check] == result, certify.said()
    assert status == (1 if result == "fail" else 0), certify.said()
    assert seen in " ".join(certify.out.split())
    assert SECRET not in certify.said()


def test_what_is_not_in_the_log_yet_is_waited_for(tmp_path: Path) -> None:
    """The worker writes its log beside its work, and on a busy machine later than to Redis."""
    slow = tmp_path / "slow.py"
    slow.write_text(
        "from appliance import patching; patching.patch()\n"
        "from appliance.observe import stream\n"
        "write = stream.LogStream._write\n"
        "def late(self, chunk): stream._sleep(0.5); write(self, chunk)\n"
        "stream.LogStream._write = late\n"
        "from appliance.__main__ import main\n"
        "raise SystemExit(main())\n"
    )
    arguments = ["--only", "stdout", "--json", str(tmp_path / "json"), "--worker", f"{sys.executable} {slow}"]

    with program(tmp_path / "run", "certify", "--handler", "no_object_lines", *arguments) as certify:
        finish(certify)

    assert results(tmp_path)["stdout"] == "warn", certify.said()


def code_of(folder: Path, files: Mapping[str, str]) -> str:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return str(folder)


def test_tasks_that_fail_now_and_then_and_one_that_hangs_are_found_and_in_nobodys_way(tmp_path: Path) -> None:
    code = code_of(tmp_path / "code", {"main.py": UNSTEADY})
    checks = ["--only", "many", "--only", "odd", "--only", "stopped-idle", "--longest", "5s"]

    with program(
        tmp_path / "run", "certify", code, "--payload", "{}", *checks, "--json", str(tmp_path / "json")
    ) as certify:
        status = finish(certify)

    # then what comes after the hang is judged by itself
    assert status == 1, certify.said()
    found = results(tmp_path)
    assert (found["many"], found["odd"], found["stopped-idle"]) == ("fail", "fail", "pass"), certify.said()
    said = " ".join(certify.out.split())
    assert "the last that was not: every third" in said
    assert "null: the task neither ended nor failed within 5 s" in said


def test_a_module_that_is_not_installed_is_named_with_the_package_to_add_and_pip_installs_as_in_production(
    tmp_path: Path,
) -> None:
    code = code_of(tmp_path / "code", {"main.py": "\nimport yaml\n"})

    with program(tmp_path / "run", "certify", code, env={"RUNQY_USE_SYSTEM_SITE_PACKAGES": ""}) as certify:
        status = finish(certify)

    assert status == 1, certify.said()
    assert "installed by pip" in certify.out
    said = " ".join(certify.out.split())
    assert "module yaml is not installed (main.py, line 2) Add PyYAML to requirements.txt." in said


def test_code_that_cannot_be_run_twice_fails_the_kill(tmp_path: Path) -> None:
    code = code_of(tmp_path / "code", {"main.py": NOT_TO_BE_REPEATED})
    arguments = [code, "--payload", "{}", "--only", "killed", "--json", str(tmp_path / "json")]

    with program(tmp_path / "run", "certify", *arguments) as certify:
        status = finish(certify)

    assert status == 1, certify.said()
    assert results(tmp_path)["killed"] == "fail", certify.said()
    assert "half is there already" in certify.out


#: A process per task, which takes long enough to be caught at work.
SLOW_ONE_SHOT = """
import sys, time, json
print(json.dumps({"status": "ready"}), flush=True)
task = json.loads(sys.stdin.readline())
time.sleep(1.2)
print(json.dumps({"task_id": task["task_id"], "result": 1, "error": "", "retry": False}), flush=True)
"""


def test_the_process_of_a_slow_task_is_killed_and_ended_in_one_shot_mode_as_well(tmp_path: Path) -> None:
    code = code_of(tmp_path / "code", {"main.py": SLOW_ONE_SHOT})
    checks = ["--only", "killed", "--only", "stopped-at-work", "--mode", "one_shot", "--payload", "{}"]

    with program(tmp_path / "run", "certify", code, *checks, "--json", str(tmp_path / "json")) as certify:
        status = finish(certify)

    assert status == 0, certify.said()
    found = results(tmp_path)
    assert (found["killed"], found["stopped-at-work"]) == ("pass", "pass"), certify.said()
    assert "retried and completed, one retry charged" in certify.out


def test_code_that_cannot_be_installed_is_not_certified_and_the_rest_is_skipped(tmp_path: Path) -> None:
    code = code_of(tmp_path / "code", {"main.py": "", "requirements.txt": "./no-such-package\n"})

    with program(tmp_path / "run", "certify", code, "--json", str(tmp_path / "json")) as certify:
        status = finish(certify)

    assert status == 1, certify.said()
    found = results(tmp_path)
    assert found.pop("deploys") == "fail"
    assert set(found.values()) == {"skipped"}
    assert "no-such-package" in certify.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "expected one FOLDER, --repo or --handler; none only with an --image"),
        (["--handler", "echo", "--payload", "[1]"], "--payload: '[1]': expected a JSON object"),
        (["--handler", "echo", "--only", "kiled"], "--only: invalid choice: 'kiled'"),
        (["--handler", "echo", "--no-results"], "--no-results: results are what is judged here"),
        (["--handler", "echo", "--payloads", "/nowhere"], "--payloads: '/nowhere': expected a readable file"),
        (["--image", "x", "--runtime", "process"], "--image: an image is for the docker runtime"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    with program(tmp_path / "run", "certify", *arguments) as certify:
        assert certify.process.wait(60) == 2

    assert certify.err.startswith(f"runqy-harness certify: {complaint}"), certify.err
    assert len(certify.err.splitlines()) == 1


def test_without_an_engine_nothing_is_judged_and_the_status_says_so(tmp_path: Path) -> None:
    nowhere = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    with program(tmp_path / "run", "certify", "--image", "task:ever", env=nowhere) as certify:
        assert certify.process.wait(60) == 3

    assert certify.err.startswith("runqy-harness certify: the Docker engine cannot be used: ")


def test_interrupted_it_leaves_nothing_behind(tmp_path: Path) -> None:
    with program(tmp_path / "run", "certify", "--handler", "never_ready") as certify:
        certify.shows("✓ deploys", 60)

        status = certify.end(signal.SIGINT, 60)

        assert status == 130, certify.said()
        assert certify.leftovers() == []
