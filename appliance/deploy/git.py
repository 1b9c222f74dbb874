"""One clone, by the ``git`` program: shallow, with only the wanted folder, always at a remote's tip.

Every command names the clone it is about, so that git never looks for a repository in the folders around it.
Git's own folder is out of the task code's reach, and its configuration is written before every command.

What needs credentials only fetches, and runs nothing of the repository's: no hook, no filter. What writes the
files has no credentials, and what it needs has been fetched before, content in Git LFS too.
"""

import os
from pathlib import Path, PurePosixPath
from shutil import which

from appliance.deploy.access import GitAccess
from appliance.deploy.command import CANNOT_START, Command, Limits, Runner
from appliance.deploy.failures import FailureKind, kind_of_git_failure, shortage
from appliance.deploy.files import read_beginning, remove, write_text
from appliance.deploy.git_folder import write_configuration
from appliance.deploy.job import Wanted
from appliance.deploy.slots import Slot
from appliance.errors import (
    CommandFailed,
    DeploymentError,
    DeploymentRejected,
    DeploymentUnavailable,
    OutOfRoom,
    RepositoryGone,
)
from appliance.values import value_class

#: What a file begins with that stands for content elsewhere (Git LFS's specification).
_POINTER = b"version https://git-lfs.github.com/spec/"
#: Where a repository says where its contents are.
_LFS_SETTINGS = ".lfsconfig"
#: Every file of attributes, in whatever folder.
_ATTRIBUTES = ":(top,glob)**/.gitattributes"
#: The status of "git grep" that found no line.
_NO_LINE = 1
#: How git ends where Git LFS could not get a file's content.
_NO_CONTENT = "smudge filter lfs failed"
#: Objects asked for in one command, whose arguments have to fit.
_AT_ONCE = 10_000
_ASK = Limits(total_s=60.0, silent_s=60.0)
_LOCAL = Limits(total_s=600.0, silent_s=600.0)
_TRANSFER = Limits(total_s=3600.0, silent_s=300.0)


@value_class
class Tip:
    """A branch or tag of the remote: the full name of the ref, and the commit that it leads to."""

    ref: str
    commit: str


class Git:
    """The clone of ``wanted`` in ``slot``; ``access`` opens the remote.

    Methods that talk to the remote raise :class:`~appliance.errors.DeploymentUnavailable` for what can pass,
    :class:`~appliance.errors.RepositoryGone` for a remote that refuses, and
    :class:`~appliance.errors.DeploymentRejected` where git itself is missing. The local ones raise
    :class:`~appliance.errors.CommandFailed`, which says that the clone is damaged.
    """

    def __init__(self, slot: Slot, wanted: Wanted, runner: Runner, access: GitAccess) -> None:
        self.folder = slot.folder
        self._kept, self._git_dir = slot.kept, slot.git_dir
        self._url = wanted.url
        self._code_path = wanted.code_path
        self._runner = runner
        self._access = access

    def tip(self, branch: str) -> Tip:
        """Ask the remote for a branch, or else a tag, of that name."""
        # An annotated tag is an object beside its commit, which is listed as "peeled" under the third name.
        head, tag, peeled = f"refs/heads/{branch}", f"refs/tags/{branch}", f"refs/tags/{branch}^{{}}"
        # In no repository at all: a damaged clone must not be in the way.
        argv = ("git", f"--git-dir={os.devnull}", "ls-remote", "--quiet", "--", self._url, head, tag, peeled)
        said = self._remote(argv, self.folder.parent, _ASK)
        listed = (line.partition("\t") for line in said.splitlines())
        found = {ref: object_id for object_id, _, ref in listed}
        for ref, listed_as in ((head, head), (tag, peeled), (tag, tag)):
            if listed_as in found:
                return Tip(ref, found[listed_as])
        raise RepositoryGone(f"deployment.branch: {self._url} has no branch or tag {branch!r}")

    def head(self) -> str | None:
        """The commit that is checked out, None where git finds none."""
        if not self._git_dir.is_dir() or not self.folder.is_dir():
            return None
        try:
            return self._git("rev-parse", "--verify", "--quiet", "HEAD^{commit}").strip()
        except CommandFailed:
            return None

    def create(self) -> None:
        """Make an empty clone, for a folder of the repository only where one is wanted."""
        self.folder.mkdir()
        self._kept.mkdir()
        # Without a template of the machine's: nothing lies there that the worker has not written.
        self._git("init", "--quiet", "--template=")

    def fetch(self, tip: Tip) -> str:
        """Get ``tip``, all that a checkout of it needs, and nothing of what came before.

        Returns its commit.
        """
        what = ("fetch", "--progress", "--depth=1", "--no-tags", "--force", "--no-recurse-submodules")
        self._fetch(*what, "origin", tip.ref)
        commit = self._git("rev-parse", "--verify", "FETCH_HEAD^{commit}").strip()
        if self._code_path:
            # Without this, the checkout would fetch them, with credentials. A server without filters has sent
            # them all already, and might refuse to be asked for one.
            missing = self._missing(commit)
            for first in range(0, len(missing), _AT_ONCE):
                some = missing[first : first + _AT_ONCE]
                self._fetch(*what[:2], "--filter=blob:none", "--no-write-fetch-head", "origin", *some)
        if self._may_have_large(commit):
            self.fetch_large(commit)
        return commit

    def fetch_large(self, commit: str) -> None:
        """Get the content that Git LFS keeps elsewhere for the files of ``commit``, where it is installed."""
        if not self.has_lfs:
            return
        # Git LFS reads its settings from the files, which are not there yet, or are those of another commit.
        settings = self._kept / "lfs"
        remove(settings)
        settings.mkdir()
        if self._git("ls-tree", "-z", "--full-tree", commit, "--", _LFS_SETTINGS):
            write_text(settings / _LFS_SETTINGS, self._git("show", f"{commit}:{_LFS_SETTINGS}"))
        self._configure()
        argv = ("git", f"--git-dir={self._git_dir}", f"--work-tree={settings}", "lfs", "fetch", "origin")
        wanted = f"{commit}:{self._code_path}" if self._code_path else commit
        self._remote((*argv, wanted), settings, _TRANSFER)

    def is_tracked(self, path: str) -> bool:
        """Whether the repository has that file or folder."""
        return bool(self._git("ls-files", "-z", "--", f":(literal,top){path}"))

    def check_out(self, commit: str) -> None:
        """Make the files what they are in ``commit``; others stay."""
        argv = self._argv("checkout", "--quiet", "--force", "--detach", commit)
        try:
            self._run_local(argv, _TRANSFER)
        except CommandFailed as exc:
            passing = kind_of_git_failure(exc.tail) is FailureKind.PASSING
            # Content that Git LFS does not get is no damage of the clone: another one would lack it, too.
            if passing or shortage(exc.status, exc.tail) or any(_NO_CONTENT in line for line in exc.tail):
                raise _translated(exc) from exc
            raise

    @property
    def has_lfs(self) -> bool:
        """Whether Git LFS is installed."""
        return which("git-lfs", path=self._access.path) is not None

    def pointers(self) -> list[Path]:
        """The files that are pointers to content which Git LFS did not bring."""
        listed = self._git("ls-files", "-z", "--", ":(attr:filter=lfs)").split("\0")
        return [path for name in listed if name and _is_pointer(path := self.folder / name)]

    def forget_interruption(self) -> None:
        """Remove the locks of a git that was killed. The caller knows that no other one runs."""
        for lock in self._git_dir.rglob("*.lock"):
            lock.unlink(missing_ok=True)

    def _may_have_large(self, commit: str) -> bool:
        """Whether the attributes of a file may name Git LFS, which takes long to find nothing."""
        if not self.has_lfs or self._code_path:
            # Of a folder's clone some attributes may be missing, and git would fetch them here.
            return self.has_lfs
        try:
            self._git("grep", "--quiet", "--fixed-strings", "-e", "lfs", commit, "--", _ATTRIBUTES)
        except CommandFailed as exc:
            return exc.status != _NO_LINE
        return True

    def _missing(self, commit: str) -> list[str]:
        """The objects that a checkout of ``commit`` reads and that are not here: contents of files."""
        above = PurePosixPath(self._code_path).parents
        paths = (self._code_path, _LFS_SETTINGS, *(str(folder / ".gitattributes") for folder in above))
        what = ("rev-list", "--quiet", "--objects", "--missing=print", "--no-walk", commit)
        said = self._git("--literal-pathspecs", *what, "--", *paths)
        return [line.removeprefix("?") for line in said.splitlines()]

    def _argv(self, *arguments: str) -> tuple[str, ...]:
        return ("git", f"--git-dir={self._git_dir}", f"--work-tree={self.folder}", *arguments)

    def _git(self, *arguments: str) -> str:
        try:
            return self._run_local(self._argv(*arguments), _LOCAL)
        except CommandFailed as exc:
            # No damage of the clone, for which another would be made in the room that is not there.
            if shortage(exc.status, exc.tail):
                raise _translated(exc) from exc
            raise

    def _run_local(self, argv: tuple[str, ...], limits: Limits) -> str:
        self._configure()
        return self._runner.run(Command(argv, self.folder, self._access.local(self.folder)), limits).stdout

    def _fetch(self, *arguments: str) -> None:
        self._configure()
        self._remote(self._argv(*arguments), self.folder, _TRANSFER)

    def _remote(self, argv: tuple[str, ...], cwd: Path, limits: Limits) -> str:
        command = Command(argv, cwd, self._access.remote(self.folder), self._access.descriptors)
        try:
            return self._runner.run(command, limits).stdout
        except CommandFailed as exc:
            raise _translated(exc) from exc

    def _configure(self) -> None:
        if self._git_dir.is_dir():
            write_configuration(self._git_dir, self._url, self._code_path)


def _is_pointer(path: Path) -> bool:
    try:
        return read_beginning(path, len(_POINTER)) == _POINTER
    except OSError:
        return False


def _translated(exc: CommandFailed) -> DeploymentError:
    if exc.status == CANNOT_START:
        return DeploymentRejected(f"git cannot be run: {exc}")
    if missing := shortage(exc.status, exc.tail):
        return OutOfRoom(f"{missing}\n{exc}")
    final = kind_of_git_failure(exc.tail) is FailureKind.FINAL
    return RepositoryGone(str(exc)) if final else DeploymentUnavailable(str(exc))
