"""One clone, by the ``git`` program: shallow, with only the wanted folder, always at a remote's tip.

Every command names the clone it is about, so that git never looks for a repository in the folders
around it, which may be somebody's work.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.deploy.command import CANNOT_START, Command, Limits, Runner
from appliance.deploy.verdict import Verdict, judge_git
from appliance.errors import CommandFailed, DeploymentError, DeploymentRejected, DeploymentUnavailable

_ASK = Limits(total_s=60.0, silent_s=60.0)
_LOCAL = Limits(total_s=600.0, silent_s=600.0)
_TRANSFER = Limits(total_s=3600.0, silent_s=300.0)


@dataclass(frozen=True)
class Tip:
    """A branch or tag of the remote: the full name of the ref, and the commit or tag object it points to."""

    ref: str
    object_id: str


class Git:
    """The clone in ``folder``; ``env`` opens the remote (:func:`~appliance.deploy.access.git_environment`).

    Methods that talk to the remote raise :class:`~appliance.errors.DeploymentUnavailable` for what can pass
    and :class:`~appliance.errors.DeploymentRejected` for what stays. The local ones raise
    :class:`~appliance.errors.CommandFailed`, which says that the clone is damaged.
    """

    def __init__(self, folder: Path, url: str, runner: Runner, env: Mapping[str, str]) -> None:
        self.folder = folder
        self._url = url
        self._runner = runner
        self._env = env

    def tip(self, branch: str) -> Tip:
        """Ask the remote for a branch, or else a tag, of that name."""
        heads, tags = f"refs/heads/{branch}", f"refs/tags/{branch}"
        # In no repository at all: a damaged clone must not be in the way.
        argv = ("git", f"--git-dir={os.devnull}", "ls-remote", "--quiet", "--", self._url, heads, tags)
        said = self._remote(Command(argv, self.folder.parent, self._env), _ASK)
        listed = (line.partition("\t") for line in said.splitlines())
        found = {ref: object_id for object_id, _, ref in listed}
        for ref in (heads, tags):
            if ref in found:
                return Tip(ref, found[ref])
        raise DeploymentRejected(f"deployment.branch: {self._url} has no branch or tag {branch!r}")

    def head(self) -> str | None:
        """The commit that is checked out, None where git finds none."""
        if not (self.folder / ".git").is_dir():
            return None
        try:
            return self._git("rev-parse", "--verify", "--quiet", "HEAD^{commit}").strip()
        except CommandFailed:
            return None

    def create(self, code_path: str) -> None:
        """Make an empty clone in ``folder``, for ``code_path`` only unless that is empty."""
        self.folder.mkdir()
        self._git("init", "--quiet")
        self._git("remote", "add", "origin", self._url)
        if code_path:
            # Contents are fetched when they are checked out: those of the folder, and no others.
            self._git("config", "remote.origin.promisor", "true")
            self._git("config", "remote.origin.partialclonefilter", "blob:none")
            pattern = re.sub(r"([\\*?\[\]!#])", r"\\\1", code_path)
            self._git("sparse-checkout", "set", "--no-cone", f"/{pattern}/")

    def fetch(self, tip: Tip) -> str:
        """Get ``tip``, and nothing of what came before it; returns its commit."""
        argv = self._argv(
            "fetch", "--progress", "--depth=1", "--no-tags", "--force", "--no-recurse-submodules"
        )
        self._remote(Command((*argv, "origin", tip.ref), self.folder, self._env), _TRANSFER)
        return self._git("rev-parse", "--verify", "FETCH_HEAD^{commit}").strip()

    def check_out(self, commit: str) -> None:
        """Make the files what they are in ``commit``; others stay. May talk to the remote."""
        argv = self._argv("checkout", "--quiet", "--force", "--detach", commit)
        try:
            self._runner.run(Command(argv, self.folder, self._env), _TRANSFER)
        except CommandFailed as exc:
            if judge_git(exc.tail) is Verdict.PASSING:
                raise DeploymentUnavailable(str(exc)) from exc
            raise

    def forget_interruption(self) -> None:
        """Remove the locks of a git that was killed; only for who knows that no other one runs."""
        for lock in (self.folder / ".git").rglob("*.lock"):
            lock.unlink(missing_ok=True)

    def _argv(self, *arguments: str) -> tuple[str, ...]:
        return ("git", f"--git-dir={self.folder / '.git'}", f"--work-tree={self.folder}", *arguments)

    def _git(self, *arguments: str) -> str:
        command = Command(self._argv(*arguments), self.folder, self._env)
        return self._runner.run(command, _LOCAL).stdout

    def _remote(self, command: Command, limits: Limits) -> str:
        try:
            return self._runner.run(command, limits).stdout
        except CommandFailed as exc:
            raise _translated(exc) from exc


def _translated(exc: CommandFailed) -> DeploymentError:
    if exc.status == CANNOT_START:
        return DeploymentRejected(f"git cannot be run: {exc}")
    final = judge_git(exc.tail) is Verdict.FINAL
    return DeploymentRejected(str(exc)) if final else DeploymentUnavailable(str(exc))
