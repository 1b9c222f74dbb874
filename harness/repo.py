"""Git repositories for one run: made from given files, or taken from somebody's folder."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

#: What a snapshot of a plain folder leaves out, beside what its .gitignore says.
_NEVER_TASK_CODE = (
    ".venv/",
    "venv/",
    "__pycache__/",
    "*.pyc",
    "node_modules/",
    ".mypy_cache/",
    ".ruff_cache/",
    # Where a worker started here deploys to unless told otherwise.
    "deployment/",
)
_TIMEOUT_S = 60


class GitFailed(Exception):
    """A git command failed; has what git said."""


class GitRepo:
    """A bare repository that can be cloned shallow and partial, and the branch that is written to."""

    def __init__(self, folder: Path, branch: str) -> None:
        self.folder = folder
        self.branch = branch

    @property
    def url(self) -> str:
        """``file://…``; a bare path would make git ignore ``--depth``."""
        return self.folder.resolve().as_uri()

    @property
    def head(self) -> str:
        """The commit at the branch's tip."""
        return _git(self.folder, "rev-parse", f"refs/heads/{self.branch}")

    def commit(self, files: Mapping[str, str], message: str = "change") -> str:
        """Write ``files`` (path → text), the others stay as they are; returns the commit."""
        parent = self._tip()
        index = {"GIT_INDEX_FILE": str(self.folder / "harness-index")}
        if parent:
            _git(self.folder, "read-tree", parent, environment=index)
        for path, text in files.items():
            blob = _git(self.folder, "hash-object", "-w", "--stdin", text=text)
            entry = f"100644,{blob},{path}"
            _git(self.folder, "update-index", "--add", "--cacheinfo", entry, environment=index)
        return self._record(_git(self.folder, "write-tree", environment=index), parent, message)

    def commit_folder(self, source: Path, message: str) -> str:
        """Make the branch's tip what ``source`` holds; returns the commit, the old one if nothing changed."""
        parent = self._tip()
        # A fresh index each time, so that what was deleted in the folder is gone here too.
        index_file = self.folder / "harness-index"
        index_file.unlink(missing_ok=True)
        where = {"GIT_INDEX_FILE": str(index_file), "GIT_WORK_TREE": str(source), "GIT_DIR": str(self.folder)}
        (self.folder / "info").mkdir(exist_ok=True)
        (self.folder / "info" / "exclude").write_text("\n".join(_NEVER_TASK_CODE) + "\n")
        _git(source, "add", "--all", ".", environment=where)
        if not (source / ".gitmodules").exists():
            self._drop_clones(source, where)
        tree = _git(source, "write-tree", environment=where)
        if parent and _git(self.folder, "rev-parse", f"{parent}^{{tree}}") == tree:
            return parent
        return self._record(tree, parent, message)

    def tag(self, name: str) -> None:
        """Tag the branch's tip; a tag of that name is moved."""
        _git(self.folder, "tag", "--force", name, self.head)

    def _tip(self) -> str:
        return _git(self.folder, "for-each-ref", "--format=%(objectname)", f"refs/heads/{self.branch}")

    def _drop_clones(self, source: Path, where: Mapping[str, str]) -> None:
        """Leave out repositories inside the folder: what a worker deployed there is not its own source."""
        for line in _git(source, "ls-files", "--stage", environment=where).splitlines():
            meta, _, path = line.partition("\t")
            if meta.startswith("160000 "):
                _git(source, "update-index", "--force-remove", path, environment=where)

    def _record(self, tree: str, parent: str, message: str) -> str:
        parents = ("-p", parent) if parent else ()
        commit = _git(self.folder, "commit-tree", *parents, "-m", message, tree)
        _git(self.folder, "update-ref", f"refs/heads/{self.branch}", commit)
        return commit


def empty_repo(folder: Path, branch: str = "main") -> GitRepo:
    """A new bare repository in ``folder``, without a commit."""
    folder.mkdir(parents=True)
    _git(folder, "init", "--quiet", "--bare", f"--initial-branch={branch}")
    # Servers allow both by default; plain git does not, and workers clone in part.
    _git(folder, "config", "uploadpack.allowFilter", "true")
    _git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    return GitRepo(folder, branch)


def make_repo(folder: Path, files: Mapping[str, str], branch: str = "main") -> GitRepo:
    """A new repository in ``folder`` with ``files`` (path → text) as its first commit."""
    repo = empty_repo(folder, branch)
    repo.commit(files, "first")
    return repo


def branch_of(folder: Path) -> str | None:
    """The branch that is checked out in ``folder``; None where it is no repository's top."""
    try:
        top = _git(folder, "rev-parse", "--show-toplevel")
        branch = _git(folder, "symbolic-ref", "--short", "HEAD")
    except GitFailed:
        return None
    return branch if Path(top).resolve() == folder.resolve() else None


def _git(cwd: Path, *arguments: str, text: str = "", environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env=_environment() | dict(environment or {}),
        input=text.encode(),
        capture_output=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise GitFailed(f"git {' '.join(arguments)} in {cwd}: exit status {done.returncode}: {said}")
    return done.stdout.decode().strip()


def _environment() -> dict[str, str]:
    """Git as it is out of the box: nobody's configuration, hooks or identity changes a commit."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    identity = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "harness"), ("EMAIL", "harness@localhost"))
    }
    neutral = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
    # Folders that belong to somebody else (a mounted one, say) are only read.
    trust = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    return {**inherited, **identity, **neutral, **trust}
