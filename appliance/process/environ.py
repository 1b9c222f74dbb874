"""What a task process is started with: its environment and its command line. Pure.

The process runs code that the worker does not trust: of the environment that the worker inherited it gets
what :mod:`~appliance.process.inheritance` lets through, plus the queue's vaults.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from appliance.errors import ProcessError
from appliance.process.inheritance import withheld
from appliance.values import value_class

#: The worker's credentials, which no vault may replace.
_CREDENTIALS = frozenset(
    ("RUNQY_API_KEY", "RUNQY_API_KEY_FILE", "RUNQY_GIT_TOKEN", "RUNQY_GIT_TOKEN_FILE", "RUNQY_GIT_SSH_KEY")
)

#: Names that decide which code runs before the task's own does: loader, interpreter, shell, resolver.
_UNSAFE = frozenset(
    (
        "BASHOPTS",
        "BASH_ENV",
        "CDPATH",
        "ENV",
        "GCONV_PATH",
        "GLIBC_TUNABLES",
        "HOSTALIASES",
        "IFS",
        "LOCALDOMAIN",
        "LOCPATH",
        "MALLOC_TRACE",
        "NLSPATH",
        "PATH",
        "PS4",
        "RESOLV_HOST_CONF",
        "RES_OPTIONS",
        "SHELLOPTS",
        "VIRTUAL_ENV",
    )
)
_UNSAFE_PREFIXES = ("LD_", "DYLD_", "PYTHON", "BASH_FUNC_")

#: Variables named in an error.
_NAMED = 5

_INTERPRETERS = frozenset(("python", "python3"))


def build_environment(
    inherited: Mapping[str, str],
    venv_dir: Path | None,
    vaults: Mapping[str, str],
    allow_unsafe: bool = False,
) -> tuple[dict[str, str], list[str]]:
    """Return the task process's environment, and a line per refused vault entry (never its value).

    ``venv_dir`` None is the machine's own Python. ``vaults`` win over ``inherited``. Entries that would
    change which code runs (``PATH``, ``LD_PRELOAD``, ``PYTHONPATH`` …), or that have the name of a credential
    of the worker's, are refused unless ``allow_unsafe``; names and values that no environment can hold are
    refused always.
    """
    env = {name: value for name, value in inherited.items() if not withheld(name, value)}
    # It would make the virtual environment's interpreter load the worker's standard library.
    env.pop("PYTHONHOME", None)
    if venv_dir is not None:
        path = env.get("PATH") or os.defpath
        env |= {"PATH": str(venv_dir / "bin") + os.pathsep + path, "VIRTUAL_ENV": str(venv_dir)}
    # Output must reach us when it is printed, not when a buffer is full or lost in a crash.
    env["PYTHONUNBUFFERED"] = "1"
    # Where the code stood when the process died of a fault, or was ended because a task ran for too long.
    env.setdefault("PYTHONFAULTHANDLER", "1")
    warnings = []
    # Last, so that a vault wins over what was inherited.
    for name, value in vaults.items():
        refusal = _refusal(name, value, allow_unsafe)
        if refusal:
            warnings.append(f"vault entry {name!r} was not set: {refusal}")
        else:
            env[name] = value
    return env, warnings


def build_argv(startup_cmd: str, python: Path) -> tuple[str, ...]:
    """Split ``startup_cmd`` into words as a POSIX shell would, without running one.

    A leading ``python`` or ``python3`` becomes ``python``, the virtual environment's interpreter.
    Raises :class:`~appliance.errors.ProcessError` for a command that is empty or badly quoted.
    """
    try:
        words = shlex.split(startup_cmd)
    except ValueError as exc:
        raise ProcessError(f"startup_cmd {startup_cmd!r} cannot be split into words: {exc}") from exc
    if not words or not words[0]:
        raise ProcessError(f"startup_cmd {startup_cmd!r} names no program; allowed is a command line")
    if "\0" in startup_cmd:
        raise ProcessError(f"startup_cmd {startup_cmd!r} holds a NUL character, which no argument can")
    first = str(python) if words[0] in _INTERPRETERS else words[0]
    return (first, *words[1:])


@value_class
class Room:
    """How many bytes a program may be started with: in one variable or word, and in all of them."""

    one: int
    all: int


def check_size(argv: Sequence[str], env: Mapping[str, str], room: Room) -> None:
    """Raise :class:`~appliance.errors.ProcessError` where the system would not start such a program.

    It names the variables that are too large, never their values.
    """
    sizes = {name: len(os.fsencode(f"{name}={value}")) + 1 for name, value in env.items()}
    too_large = [f"{name} ({size} bytes)" for name, size in sorted(sizes.items()) if size > room.one]
    if too_large:
        raise ProcessError(
            f"too large for a variable of a process: {', '.join(too_large[:_NAMED])}; this system takes "
            f"{room.one} bytes, the name included: make it shorter, or split it over several vault entries"
        )
    # A pointer to each.
    whole = (
        sum(sizes.values()) + 8 * (len(env) + len(argv)) + sum(len(os.fsencode(word)) + 1 for word in argv)
    )
    if whole > room.all:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:_NAMED]
        named = ", ".join(f"{name} ({sizes[name]} bytes)" for name in largest)
        raise ProcessError(
            f"the environment and command line of the task process have {whole} bytes, this system takes at "
            f"most {room.all}; the largest are {named}"
        )


def _refusal(name: str, value: str, allow_unsafe: bool) -> str | None:
    if not name or "=" in name or "\0" in name or not _encodable(name):
        return "an environment variable cannot have this name"
    if "\0" in value or not _encodable(value):
        return "its value holds a character that an environment variable cannot"
    if not allow_unsafe and name.upper() in _CREDENTIALS:
        return "it is a credential of the worker's; RUNQY_VAULT_ALLOW_UNSAFE=true allows it"
    if not allow_unsafe and (name.upper() in _UNSAFE or name.upper().startswith(_UNSAFE_PREFIXES)):
        return "it could change which code the process runs; RUNQY_VAULT_ALLOW_UNSAFE=true allows it"
    return None


def _encodable(text: str) -> bool:
    try:
        # The server's JSON may hold half of a surrogate pair, which no bytes stand for.
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
