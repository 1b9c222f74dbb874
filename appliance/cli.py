"""The command line of the worker: which commands there are, what is understood, and how each of them ends.

At the top this imports argparse and little more: ``__main__`` parses first to see whether the worker will
run, and what is imported before gevent has patched keeps the blocking functions it bound. A command's
module is imported when it runs, which also keeps the small ones fast.
"""

import argparse
import contextlib
import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from appliance.commands.options import USAGE, Options
from appliance.errors import ConfigurationError
from appliance.exits import Exit
from appliance.plain import plain

#: The module of each, in :mod:`appliance.commands`.
COMMANDS: Mapping[str, str] = {
    "run": "run",
    "validate": "validate",
    "config": "config",
    "health": "health",
    "status": "status",
    "crashes": "crashes",
    "explain": "explain.command",
    "version": "version",
    "help": "help",
}
#: As a shell has it of programs that SIGPIPE ends.
_READER_GONE = 128 + signal.SIGPIPE
_WITH_JSON = ("config", "status", "crashes", "explain")


def parse(arguments: Sequence[str]) -> Options:
    """Return what ``arguments`` (without the program's name) ask for.

    Raises SystemExit with :attr:`Exit.CONFIGURATION` after saying why, where they make no sense.
    """
    # Our own help and usage: argparse knows nothing of variables, and abbreviations would make
    # a misspelt flag mean something.
    parser = argparse.ArgumentParser("runqy-appliance", USAGE, add_help=False, allow_abbrev=False)
    parser.add_argument("command", nargs="?", default="")
    parser.add_argument("operand", nargs="?", default="")
    parser.add_argument("--config", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true")
    probe = parser.add_mutually_exclusive_group()
    for name in ("live", "started"):
        probe.add_argument(f"--{name}", action="store_true")
    for flag in ("validate", "version", "help"):
        parser.add_argument(f"--{flag}", dest="flags", action="append_const", const=flag)
    parser.add_argument("-h", dest="flags", action="append_const", const="help")
    # Not by choices=: the value of a misspelt flag would be blamed as a command, not the flag.
    # Intermixed: explain --json ID is as good as explain ID --json.
    parsed, unknown = parser.parse_known_intermixed_args([_two_dashes(argument) for argument in arguments])
    if parsed.operand and parsed.command != "explain":
        unknown.insert(0, parsed.operand)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    commands_with_names = [name for name in COMMANDS if name != "help"]
    if parsed.command not in ("", *commands_with_names):
        parser.error(f"unknown command {parsed.command!r}: must be one of {', '.join(commands_with_names)}")
    flags = set(parsed.flags or ())
    if "help" in flags:
        return Options("help")
    commands = flags | ({parsed.command} if parsed.command else set())
    if len(commands) > 1:
        parser.error(f"one command at a time: {' or '.join(sorted(commands))}")
    command = commands.pop() if commands else "run"
    if parsed.json and command not in _WITH_JSON:
        parser.error(f"--json belongs to the commands {' and '.join(_WITH_JSON)}")
    for name in ("live", "started"):
        if getattr(parsed, name) and command != "health":
            parser.error(f"--{name} belongs to the command health")
    if command == "explain" and not parsed.operand:
        parser.error("explain needs the id of a task: runqy-appliance explain TASK_ID")
    return Options(command, parsed.config, parsed.json, parsed.live, parsed.started, parsed.operand)


def execute(options: Options, environ: Mapping[str, str], cwd: Path) -> int:
    """Do what was asked for and return the exit status.

    What a command prints is written at its end, as a whole: a reader that has gone (``| head``) or a device
    that is full is then no failure of the command's own.
    """
    if options.command == "run":
        return _execute(options, environ, cwd)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = _execute(options, environ, cwd)
    try:
        sys.stdout.write(printed.getvalue())
        sys.stdout.flush()
    except OSError as exc:
        _forget(sys.stdout)
        if isinstance(exc, BrokenPipeError):
            return _READER_GONE
        with contextlib.suppress(OSError):
            print(f"runqy-appliance: standard output: {exc.strerror}", file=sys.stderr)
        return Exit.INTERNAL
    return status


def _execute(options: Options, environ: Mapping[str, str], cwd: Path) -> int:
    try:
        command = importlib.import_module(f"appliance.commands.{COMMANDS[options.command]}")
        status: int = command.run(options, environ, cwd)
    except ConfigurationError as error:
        try:
            _print_problems(error)
        except OSError:
            # The exit status says it, too.
            _forget(sys.stderr)
        return Exit.CONFIGURATION
    except Exception:  # noqa: BLE001 - the last line: whatever it is gets logged and its own exit status
        _log_defect()
        return Exit.INTERNAL
    return status


def _forget(stream: TextIO) -> None:
    """Have what could not be written, and the interpreter's own last attempt, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _two_dashes(argument: str) -> str:
    """Return a flag as Go programs take it (``-config``) in the form argparse tells from ``-c -o -n ...``."""
    name = argument.partition("=")[0]
    return f"-{argument}" if name in {"-config", "-validate", "-version", "-help"} else argument


def _print_problems(error: ConfigurationError) -> None:
    from appliance.config.option import missing  # noqa: PLC0415
    from appliance.config.options import OPTIONS  # noqa: PLC0415

    count = len(error.problems)
    print(f"configuration: {count} problem{'s' * (count != 1)}", file=sys.stderr)
    for problem in error.problems:
        print(plain(f"  {problem}"), file=sys.stderr)
    for warning in error.warnings:
        print(plain(f"warning: {warning}"), file=sys.stderr)
    required = [option for option in OPTIONS if option.required]
    if any(missing(option) in error.problems for option in required):
        names = ", ".join(option.variable for option in required)
        print(
            f"\nA worker needs at least {names}:\nthe server to register with, the key it knows "
            "this worker by, and the queues to serve. Set them as\nvariables, of a container with docker run "
            "-e RUNQY_SERVER_URL=https://… -e RUNQY_API_KEY=…\n-e RUNQY_QUEUES=…, or in config.yml; "
            "runqy-appliance --help explains every setting.",
            file=sys.stderr,
        )


def _log_defect() -> None:
    """Log the exception being handled: redacted and in the chosen format once logging is set up."""
    import structlog  # noqa: PLC0415

    if structlog.is_configured():
        structlog.get_logger().exception("cli.defect")
    else:
        traceback.print_exc()
