"""What may stand behind an option of the command line.

Each function reads one value and raises argparse.ArgumentTypeError with the value and what is
allowed, to which argparse adds the option's name.
"""

import argparse
import json
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.failure import CommandFailed
from harness.sandbox.handlers import handler_source
from harness.sandbox.source import Folder, Handler, Remote, Source


def _wrong(value: str, expected: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{value!r}: expected {expected}")


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A reader of whole numbers within these limits."""
    allowed = f"a whole number, {least} or more" if most is None else f"a whole number from {least} to {most}"

    def read(text: str) -> int:
        value = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else -1
        if value < least or (most is not None and value > most):
            raise _wrong(text, allowed)
        return value

    return read


def seconds(text: str) -> float:
    """A length of time: ``30s``, ``2m``, ``500ms``."""
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s|m)", text)
    length_s = float(found[1]) * {"ms": 0.001, "s": 1, "m": 60}[found[2]] if found else 0.0
    if length_s <= 0:
        raise _wrong(text, "a length of time such as 30s or 2m")
    return length_s


def folder(text: str) -> Folder:
    """A folder that exists."""
    path = Path(text)
    if not path.is_dir():
        raise _wrong(text, "a folder")
    return Folder(path.resolve())


def new_folder(text: str) -> Path:
    """A folder that exists, or that may be made."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise _wrong(text, "a folder, or a name for a new one")
    return path


def new_file(text: str) -> Path:
    """A file that can be written; said before a run, at whose end it would be too late."""
    path = Path(text)
    if (
        path.is_dir()
        or not path.parent.is_dir()
        or not os.access(path if path.exists() else path.parent, os.W_OK)
    ):
        raise _wrong(text, "a file that can be written, in a folder that exists")
    return path


def payload_file(text: str) -> Path:
    """A file that :func:`harness.dev.live.inputs.payloads` reads."""
    # why not above: dotenv, too, is needed by few commands.
    from harness.dev.live import inputs  # noqa: PLC0415

    return _readable(inputs.payloads, "--payload", text)


def env_file(text: str) -> Path:
    """A file that :func:`harness.dev.live.inputs.variables` reads."""
    from harness.dev.live import inputs  # noqa: PLC0415  as above

    return _readable(inputs.variables, "--env-file", text)


def _readable(read: Callable[[Path], object], option: str, text: str) -> Path:
    try:
        read(Path(text))
    except CommandFailed as exc:
        raise argparse.ArgumentTypeError(str(exc).removeprefix(f"{option} ")) from exc
    return Path(text)


def project(text: str) -> str:
    """A project's name, which is its image's, too."""
    if not re.fullmatch(r"[a-z0-9]+([._-][a-z0-9]+)*", text):
        raise _wrong(text, "a name of small letters and digits, with single -, _ or . between them")
    return text


def image(text: str) -> str:
    """An image's name, perhaps with a registry, a tag and a digest."""
    if not re.fullmatch(r"[a-z0-9][\w./:@-]*", text):
        raise _wrong(text, "an image's name such as runqy-appliance:dev")
    return text


def requirement(text: str) -> str:
    """A line of requirements.txt."""
    if not text.strip() or not text.isprintable():
        raise _wrong(text, "a line of requirements.txt")
    return text


def repository(text: str) -> Source:
    """A folder that exists, or any URL git understands."""
    # Also git's short form of ssh, user@host:path.
    if "://" in text or re.match(r"[\w.-]+@[\w.-]+:", text):
        return Remote(text)
    return folder(text)


def handler(text: str) -> Handler:
    """The name of an example handler."""
    try:
        handler_source(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc).removeprefix("handler ")) from exc
    return Handler(text)


def queue(text: str) -> str:
    """A parent queue's name."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise _wrong(text, "a parent queue's name of letters, digits, - and _")
    return text


def sub_queue(text: str) -> tuple[str, int]:
    """A sub-queue's name and priority."""
    found = re.fullmatch(r"([A-Za-z0-9_-]+):([1-9][0-9]{0,8})", text)
    if found is None:
        raise _wrong(text, "NAME:PRIORITY, such as high:9")
    return found[1], int(found[2])


def vault(text: str) -> tuple[str, str]:
    """A vault entry's name and value; the value is in no error."""
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        # What follows the "=" is a secret, and without one everything may be.
        raise _wrong(name if equals else "…", "NAME=VALUE, the name a variable's")
    return name, value


def redis_url(text: str) -> str:
    """A URL of a Redis; its password is in no error."""
    # why not above: Redis's client takes a third of the start of a command that may have no use for it.
    from harness.sandbox.redis import ExternalRedis  # noqa: PLC0415

    try:
        ExternalRedis(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc).removeprefix("Redis URL ")) from exc
    return text


def http_url(text: str) -> str:
    """A URL of a server."""
    if urlsplit(text).scheme not in {"http", "https"} or not urlsplit(text).hostname:
        raise _wrong(text, "http://host[:port] or https://…")
    return text


def address(text: str) -> str:
    """A host, perhaps with a port."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+(:[0-9]{1,5})?", text):
        raise _wrong(text, "HOST or HOST:PORT")
    return text


def command(text: str) -> Sequence[str]:
    """A program and its arguments, split as a shell would."""
    try:
        words = shlex.split(text)
    except ValueError as exc:
        raise _wrong(text, f"a command ({exc})") from exc
    if not words:
        raise _wrong(text, "a command")
    return words


def json_object(text: str) -> Mapping[str, Any]:
    """A JSON object. Raises ValueError."""
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise ValueError(f"{text.strip()!r}: expected a JSON object, but {exc}") from exc
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004  the value's, not our caller's, mistake
            f'{text.strip()!r}: expected a JSON object, such as {{"n": 1}}'
        )
    return value


def payload(text: str) -> Mapping[str, Any]:
    """A payload: a JSON object."""
    try:
        return json_object(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def payloads(text: str) -> Sequence[Mapping[str, Any]]:
    """A file of payloads, one a line; at least one."""
    try:
        lines = Path(text).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise _wrong(text, f"a readable file of JSON objects, one a line ({exc})") from exc
    found = [payload(line) for line in lines if line.strip()]
    if not found:
        raise _wrong(text, "a file with a JSON object a line; it has none")
    return found
