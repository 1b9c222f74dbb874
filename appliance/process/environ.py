"""What a task process is started with: its environment and its command line. Pure.

The process runs other people's code: it gets what the worker inherited, without the worker's own
credentials, plus the queue's vaults.
"""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from appliance.errors import ProcessError

#: Ours, whatever their names may look like to the pattern below.
_CREDENTIALS = frozenset(
    ("RUNQY_API_KEY", "RUNQY_API_KEY_FILE", "RUNQY_GIT_TOKEN", "RUNQY_GIT_TOKEN_FILE", "RUNQY_GIT_SSH_KEY")
)
_CREDENTIAL_PATTERN = re.compile(r"RUNQY_(?:REDIS_.*|.*(?:PASSWORD|TOKEN|KEY|SECRET).*)", re.IGNORECASE)

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

_INTERPRETERS = frozenset(("python", "python3"))


def build_environment(
    inherited: Mapping[str, str],
    venv_dir: Path | None,
    vaults: Mapping[str, str],
    allow_unsafe: bool = False,
) -> tuple[dict[str, str], list[str]]:
    """The task process's environment, and a line for each vault entry that was refused (never its value).

    ``venv_dir`` None is the machine's own Python. ``vaults`` win over ``inherited``. Entries that would
    change which code runs (``PATH``, ``LD_PRELOAD``, ``PYTHONPATH`` …), or that bear the name of a credential
    of ours, are refused unless ``allow_unsafe``; names and values that no environment can hold are
    refused always.
    """
    env = {name: value for name, value in inherited.items() if not _is_credential(name)}
    env.pop("PYTHONHOME", None)
    if venv_dir is not None:
        path = env.get("PATH") or os.defpath
        env |= {"PATH": str(venv_dir / "bin") + os.pathsep + path, "VIRTUAL_ENV": str(venv_dir)}
    # Output must reach us when it is printed, not when a buffer is full or lost in a crash.
    env["PYTHONUNBUFFERED"] = "1"
    warnings = []
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


def _is_credential(name: str) -> bool:
    return name in _CREDENTIALS or _CREDENTIAL_PATTERN.fullmatch(name) is not None


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
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
