"""The task code that is judged: what was asked for, as a repository that a worker can clone."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.certify.bench import LONGEST_S, Subject
from harness.sandbox.repo import GitRepo, empty_repo
from harness.sandbox.source import Folder, Handler, Remote, Snapshot, Source, handler_repo
from harness.sandbox.stack import Stack
from harness.server.config import QueueConfig


@dataclass(frozen=True)
class CertifyOptions:
    """What was asked for. ``source`` None: the code is in ``image``; ``only`` empty: every check."""

    source: Source | None
    branch: str | None
    queue: str
    settings: Mapping[str, Any] = field(repr=False)
    payloads: Sequence[Any]
    hanging: Any = None
    longest_s: float = LONGEST_S
    only: Sequence[str] = ()
    runtime: str = "process"
    image: str | None = None
    worker: Sequence[str] | None = None
    json: Path | None = None
    junit: Path | None = None
    report: Path | None = None


def subject(options: CertifyOptions, stack: Stack) -> Subject:
    """What is judged, with its code where the worker can clone it."""
    repo, git_url, branch = _code(options, stack)
    settings = dict(options.settings)
    vault: Mapping[str, str] = settings["vaults"].get("local", {})
    queue = QueueConfig(name=options.queue, git_url=git_url, branch=branch, **settings)
    return Subject(
        queue,
        options.payloads or [{}],
        given=bool(options.payloads),
        hanging=options.hanging,
        longest_s=options.longest_s,
        names_in_code=_names_in(repo, vault) if repo and options.source else None,
    )


def _code(options: CertifyOptions, stack: Stack) -> tuple[GitRepo | None, str, str]:
    """Our repository, where it is one, and the URL and branch to clone."""
    folder = stack.folder / "repositories" / "code.git"
    repo: GitRepo
    match options.source:
        case Remote(url):
            return None, url, options.branch or "main"
        case Folder(path):
            repo = Snapshot(path, folder).repo
        case Handler(name):
            repo = handler_repo(name, folder)
        case None:
            # A worker with its code in the image never looks at it; the server has to name one nevertheless.
            repo = empty_repo(folder)
    return repo, stack.server.export(repo.folder), repo.branch


def _names_in(repo: GitRepo, names: Mapping[str, str]) -> frozenset[str]:
    def named(name: str) -> bool:
        grep = ["git", "grep", "--quiet", "--fixed-strings", "--word-regexp", "-e", name, repo.branch]
        trust = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        return subprocess.run(grep, cwd=repo.folder, env={**os.environ, **trust}, check=False).returncode == 0

    return frozenset(name for name in names if named(name))


def name_of(options: CertifyOptions) -> str:
    """What is judged, for people."""
    match options.source:
        case Remote(url):
            # A URL may have credentials in it.
            return url.rpartition("@")[2]
        case Folder(path):
            return str(path)
        case Handler(name):
            return f"the example handler {name}"
        case None:
            return f"the image {options.image}"
