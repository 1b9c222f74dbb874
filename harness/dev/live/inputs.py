"""The files a task author keeps beside the code: variables, and payloads to try it with."""

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream

from harness.failure import CommandFailed

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def variables(file: Path) -> dict[str, str]:
    """What a file of ``NAME=value`` lines says; quotes, comments and ``export`` as other programs have them.

    Nothing is filled in for ``$NAME``: values are secrets, and may have such characters in them. Raises
    :class:`~harness.failure.CommandFailed`, with no value in it.
    """
    found: dict[str, str] = {}
    wrong = []
    # Not dotenv_values, which leaves out what it cannot read.
    for binding in parse_stream(io.StringIO(_text("--env-file", file))):
        if binding.key is not None and binding.value is not None and _NAME.fullmatch(binding.key):
            found[binding.key] = binding.value
        elif binding.error or binding.key is not None:
            # It begins with the empty lines before it.
            text = binding.original.string
            empty = text[: len(text) - len(text.lstrip())].count("\n")
            wrong.append(str(binding.original.line + empty))
    if wrong:
        # Their numbers alone: what stands where a name should may be a secret.
        lines = f"line {wrong[0]} is" if len(wrong) == 1 else f"lines {', '.join(wrong)} are"
        raise CommandFailed(f"--env-file {file}: expected NAME=value on each line, {lines} not like that")
    return found


def payloads(file: Path) -> Sequence[Mapping[str, Any]]:
    """The tasks that a file is for: one JSON object, a list of them, or one a line.

    Raises :class:`~harness.failure.CommandFailed`.
    """
    text = _text("--payload", file)
    try:
        found = json.loads(text)
    except RecursionError as exc:
        raise CommandFailed(f"--payload {file}: expected a JSON object, this is nested too deeply") from exc
    except ValueError as exc:
        found = _by_line(text, f"--payload {file}: expected a JSON object, but {exc}")
    found = found if isinstance(found, list) else [found]
    if not found or not all(isinstance(each, dict) for each in found):
        raise CommandFailed(f"--payload {file}: expected a JSON object, a list of them, or one a line")
    return found


def _by_line(text: str, problem: str) -> list[Any]:
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        # What begins like an object and goes on in the next line is one that has a mistake in it.
        return [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        raise CommandFailed(problem) from None


def _text(option: str, file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise CommandFailed(f"{option} {file}: {reason}") from exc
