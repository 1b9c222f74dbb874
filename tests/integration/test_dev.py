"""``runqy-harness dev`` as a program: what is saved is taken on, mistakes are shown, and nothing is left."""

import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import wait
from tests.integration.program import HARNESS, Program, program

CODE = """
import json, os, sys, time
VERSION = "{version}"
{start}
print(json.dumps({{"status": "ready"}}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    payload = request["payload"]
    print("working on", payload, flush=True)
    if "begun" in payload:
        open(payload["begun"], "w").close()
        while not os.path.exists(payload["until"]):
            time.sleep(0.02)
    answer = {{"result": [VERSION, os.environ.get("TOKEN")]}}
    if payload.get("fail"):
        answer = {{"error": "Traceback:\\n  File " + os.path.abspath("main.py"), "retry": False}}
    print(json.dumps({{"task_id": request["task_id"], **answer}}), flush=True)
"""
#: Deployments, on a machine on which much else runs.
SOON_S = 120.0


class Dev:
    """One run of it, on a folder of code."""

    def __init__(self, running: Program, folder: Path) -> None:
        self.running = running
        self.folder = folder

    def write(self, version: str, start: str = "") -> None:
        (self.folder / "main.py").write_text(CODE.format(version=version, start=start))

    def shows(self, text: str) -> None:
        self.running.shows(text, SOON_S)

    def enqueue(self, payload: dict[str, object]) -> str:
        (url,) = re.findall(r"server  (http\S+)", self.running.out)
        arguments = ("enqueue", "--server", url, "--queue", "inference", json.dumps(payload))
        sent = subprocess.run([*HARNESS, *arguments], capture_output=True, text=True, check=True, timeout=60)
        return sent.stdout.strip()


@contextmanager
def dev(tmp_path: Path, code: Path, *arguments: str) -> Iterator[Dev]:
    # No index is asked: what is installed is nothing.
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "UV_NO_INDEX": "1", "PIP_NO_INDEX": "1"}
    with program(tmp_path / "run", "dev", str(code), "--port=0", *arguments, env=env) as running:
        yield Dev(running, code)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "main.py").write_text(CODE.format(version="one", start=""))
    (folder / ".gitignore").write_text(".env\n")
    return folder


def test_what_is_saved_is_taken_on_a_mistake_is_not_and_running_tasks_finish(
    tmp_path: Path, code: Path
) -> None:
    # given code that no commit has, a payload, and variables that git ignores
    payload, variables = code / "payload.json", code / ".env"
    payload.write_text('{"n": 1}')
    variables.write_text("TOKEN=b7Kq-one\n")
    options = ("--payload", str(payload), "--env-file", str(variables), "--concurrency", "2")
    with dev(tmp_path, code, *options) as running:
        # when it runs, then the payload is sent, and what its task prints and returns is told with its id
        running.shows("✓ ready after")
        running.shows('["one", "b7Kq-one"]')
        (task_id,) = re.findall(r"(\S{36})  · sent {\"n\": 1}", running.running.out)
        assert f"{task_id}  │ working on {{'n': 1}}\n" in running.running.out
        assert re.search(rf'{task_id}  ✓ [0-9.]+ m?s  \["one"', running.running.out)

        # a task that runs while new code comes ends as what it began with
        begun, until = tmp_path / "begun", tmp_path / "until"
        running.enqueue({"begun": str(begun), "until": str(until)})
        running.shows("'until'")
        running.write("two")
        running.shows("✓ taken on: main.py, ")
        running.shows('["two", "b7Kq-one"]')
        assert running.running.out.count('["one"') == 1
        until.touch()
        wait.until(lambda: running.running.out.count('["one"') == 2, SOON_S, "its end", running.running.said)

        # a mistake is shown, and the code from before goes on
        running.write("three", "raise SystemExit('no such model')")
        running.shows("│ no such model")
        running.shows("✗ not taken on: main.py: ")
        failing = running.enqueue({"fail": True})
        running.shows(f"{failing}  ✗ ")
        running.shows("  File main.py\n")

        # and so is the next save, and one of variables
        running.write("four")
        running.shows('["four", "b7Kq-one"]')
        variables.write_text("TOKEN=b7Kq-two\n")
        running.shows("✓ taken on: .env, ")
        running.shows('["four", "b7Kq-two"]')

        # Ctrl-C sums up, and leaves nothing
        assert running.running.end(signal.SIGINT, SOON_S) == 0, running.running.said()
        assert running.running.leftovers() == []
        assert running.running.err == ""
        told = running.running.out
        assert "✗ Tasks: 5 completed, 1 failed for good; " in told
        assert "\n  3 reloads, 1 refused\n" in told
        assert "crashed" not in told


@pytest.mark.parametrize("command", ["dev", "load", "serve"])
def test_without_git_it_says_what_is_missing(command: str, tmp_path: Path, code: Path) -> None:
    done = subprocess.run(
        [*HARNESS, command, str(code), *([] if command == "load" else ["--port=0"])],
        env={**os.environ, "PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    said = f"runqy-harness {command}: there is no git on PATH: task code is deployed with it\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_code_that_cannot_be_started_is_tried_again_when_it_is_saved(tmp_path: Path, code: Path) -> None:
    script = code / "start"
    script.write_text("#!/bin/sh\nexec python main.py\n")
    with dev(tmp_path, code, "--startup-cmd", "./start") as running:
        running.shows("✗ ")
        running.shows("save a change to start it again")

        script.chmod(0o755)

        running.shows("✓ ready after")
        # One at a time: they would change each other's deployment.
        second = subprocess.run(
            [*HARNESS, "dev", str(code), "--port=0"],
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (second.returncode, second.stderr) == (
            1,
            f"runqy-harness dev: {code} is at work in another `runqy-harness dev` already\n",
        )
        assert running.running.end(signal.SIGTERM, SOON_S) == 0
        assert running.running.leftovers() == []


@pytest.fixture
def no_nohup() -> Iterator[None]:
    """What a test starts ends with its terminal, also where nohup runs the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("no_nohup")
def test_when_its_terminal_is_closed_nothing_is_left(tmp_path: Path, code: Path) -> None:
    with dev(tmp_path, code) as running:
        running.shows("✓ ready after")
        (kept,) = (tmp_path / "cache" / "runqy-harness" / "dev").iterdir()
        assert stat.S_IMODE(kept.stat().st_mode) == 0o700

        assert running.running.end(signal.SIGHUP, SOON_S) == 0, running.running.said()

        assert "Tasks: none" in running.running.out
        assert running.running.leftovers() == []
