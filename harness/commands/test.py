"""``runqy-harness test``."""

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.commands import values
from harness.commands.parser import Parser


def run(arguments: Sequence[str]) -> int:
    """Become pytest, with what ``arguments`` ask for; returns only where that cannot be done."""
    parser = Parser(
        "test",
        "Your task code's own tests, by pytest: its fixtures runqy, send, crash and restart have a worker "
        "that runs the code as it is now. Options win over pytest.ini; the exit status is pytest's.",
        "What follows -- is for pytest: runqy-harness test -- -x -k crash",
    )
    add = parser.add_argument
    add("folder", nargs="?", type=values.folder, metavar="DIR", help="with the tests (default: this folder)")
    add("--startup-cmd", metavar="COMMAND", help="default: python main.py")
    add("--startup-timeout", type=values.whole(1), metavar="SECONDS", help="to become ready (default: 60)")
    add("--mode", choices=("long_running", "one_shot"), help="default: long_running")
    add(
        "--vault",
        action="append",
        default=[],
        type=values.vault,
        metavar="NAME=VALUE",
        help="for the task's environment",
    )
    ours, theirs = _split(arguments)
    options = parser.parse_args(ours)
    if importlib.util.find_spec("pytest") is None:
        raise ModuleNotFoundError("pytest", name="pytest")
    settings = {
        "runqy_startup_cmd": options.startup_cmd,
        "runqy_startup_timeout": options.startup_timeout,
        "runqy_mode": options.mode,
        # Names alone: values would be for everyone to see who lists processes.
        "runqy_vaults": "\n".join(name for name, _ in options.vault) or None,
    }
    os.environ.update(options.vault)
    chosen = [
        word
        for name, value in settings.items()
        if value is not None
        for word in ("--override-ini", f"{name}={value}")
    ]
    folder = options.folder.path if options.folder else Path.cwd()
    os.chdir(folder)
    # pytest has the terminal and its signals for itself, and the folder is on sys.path.
    sys.stdout.flush()
    command = [sys.executable, "-m", "pytest", "-p", "runqy_harness", *chosen, *theirs]
    os.execv(command[0], command)  # noqa: S606  without a shell on purpose


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What is before and what is after ``--``."""
    where = list(arguments).index("--") if "--" in arguments else len(arguments)
    return arguments[:where], arguments[where + 1 :]
