"""The command line of the worker.

At the top this imports argparse and little more: ``__main__`` parses first to see whether the
worker will run, and what is imported before gevent has patched keeps the blocking functions it
bound. The rest is imported by the command that needs it, which also keeps the small ones fast.
"""

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import ConfigurationError
from appliance.exits import Exit

if TYPE_CHECKING:
    from appliance.config.load import Loaded
    from appliance.config.settings import Settings

_USAGE = (
    "runqy-appliance [run | validate | config | health | status | crashes | explain TASK_ID | version]"
    " [--config FILE] [--json] [--live] [--help]"
)

_HELP_HEAD = f"""usage: {_USAGE}

The runqy worker: registers with a runqy server, deploys task code, runs it, feeds it tasks.

commands:
  run        run the worker (default)
  validate   check the settings and say what is wrong with them (also -validate)
  config     print the effective settings and where each comes from, secrets masked;
             --json prints one JSON object
  health     ask the worker that serves RUNQY_HTTP_ADDR on this machine whether it is ready (with --live:
             whether it is alive): 0 yes, 1 no, with one line that says why, 2 without an address
  status     print what that worker is doing: its queues, what runs, what happened lately;
             --json prints its whole answer; 1 where none comes
  crashes    print the crash dossiers that workers of these queues left in Redis, oldest first;
             --json prints a JSON array
  explain    print where the task TASK_ID is and why it is not running, from Redis; changes nothing;
             --json prints one JSON object; status 7 where no queue has it
  version    print the version (also -version)

options:
  -config FILE, --config FILE   the YAML file to read (default: config.yml, if it exists)
  -h, --help                    this text

Settings come from variables, which win over the file, which wins over the defaults. An empty
variable or value counts as not set. In the file, ${{VAR}} and ${{VAR:-default}} stand for variables
and $${{ for a literal ${{. Durations are written as in Go: 500ms, 30s, 1m30s, 24h. No file is needed.
"""

_EXIT_MEANINGS = {
    Exit.OK: "stopped as asked, or the command did its job",
    Exit.INTERNAL: "a defect in the worker; the log has a traceback",
    Exit.CONFIGURATION: "settings missing or wrong, or a command line that is not understood",
    Exit.REGISTRATION: "the server refused the worker, or never answered",
    Exit.DEPLOYMENT: "task code or its environment could not be put in place",
    Exit.STARTUP: "Redis could not be reached at start, or startup_cmd names no program",
    Exit.DEGRADED: "the task process kept crashing and the worker was told to end then",
    Exit.UNKNOWN_TASK: "explain: no queue has a task of that id",
}


@dataclass(frozen=True)
class Invocation:
    """A command line that was understood; ``command`` is one of :data:`_COMMANDS`, ``operand`` a task."""

    command: str
    config_file: Path | None = None
    as_json: bool = False
    live: bool = False
    operand: str = ""


def parse(arguments: Sequence[str]) -> Invocation:
    """Return what ``arguments`` (without the program's name) ask for.

    Raises SystemExit with :attr:`Exit.CONFIGURATION` after saying why, where they make no sense.
    """
    # Our own help and usage: argparse knows nothing of variables, and abbreviations would make
    # a misspelt flag mean something.
    parser = argparse.ArgumentParser("runqy-appliance", _USAGE, add_help=False, allow_abbrev=False)
    parser.add_argument("command", nargs="?", default="")
    parser.add_argument("operand", nargs="?", default="")
    parser.add_argument("--config", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--live", action="store_true")
    for flag in ("validate", "version", "help"):
        parser.add_argument(f"--{flag}", dest="flags", action="append_const", const=flag)
    parser.add_argument("-h", dest="flags", action="append_const", const="help")
    # Not by choices=: the value of a misspelt flag would be blamed as a command, not the flag.
    parsed, unknown = parser.parse_known_args([_two_dashes(argument) for argument in arguments])
    if parsed.operand and parsed.command != "explain":
        unknown.insert(0, parsed.operand)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    commands_with_names = [name for name in _COMMANDS if name != "help"]
    if parsed.command not in ("", *commands_with_names):
        parser.error(f"unknown command {parsed.command!r}: must be one of {', '.join(commands_with_names)}")
    flags = set(parsed.flags or ())
    if "help" in flags:
        return Invocation("help")
    commands = flags | ({parsed.command} if parsed.command else set())
    if len(commands) > 1:
        parser.error(f"one command at a time: {' or '.join(sorted(commands))}")
    command = commands.pop() if commands else "run"
    if parsed.json and command not in _WITH_JSON:
        parser.error(f"--json belongs to the commands {' and '.join(_WITH_JSON)}")
    if parsed.live and command != "health":
        parser.error("--live belongs to the command health")
    if command == "explain" and not parsed.operand:
        parser.error("explain needs the id of a task: runqy-appliance explain TASK_ID")
    return Invocation(command, parsed.config, parsed.json, parsed.live, parsed.operand)


def execute(invocation: Invocation, environ: Mapping[str, str], cwd: Path) -> int:
    """Do what was asked for and return the exit status."""
    try:
        return _COMMANDS[invocation.command](invocation, environ, cwd)
    except ConfigurationError as error:
        _explain(error)
        return Exit.CONFIGURATION
    except Exception:  # noqa: BLE001 - the last line: whatever it is gets logged and its own exit status
        _log_defect()
        return Exit.INTERNAL


def _run(invocation: Invocation, environ: Mapping[str, str], cwd: Path) -> int:
    loaded = _load(invocation, environ, cwd)
    from appliance.worker import run  # noqa: PLC0415 - heavy, and only this command needs it

    return run(loaded.settings, loaded.warnings)


def _validate(invocation: Invocation, environ: Mapping[str, str], cwd: Path) -> int:
    loaded = _load(invocation, environ, cwd)
    _warn(loaded.warnings)
    print("configuration: valid")
    return Exit.OK


def _config(invocation: Invocation, environ: Mapping[str, str], cwd: Path) -> int:
    loaded = _load(invocation, environ, cwd)
    from appliance.config.reference import settings_json, settings_lines  # noqa: PLC0415

    _warn(loaded.warnings)
    if invocation.as_json:
        print(json.dumps(settings_json(loaded.settings, loaded.origins), indent=2))
    else:
        print("\n".join(settings_lines(loaded.settings, loaded.origins)))
    return Exit.OK


def _health(invocation: Invocation, environ: Mapping[str, str], cwd: Path) -> int:
    addr = _http_addr(invocation, environ, cwd)
    from appliance.probe import check  # noqa: PLC0415

    well, line = check(addr, live=invocation.live)
    print(line)
    return Exit.OK if well else Exit.UNHEALTHY


def _status(invocation: Invocation, environ: Mapping[str, str], cwd: Path) -> int:
    addr = _http_addr(invocation, environ, cwd)
    from appliance.probe import NoAnswer, ask, tell  # noqa: PLC0415

    try:
        _, answer = ask(addr, "/status")
    except NoAnswer as exc:
        print(f"status: {exc}", file=sys.stderr)
        return Exit.UNHEALTHY
    print(json.dumps(answer, indent=2) if invocation.as_json else tell(answer))
    return Exit.OK


def _crashes(invocation: Invocation, environ: Mapping[str, str], cwd: Path) -> int:
    from appliance.crashes import read_crashes, tell_crashes  # noqa: PLC0415

    def look(settings: "Settings") -> int:
        crashes = read_crashes(settings)
        print(json.dumps(crashes, indent=2) if invocation.as_json else tell_crashes(crashes))
        return Exit.OK

    return _look_into_redis(invocation, environ, cwd, look)


def _explain_task(invocation: Invocation, environ: Mapping[str, str], cwd: Path) -> int:
    from appliance.explain.reading import find  # noqa: PLC0415
    from appliance.explain.telling import as_data, tell  # noqa: PLC0415

    def look(settings: "Settings") -> int:
        found = find(settings, invocation.operand)
        data, text = as_data(invocation.operand, found), tell(invocation.operand, found)
        print(json.dumps(data, indent=2) if invocation.as_json else text)
        return Exit.OK if found.tasks else Exit.UNKNOWN_TASK

    return _look_into_redis(invocation, environ, cwd, look)


def _look_into_redis(
    invocation: Invocation, environ: Mapping[str, str], cwd: Path, look: "Callable[[Settings], int]"
) -> int:
    loaded = _load(invocation, environ, cwd)
    _warn(loaded.warnings)
    import structlog  # noqa: PLC0415

    from appliance.errors import ApplianceError, RegistrationError  # noqa: PLC0415

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        return look(loaded.settings)
    except ApplianceError as exc:
        print(f"{invocation.command}: {exc}", file=sys.stderr)
        return Exit.REGISTRATION if isinstance(exc, RegistrationError) else Exit.STARTUP


def _version(*_: object) -> int:
    from importlib.metadata import version  # noqa: PLC0415

    print(f"runqy-appliance {version('runqy-appliance')}")
    return Exit.OK


def _help(*_: object) -> int:
    from appliance.config.reference import options_help  # noqa: PLC0415

    statuses = [f"  {status:d}  {_EXIT_MEANINGS[status]}" for status in Exit]
    print("\n".join((_HELP_HEAD, options_help(), "exit statuses:", *statuses)))
    return Exit.OK


_WITH_JSON = ("config", "status", "crashes", "explain")
_COMMANDS: Mapping[str, Callable[[Invocation, Mapping[str, str], Path], int]] = {
    "run": _run,
    "validate": _validate,
    "config": _config,
    "health": _health,
    "status": _status,
    "crashes": _crashes,
    "explain": _explain_task,
    "version": _version,
    "help": _help,
}


def _load(invocation: Invocation, environ: Mapping[str, str], cwd: Path) -> "Loaded":
    from appliance.config.load import load  # noqa: PLC0415

    return load(environ, invocation.config_file, cwd)


def _http_addr(invocation: Invocation, environ: Mapping[str, str], cwd: Path) -> str:
    """Where the worker serves, by the one setting that matters here: a probe must be fast."""
    from appliance.config.kinds import ListenAddress, quoted  # noqa: PLC0415

    kind, raw, named = ListenAddress(), environ.get("RUNQY_HTTP_ADDR", ""), ""
    if raw:
        named = f"RUNQY_HTTP_ADDR={quoted(raw)}"
    elif invocation.config_file or (cwd / "config.yml").exists():
        from appliance.config.sources import from_file  # noqa: PLC0415  brings YAML

        findings = from_file(invocation.config_file, cwd, environ)
        if not findings.complete:
            raise ConfigurationError(tuple(findings.problems))
        if found := findings.found.get("http.addr"):
            raw, named = str(found.raw), found.named
    if not raw:
        raise ConfigurationError(("RUNQY_HTTP_ADDR: is not set: the worker serves nothing to ask",))
    try:
        return kind.parse(raw)
    except ValueError as exc:
        why = f" ({exc})" if str(exc) else ""
        raise ConfigurationError((f"{named}: must be {kind.allowed}{why}",)) from exc


def _two_dashes(argument: str) -> str:
    """Return a flag as Go programs take it (``-config``) in the form argparse tells from ``-c -o -n ...``."""
    name = argument.partition("=")[0]
    return f"-{argument}" if name in {"-config", "-validate", "-version", "-help"} else argument


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _explain(error: ConfigurationError) -> None:
    from appliance.config.options import OPTIONS, missing  # noqa: PLC0415

    count = len(error.problems)
    print(f"configuration: {count} problem{'s' * (count != 1)}", file=sys.stderr)
    for problem in error.problems:
        print(f"  {problem}", file=sys.stderr)
    _warn(error.warnings)
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
