"""The command line of the harness: which commands there are, and how each of them ends.

A command line that makes no sense is answered in one line, which names the option, the value and what
is allowed, with exit status 2. A command that fails says why in one sentence, with exit status 1.
"""

import gc
import importlib
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from harness.failure import MISUNDERSTOOD, CommandFailed, Interrupted, interrupt, on_interruption
from harness.output.terminal import printable

#: Each is a module of ``harness.commands``, imported only when it runs: what the others need may be missing.
COMMANDS: Mapping[str, str] = {
    "demo": "see a worker do its job: server, Redis, tasks, results, a crash and its recovery",
    "init": "a task repository that works at once: code, tests, an image, CI",
    "dev": "your task code at work as you save it: Redis, server, worker, output and results",
    "test": "the tests of your task code: pytest, with a worker that runs it",
    "serve": "a local runqy server for the task code in a folder, until Ctrl-C",
    "enqueue": "send tasks to it, or to any runqy server, and print ids or results",
    "result": "wait for a task, print its result, and report its end by the exit status",
    "tasks": "tasks of any runqy: list, show, logs; cancel, retry, archive, delete",
    "queues": "queues of any runqy: list, pause, resume, drain",
    "workers": "workers of any runqy: list, show",
    "watch": "its workers, its queues, and tasks as they end",
    "handlers": "the example handlers: what each does, its settings, and how its tasks end",
    "e2e": "play scenarios against a worker: what it claims, shown on processes or containers",
    "certify": "your own task code through crashes, stops and odd payloads: findings, and advice",
    "load": "your task code under a steady load: waits, runs, memory, and how many workers it wants",
    "chaos": "workers under random load and random faults from a seed, judged by invariants",
    "soak": "a worker under a steady load for long: does its memory or anything else grow",
    "conform": "the contract of the runqy server, played against a server: each difference is printed",
    "bench": "measure the worker beside those a user would pick instead",
    "completion": "a script that has bash, zsh or fish complete all this",
    "fleet": "what a thousand workers would cost Redis, from what a few are measured to cost",
}
FAILED = 1
#: As a shell has it of programs that SIGPIPE ends.
READER_GONE = 128 + signal.SIGPIPE
#: Commands that go on until they are interrupted: for them it is no failure.
_ENDLESS = {"dev", "serve", "watch"}


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` (without the program's name) ask for; returns the exit status.

    Raises SystemExit after saying why, where they make no sense, and after printing a command's help.
    """
    command = arguments[0] if arguments else ""
    if command in _SAID:
        print(_SAID[command](), end="")
        return 0
    if command not in COMMANDS:
        problem = f"command {command!r}" if command else "no command"
        return _say(MISUNDERSTOOD, f"runqy-harness: {problem}: expected one of {', '.join(COMMANDS)}")
    on_interruption(interrupt)
    try:
        status: int = _loaded(command).run(arguments[1:])
    except CommandFailed as exc:
        return _say(FAILED, f"runqy-harness {command}: {exc}")
    except ModuleNotFoundError as exc:
        # The package is on no index: it is installed from the folder it is in.
        needs = "pip install '.[harness]' in this project's folder"
        return _say(
            MISUNDERSTOOD, f"runqy-harness {command}: the package {exc.name} is missing; {needs} brings it"
        )
    except Interrupted as exc:
        return 0 if command in _ENDLESS else 128 + exc.number
    return status


def _loaded(command: str) -> Any:
    """The command's module."""
    # Where it is installed, Redis's client would import all of it.
    sys.modules.setdefault("opentelemetry", None)  # type: ignore[arg-type]
    # Nothing that is imported is garbage; looking for some takes an eighth of the start.
    gc.disable()
    try:
        return importlib.import_module(f"harness.commands.{command}")
    finally:
        # For who needs it later in this process.
        if sys.modules["opentelemetry"] is None:
            del sys.modules["opentelemetry"]
        gc.freeze()
        gc.enable()


def _say(status: int, problem: str) -> int:
    print(printable(problem), file=sys.stderr)
    return status


def _help() -> str:
    lines = "".join(f"  {name:<11}{summary}\n" for name, summary in COMMANDS.items())
    usage = "usage: runqy-harness COMMAND [options]      (runqy-harness COMMAND --help says more)"
    return f"{usage}\n\n{lines}  {'version':<11}print the version (also --version)\n"


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415  it takes a while, and no other command asks

    return f"runqy-harness {version('runqy-appliance')}\n"


#: What is answered at once; the version in each spelling that the worker has.
_SAID = {
    **dict.fromkeys(("-h", "--help"), _help),
    **dict.fromkeys(("version", "-version", "--version"), _version),
}
