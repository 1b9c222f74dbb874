"""Where settings come from, and the only place of the configuration that touches the disk.

Variables are read through ``environs``, for access alone: its own errors would show a secret's
value and cannot say what is allowed, and its file variant lets ``X_FILE`` silently win over ``X``.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from environs import Env

from appliance.config.findings import Findings, Found
from appliance.config.kinds.base import Place, quoted
from appliance.config.option import Option
from appliance.config.options import OPTIONS, VARIABLES, did_you_mean

#: The file that is read without being named, if it exists.
DEFAULT_FILE = Path("config.yml")

#: Most bytes that are read of any file; PyYAML needs a second for a few hundred kilobytes.
_LARGEST_FILE = 64 * 1024

_PREFIX = "RUNQY_"


class MappingEnv(Env):
    """``environs`` over a given mapping instead of the process's own environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__()
        self._mapping = environ

    def _get_value(self, env_key: str, default: Any) -> Any:
        return self._mapping.get(env_key, default)


def from_environment(environ: Mapping[str, str], cwd: Path) -> Findings:
    """Return what the variables say; paths of ``_FILE`` variables are relative to ``cwd``.

    An empty variable counts as not set: that is what compose files pass on for one the shell lacks.
    """
    findings = Findings()
    env = MappingEnv(environ)
    for option in OPTIONS:
        value: str = env.str(option.variable, "")
        file: str = env.str(option.file_variable, "") if option.file_variable else ""
        if value and file:
            problem = f"is set as well as {option.variable}; set only one of them"
            named = f"{option.file_variable}={quoted(file)}"
            findings.found[option.path] = Found("", named, _origin(option.file_variable), problem)
        elif file:
            findings.found[option.path] = _from_secret_file(option, file, cwd)
        elif value:
            named = f"{option.variable}={option.show_raw(value)}"
            findings.found[option.path] = Found(value, named, _origin(option.variable))
        for name in option.go_names:
            if value := env.str(name, ""):
                named = f"{name}={option.show_raw(value)}"
                findings.found[name] = Found(value, named, _origin(name), proper_name=option.variable)
    for name in sorted(environ):
        # In upper or lower case: runqy_api_key is as unknown as RUNQY_API_KY, and as likely a mistake.
        if name.upper().startswith(_PREFIX) and name not in VARIABLES:
            label = name if name.isprintable() else repr(name)
            findings.warnings.append(
                f"{label}: unknown variable, ignored{did_you_mean(name.upper(), VARIABLES)}"
            )
    return findings


def from_file(config_file: Path | None, cwd: Path, environ: Mapping[str, str]) -> Findings:
    """Return what the configuration file says: the named one, or the default one if it exists."""
    path = config_file or DEFAULT_FILE
    name = str(path) if str(path).isprintable() else repr(str(path))
    try:
        text = _read(cwd / path)
    except FileNotFoundError as exc:
        if config_file is None:
            return Findings()
        return Findings(problems=[f"{name}: cannot be read: {_reason(exc)}"], complete=False)
    except (OSError, ValueError) as exc:
        return Findings(problems=[f"{name}: cannot be read: {_reason(exc)}"], complete=False)
    # why not above: most workers have no such file, and it imports YAML.
    from appliance.config.document import read_document  # noqa: PLC0415

    return read_document(text, name, environ)


def secret_files(environ: Mapping[str, str], config_file: Path | None, cwd: Path) -> tuple[Path, ...]:
    """Return the files that settings were read from, all of which may hold secrets; absolute paths."""
    named = [environ.get(option.file_variable, "") for option in OPTIONS if option.file_variable]
    file = cwd / (config_file or DEFAULT_FILE)
    return (*(cwd / name for name in named if name), *([file] if file.exists() else []))


def unusable(path: Path, place: Place) -> str:
    """Return why ``path`` is not what it has to be, empty where it is."""
    try:
        return _unusable_folder(path) if place is Place.FOLDER else _unusable_file(path)
    except (OSError, ValueError) as exc:
        return _reason(exc)


def _from_secret_file(option: Option, file: str, cwd: Path) -> Found:
    named = f"{option.file_variable}={quoted(file)}"
    origin = _origin(option.file_variable)
    try:
        content = _read(cwd / file).rstrip("\r\n")
    except (OSError, ValueError) as exc:
        return Found("", named, origin, problem=f"cannot be read: {_reason(exc)}")
    if not content:
        return Found("", named, origin, problem="is empty")
    return Found(content, f"content of {named}", origin)


def _origin(variable: str | None) -> str:
    return f"environment {variable}"


def _unusable_file(path: Path) -> str:
    if not stat.S_ISREG(path.stat().st_mode):
        return "Not a regular file"
    with path.open("rb"):
        return ""


def _unusable_folder(path: Path) -> str:
    for candidate in (path, *path.parents):
        try:
            mode = candidate.stat().st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(mode):
            return f"{candidate} is not a folder"
        return "" if os.access(candidate, os.W_OK | os.X_OK) else f"{candidate} is not writable"
    return "no part of it exists"


def _read(path: Path) -> str:
    # Asked first: opening a pipe would wait for its writer.
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise ValueError("Is a directory")
    if not stat.S_ISREG(mode):
        raise ValueError("Not a regular file")
    with path.open("rb") as file:
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise ValueError(f"Larger than {_LARGEST_FILE // 1024} KiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Without the cause, whose text shows bytes of the content.
        raise ValueError("Not UTF-8 text") from None


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
