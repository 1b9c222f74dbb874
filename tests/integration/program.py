"""The harness as a program: started as people start it, in a temporary folder that shows what it leaves."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from harness import wait

HARNESS = (sys.executable, "-m", "harness")
#: Seconds until what was asked to end is killed.
END_S = 25.0


class Program:
    """One run of ``runqy-harness``; its temporary folder is its own, and so are its processes."""

    def __init__(self, folder: Path, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        self._temporary = folder / "tmp"
        self._temporary.mkdir()
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*HARNESS, *arguments],
                env={**os.environ, "TMPDIR": str(self._temporary), **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def said(self) -> str:
        return f"stdout:\n{self.out}\nstderr:\n{self.err}"

    def shows(self, text: str, timeout_s: float = 30) -> None:
        """Wait until it printed ``text``; not longer than it lives."""
        wait.until(
            lambda: text in self.out or self.process.poll() is not None,
            timeout_s,
            f"{text!r} to be printed",
            self.said,
        )
        assert text in self.out, self.said()

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 15) -> int:
        """Send it a signal; returns its exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def leftovers(self) -> list[str]:
        """Its files that are still there, and its processes, found by the folder they inherited."""
        return left_in(self._temporary)

    def close(self) -> None:
        end_all([self.process])


@contextmanager
def program(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Program]:
    started = Program(folder, arguments, env or {})
    try:
        yield started
    finally:
        started.close()


def end_all(processes: Sequence["subprocess.Popen[Any]"], within_s: float = END_S) -> None:
    """Have them end, such as are still running: what they have mounted or started goes with them."""
    until_s = time.monotonic() + within_s
    try:
        for process in processes:
            process.terminate()
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until_s - time.monotonic()))
    finally:
        for process in processes:
            process.kill()
            process.wait()


def left_in(temporary: Path) -> list[str]:
    """The files in a folder, and the processes that inherited it as the one of temporary files."""
    processes = []
    for process in psutil.process_iter():
        try:
            # A worker's temporary folder is one in ours.
            if Path(process.environ().get("TMPDIR", "/")).is_relative_to(temporary):
                processes.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue  # gone meanwhile, or not ours to look at
    return [*(entry.name for entry in temporary.iterdir()), *processes]
