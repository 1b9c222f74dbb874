"""Plays parts side by side, each in its own process, so that one that hangs or dies harms no other.

A process that is asked to end takes its stack down first, and is asked when this one ends, however it ends.
"""

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from harness.e2e.play import Outcome, Part, play
from harness.failure import Interrupted
from harness.sandbox.runtimes.protocol import Runtime

#: Beyond its budget: what ends itself late is heard, what does not is killed.
GRACE_S = 60.0
_LOOK_EVERY_S = 0.25
_PR_SET_PDEATHSIG = 1
# Everything is imported already, and nothing but this thread runs: to fork is quick, and safe.
_FORK = multiprocessing.get_context("fork")


@dataclass
class _Running:
    part: Part
    process: Any
    outcome: Connection
    began_s: float
    until_s: float


def play_all(
    parts: Sequence[Part], runtime: Runtime, folder: Path, jobs: int, look: Callable[[Sequence[str]], None]
) -> Iterator[Outcome]:
    """Play ``parts`` in this order, ``jobs`` at a time, and give outcomes as they come.

    ``look`` is called now and then with the names of what is being played.
    """
    waiting = list(parts)
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_start(waiting.pop(0), runtime, folder))
            look([each.part.name for each in running])
            wait([each.outcome for each in running], _LOOK_EVERY_S)
            for each in [each for each in running if _is_over(each)]:
                running.remove(each)
                yield _collected(each)
    finally:
        for each in running:
            each.process.terminate()
        for each in running:
            _end(each.process)


def _start(part: Part, runtime: Runtime, folder: Path) -> _Running:
    ours, theirs = _FORK.Pipe(duplex=False)
    place = folder / part.name.translate(str.maketrans("/ []", "----")).strip("-")
    process = _FORK.Process(target=_child, args=(os.getpid(), part, runtime, place, theirs), name=part.name)
    process.start()
    theirs.close()
    began_s = time.monotonic()
    return _Running(part, process, ours, began_s, began_s + part.limit_s(runtime) + GRACE_S)


def _child(parent: int, part: Part, runtime: Runtime, folder: Path, outcome: Connection) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        return
    try:
        outcome.send(play(part, runtime, folder))
    except Interrupted:
        return  # the stack is down: that is all there was to do


def _is_over(each: _Running) -> bool:
    return each.outcome.poll() or not each.process.is_alive() or time.monotonic() > each.until_s


def _collected(each: _Running) -> Outcome:
    try:
        if not each.outcome.poll():
            raise EOFError
        outcome: Outcome = each.outcome.recv()
    except EOFError:
        alive = each.process.is_alive()
        problem = "does not end" if alive else f"its process ended with exit status {each.process.exitcode}"
        took_s = time.monotonic() - each.began_s
        outcome = Outcome(each.part.name, each.part.scenario.claim, False, took_s, problem)
    _end(each.process)
    return outcome


def _end(process: Any) -> None:
    process.join(GRACE_S)
    if process.is_alive():
        process.kill()
        process.join()
    process.close()
