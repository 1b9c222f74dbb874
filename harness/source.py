"""Where a queue's task code comes from: a folder, an example handler, or a repository somewhere."""

import threading
from dataclasses import dataclass
from pathlib import Path

from harness.catalogue import handler_files
from harness.repo import GitRepo, branch_of, empty_repo, make_repo
from harness.sdk import sdk_requirement


@dataclass(frozen=True)
class Folder:
    """Somebody's folder, with or without git, as it is at the moment it is asked for."""

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
    """A repository of ours that follows a folder. Safe to use from several threads."""

    def __init__(self, folder: Path, repository: Path) -> None:
        """Make ``repository`` and its first commit; the branch is called as the folder's own is."""
        self._folder = folder
        self._lock = threading.Lock()
        self.repo: GitRepo = empty_repo(repository, branch_of(folder) or "main")
        self.commit = self.repo.commit_folder(folder, f"{folder.name}, as it was")

    def renew(self) -> bool:
        """Commit what changed; returns whether anything did. Raises :class:`harness.repo.GitFailed`."""
        with self._lock:
            before = self.commit
            self.commit = self.repo.commit_folder(self._folder, f"{self._folder.name}, changed")
            return self.commit != before


def handler_repo(name: str, repository: Path, wheelhouse: Path | None) -> GitRepo:
    """A repository of an example handler with the SDK as its one requirement (see :mod:`harness.sdk`)."""
    return make_repo(
        repository, {**handler_files(name), "requirements.txt": sdk_requirement(wheelhouse) + "\n"}
    )
