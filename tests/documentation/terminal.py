"""Lines of the pages as a shell runs them, in the foreground or beside the test."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness import wait
from tests.integration.program import end_all

START_TIMEOUT_S = 300.0


def shell(
    line: str, folder: Path, *, timeout_s: float = 300, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env=environment(variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Programs as people have them: those of this project's environment come first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "no_proxy": "127.0.0.1,localhost", **variables}


@contextmanager
def started(line: str, folder: Path, log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["sh", "-c", "exec env " + line],
            cwd=folder,
            env=environment(variables),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        end_all([process], within_s=60)


def shows(log: Path, text: str) -> None:
    wait.until(lambda: text in log.read_text(), START_TIMEOUT_S, f"{text!r} to be printed", log.read_text)
