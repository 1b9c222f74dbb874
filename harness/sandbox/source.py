"""Where a queue's task code comes from: a folder, an example handler, or a repository somewhere."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.sandbox.handlers import handler_files
from harness.sandbox.repo import GitRepo, branch_of, empty_repo, make_repo


@dataclass(frozen=True)
class Folder:
    """A folder, with or without git, as it is at the moment it is asked for."""

    path: Path


@dataclass(frozen=True)
class Handler:
    """An example handler, by name; it is known to be one."""

    name: str


@dataclass(frozen=True)
class Remote:
    """A repository that the worker clones itself."""

    url: str


Source = Folder | Handler | Remote


class Snapshot:
    """A repository that follows a folder. Safe to use from several threads."""

    def __init__(self, folder: Path, repository: Path, *, but: Sequence[Path] = ()) -> None:
        """Make ``repository`` and its first commit; the branch is called as the folder's own is.

        Files of ``but`` are in no commit.
        """
        self._folder = folder
        self._but = but
        self._lock = threading.Lock()
        self.repo: GitRepo = empty_repo(repository, branch_of(folder) or "main")
        self.commit = self.repo.commit_folder(folder, f"{folder.name}, as it was", but)

    def renew(self) -> list[str]:
        """Commit what changed; returns which files did. Raises :class:`.repo.GitFailed`."""
        with self._lock:
            before = self.commit
            self.commit = self.repo.commit_folder(self._folder, f"{self._folder.name}, changed", self._but)
            return self.repo.changed(before, self.commit) if self.commit != before else []


def clonable(
    source: Source, repository: Path, branch: str | None, export: Callable[[Path], str]
) -> tuple[str, str]:
    """The URL and the branch by which a worker has ``source`` as it is now; made in ``repository``, or there.

    ``branch`` is for one that is somewhere else already, ``export`` is the server's. Raises
    :class:`.repo.GitFailed`.
    """
    repo: GitRepo
    match source:
        case Remote(url):
            return url, branch or "main"
        case Folder(path):
            repo = Snapshot(path, repository).repo
        case Handler(name):
            repo = handler_repo(name, repository)
    return export(repo.folder), repo.branch


def handler_repo(name: str, repository: Path) -> GitRepo:
    """A repository of an example handler, the SDK beside it.

    Not as a requirement: a file of this machine is of no use in a container, an index may be out of reach.
    """
    from harness.sandbox.sdk import sdk_files  # noqa: PLC0415  what finds the SDK is slow to import

    return make_repo(repository, {**sdk_files(), **handler_files(name)})
