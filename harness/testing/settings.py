"""What a suite's pytest.ini says of its task code; read when a test asks for a worker."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.server.config import QueueConfig

#: The queue's name: a suite has one, and never needs to say it.
QUEUE = "tests"
_MODES = ("long_running", "one_shot")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class NoSense(Exception):
    """A setting makes no sense; the message names it, its value and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """The code's folder, how it is run, and the worker's further settings."""

    folder: Path
    startup_cmd: str = "python main.py"
    mode: str = "long_running"
    startup_timeout_s: int = 60
    vault: Mapping[str, str] = field(repr=False, default_factory=dict)
    worker: Mapping[str, str] = field(default_factory=dict)

    def queue(self, git_url: str, branch: str) -> QueueConfig:
        """The queue, as the server is told it."""
        return QueueConfig(
            name=QUEUE,
            git_url=git_url,
            branch=branch,
            startup_cmd=self.startup_cmd,
            mode=self.mode,
            startup_timeout_secs=self.startup_timeout_s,
            vaults={"tests": dict(self.vault)} if self.vault else {},
        )


def read(setting: Callable[[str], Any], base: Path) -> Settings:
    """The settings by their names in pytest.ini, which is in ``base``. Raises :class:`NoSense`."""
    folder = base / setting("runqy_folder")
    if not folder.is_dir():
        raise NoSense(f"runqy_folder: {setting('runqy_folder')!r}: there is no folder {folder}")
    mode = setting("runqy_mode").strip()
    if mode not in _MODES:
        raise NoSense(f"runqy_mode: {mode!r}: expected {' or '.join(_MODES)}")
    timeout = setting("runqy_startup_timeout").strip()
    if not re.fullmatch(r"[1-9][0-9]{0,8}", timeout):
        raise NoSense(f"runqy_startup_timeout: {timeout!r}: expected a whole number of seconds, 1 or more")
    startup_cmd = setting("runqy_startup_cmd").strip()
    if not startup_cmd:
        raise NoSense("runqy_startup_cmd: it is empty: expected a command such as python main.py")
    return Settings(
        folder=folder.resolve(),
        startup_cmd=startup_cmd,
        mode=mode,
        startup_timeout_s=int(timeout),
        vault=dict(_vault(line) for line in setting("runqy_vaults")),
        worker=dict(_worker(line) for line in setting("runqy_worker")),
    )


def _vault(line: str) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in line.partition("="))
    if not _VARIABLE.fullmatch(name):
        # What stands where a name should may be a secret.
        raise NoSense("runqy_vaults: expected NAME=VALUE or NAME on each line, the name a variable's")
    if equals:
        return name, value
    if name not in os.environ:
        raise NoSense(f"runqy_vaults: {name}: this environment has no variable {name}, expected NAME=VALUE")
    return name, os.environ[name]


def _worker(line: str) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in line.partition("="))
    if not equals or not re.fullmatch(r"RUNQY_[A-Z0-9_]+", name):
        raise NoSense(f"runqy_worker: {line!r}: expected RUNQY_…=VALUE on each line")
    return name, value
