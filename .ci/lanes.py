#!/usr/bin/env python3
"""Runs the tests in lanes side by side, and ends with what failed and one summary line for all of them.

Most of the time tests wait: for containers, for leases, for restarts, so that more lanes than cores help. (No
pytest-xdist: its workers do not survive gevent's patching, which tests of the worker need.) A lane is one
pytest run, because its tests share what is made once per run. What each lane prints is in ``build/tests``.
"""

import collections
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

OUTPUT = Path("build/tests")
#: So many; the machine's two cores are busy with them, and a bigger one takes more (``make test LANES=12``).
LANES = int(os.environ.get("LANES") or 6)
#: Tests that wait for nothing: one lane begins with them.
QUICK = ("tests/unit", "tests/wire")
#: Where it is set (images of Python do), all that tests start would compile all it imports, each time.
LEFT_OUT = {"PYTHONDONTWRITEBYTECODE"}
#: What pytest ends with that found no test to run, as where there are more lanes than files.
NO_TESTS = 5
#: Seconds between looks at the lanes, and between two lines on how far they are.
LOOK_EVERY_S, SAY_EVERY_S = 0.5, 15.0
#: Seconds in which a lane that is interrupted takes down what its tests have started: containers, servers.
TAKE_DOWN_S = 60.0
#: What asks for an end, beside Ctrl-C.
ENDINGS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
#: What a shell makes of a program that was interrupted.
INTERRUPTED = 128 + signal.SIGINT
#: How much of a failed test's report is shown here, the end of a worker's log included; all of it is in the
#: lane's file.
SHOWN_LINES = 100
KINDS = ("failed", "passed", "skipped", "errors")


@dataclass(frozen=True)
class Case:
    """One test as the lane's report has it; ``failure`` is empty where it did not fail."""

    name: str
    kind: str
    failure: str = ""

    @property
    def again(self) -> str:
        """The command that runs it alone."""
        return f".venv/bin/python -m pytest {shlex.quote(self.name)}"


class Lane:
    """One pytest run in the background."""

    def __init__(self, number: int, notes: Path, arguments: Sequence[str]) -> None:
        self.name = f"lane {number}"
        name = f"lane-{number}"
        self.log = OUTPUT / f"{name}.log"
        self.report = OUTPUT / f"{name}.xml"
        first = QUICK if number == 1 else ()
        command = [sys.executable, str(Path(__file__).with_name("lane.py")), str(notes), " ".join(first)]
        options = [f"--junit-xml={self.report}", "-o", f"cache_dir=.pytest_cache/{name}"]
        # What a file that cannot be read keeps from running is that file's tests alone.
        options += ["--continue-on-collection-errors"]
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [*command, *options, *arguments, "tests"],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if name not in LEFT_OUT},
                # Out of reach of a terminal's Ctrl-C, which is for us: we pass it on, once.
                start_new_session=True,
            )

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    @property
    def at(self) -> str:
        """The file it is at, as pytest prints it."""
        found = re.findall(r"^tests/\S+\.py", self.log.read_text(errors="replace"), re.MULTILINE)
        return Path(found[-1]).stem if found else "…"

    def interrupt(self) -> None:
        """Have it take down what its tests have started, and end; nothing where it has ended."""
        self._process.send_signal(signal.SIGINT)

    def wait(self, timeout_s: float) -> None:
        """Wait for its end for as long as that."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)

    def kill(self) -> None:
        """End it where it has not ended."""
        self._process.kill()
        self._process.wait()

    def cases(self) -> list[Case]:
        """Its tests, by its report; one error where there is none, or it did not come to its end."""
        last_words = "\n".join(self.log.read_text(errors="replace").splitlines()[-SHOWN_LINES:])
        broken = Case(self.name, "errors", f"{last_words}\nended with status {self.status}")
        try:
            suite = ElementTree.parse(self.report).getroot()  # noqa: S314  pytest's own
        except (OSError, ElementTree.ParseError):
            return [broken]
        cases = [_case(element) for element in suite.iter("testcase")]
        return cases if self.status in {0, 1, NO_TESTS} else [*cases, broken]


def main(arguments: Sequence[str]) -> int:
    """Returns 0 where every lane passed."""
    signal.signal(signal.SIGINT, _interrupt)
    for number in ENDINGS:
        # Under nohup a hangup is to be nothing.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    shutil.rmtree(OUTPUT, ignore_errors=True)
    notes = OUTPUT / "taken"
    notes.mkdir(parents=True)
    began_s = time.monotonic()
    lanes: list[Lane] = []
    interrupted = False
    try:
        lanes += (Lane(number, notes, arguments) for number in range(1, LANES + 1))
        _watch(lanes)
    except KeyboardInterrupt:
        interrupted = True
        print("interrupted: waiting for the lanes to take down what they have started", flush=True)
    finally:
        _end(lanes)
    if interrupted:
        print(f" interrupted after {time.monotonic() - began_s:.2f}s ".center(80, "="))
        return INTERRUPTED
    cases = [case for lane in lanes for case in lane.cases()]
    print("\n".join(summary(cases)))
    counts = collections.Counter(case.kind for case in cases)
    line = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind]) or "no tests ran"
    print(f" {line} in {time.monotonic() - began_s:.2f}s ".center(80, "="))
    return max((abs(lane.status or 0) for lane in lanes if lane.status != NO_TESTS), default=NO_TESTS)


def summary(cases: Sequence[Case]) -> list[str]:
    """What was skipped, and each failure with how its report ends and the command that runs it alone."""
    lines = [f"SKIPPED {case.name}: {case.failure}" for case in cases if case.kind == "skipped"]
    for case in cases:
        if case.kind not in {"failed", "errors"}:
            continue
        report = case.failure.rstrip().splitlines()
        left_out = len(report) - SHOWN_LINES
        lines += ["", f"{case.kind.upper()} {case.name}"]
        lines += [f"  … {left_out} lines, in {OUTPUT}"] if left_out > 0 else []
        lines += [f"  {line}" for line in report[-SHOWN_LINES:]]
        lines += [f"  again: {case.again}"]
    return lines


def _watch(lanes: Sequence[Lane]) -> None:
    """Say now and then how far the lanes are, and when one has ended."""
    running, said_s = list(lanes), time.monotonic()
    while running:
        time.sleep(LOOK_EVERY_S)
        for lane in [lane for lane in running if lane.status is not None]:
            running.remove(lane)
            print(f"{lane.name}: {_last_line(lane.log)}", flush=True)
        if running and time.monotonic() >= said_s + SAY_EVERY_S:
            said_s = time.monotonic()
            print(f"  … {', '.join(lane.at for lane in running)}", flush=True)


def _interrupt(*_: object) -> None:
    # A request to end often comes twice: from who sends it to the whole group, and from make, which passes it
    # on. Who does not want to wait any longer presses Ctrl-C once more.
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end(lanes: Sequence[Lane]) -> None:
    until_s = time.monotonic() + TAKE_DOWN_S
    try:
        for lane in lanes:
            lane.interrupt()
        for lane in lanes:
            lane.wait(max(0.0, until_s - time.monotonic()))
    except KeyboardInterrupt:
        print("interrupted once more: what the lanes have started may stay behind", flush=True)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for lane in lanes:
            lane.kill()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    counts = [line for line in lines if re.search(r"\d+ (passed|failed|errors?|skipped).* in [\d.]+s", line)]
    return counts[-1].strip("= ") if counts else (lines or ["nothing"])[-1]


def _case(element: ElementTree.Element) -> Case:
    name = _node(element.get("classname") or "", element.get("name") or "")
    for tag, kind in (("error", "errors"), ("failure", "failed"), ("skipped", "skipped")):
        found = element.find(tag)
        if found is not None:
            text = (found.get("message") or "") if kind == "skipped" else (found.text or "")
            return Case(name, kind, text)
    return Case(name, "passed")


def _node(classname: str, name: str) -> str:
    """``tests.unit.test_x`` and a name, as pytest takes them on its command line."""
    parts = classname.split(".") if classname else []
    for length in range(len(parts), 0, -1):
        path = Path(*parts[:length]).with_suffix(".py")
        if path.is_file():
            return "::".join([str(path), *parts[length:], name])
    return "::".join(filter(None, (classname, name)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
