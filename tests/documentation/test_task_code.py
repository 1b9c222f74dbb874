"""From an empty folder to a certified task, every line taken from the page; what took how long is printed.

Building and running its image needs an engine: tests/image/test_image_new_project.py does that.
"""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import wait
from tests.documentation.blocks import code, command
from tests.documentation.terminal import shell, started

PAGE = "docs/task-code.md"
#: For a busy machine; where nothing else runs each step takes seconds.
SOON_S = 240.0

pytestmark = pytest.mark.timeout(900)


class Watch:
    """How long each step took."""

    def __init__(self) -> None:
        self.took: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began_s = time.monotonic()
        yield
        self.took[name] = time.monotonic() - began_s

    def told(self) -> str:
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.took.items())


def test_the_way_from_an_empty_folder_to_a_certified_task_is_as_its_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # given a folder that was never at work before; packages are in uv's cache, where some were installed
    uv_cache = os.environ.get("UV_CACHE_DIR") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "uv")
    monkeypatch.setenv("UV_CACHE_DIR", str(Path(uv_cache).expanduser()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("RUNQY_USE_SYSTEM_SITE_PACKAGES", "false")
    watch = Watch()

    # when there is a new project
    with watch.step("init"):
        made = shell(command(PAGE, "runqy-harness init"), tmp_path)
    assert made.returncode == 0, made.stderr
    folder = tmp_path / command(PAGE, "cd ").removeprefix("cd ")
    main = folder / "main.py"

    # and it is at work
    shown = tmp_path / "dev"

    def shows(text: str) -> None:
        wait.until(lambda: re.search(text, shown.read_text()), SOON_S, f"{text} to be shown", shown.read_text)

    with started(command(PAGE, "runqy-harness dev") + " --port 0", folder, shown) as running:
        with watch.step("first result of dev"):
            shows(r'✓ .*\{"words": 3, "longest": "wonderful"\}')

        # and its code is edited
        main.write_text(main.read_text().replace('"words":', '"count":'))
        with watch.step("result of edited code"):
            shows(r'✓ .*\{"count": 3, "longest": "wonderful"\}')
        running.send_signal(signal.SIGINT)
        assert running.wait(SOON_S) == 0, shown.read_text()

    # and its tests follow the code, with the page's beside them
    tests = folder / "tests" / "test_task.py"
    (folder / "tests" / "test_more.py").write_text(code(PAGE, "python"))
    for file in (tests, folder / "tests" / "test_more.py"):
        file.write_text(file.read_text().replace('"words"', '"count"'))
    with watch.step("test"):
        tested = shell(command(PAGE, "runqy-harness test"), folder, timeout_s=SOON_S)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert " 6 passed" in tested.stdout

    # and it is certified
    found = tmp_path / "findings.json"
    with watch.step("certify"):
        line = command(PAGE, "runqy-harness certify")
        certified = shell(f"{line} --json {found}", folder, timeout_s=SOON_S)

    # then nothing is found but that it was given no vault entry
    assert certified.returncode == 0, certified.stdout + certified.stderr
    results = {check["name"]: check["result"] for check in json.loads(found.read_text())["checks"]}
    assert {name for name, result in results.items() if result != "pass"} == {"vaults"}, certified.stdout
    with capsys.disabled():
        print(f"\nfrom an empty folder to a certified task: {watch.told()}")
