"""Git repositories for one run: made from given files, or taken from a folder."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
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
#: Seconds for one run of git; the longest is the first look at a folder, which may have large files.
_TIMEOUT_S = 300
#: Who commits.
_NAME, _EMAIL = "harness", "harness@localhost"


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
        return self._write(files, self._tip(), message)

    def commit_folder(self, source: Path, message: str, but: Sequence[Path] = ()) -> str:
        """Make the branch's tip what ``source`` holds; returns the commit, the old one if nothing changed.

        Files of ``but`` are left out, beside what git ignores.
        """
        parent = self._tip()
        # A fresh index each time, so that what was deleted in the folder is gone here too.
        index_file = self.folder / "harness-index"
        index_file.unlink(missing_ok=True)
        top, ignored = _around(source)
        where = {"GIT_INDEX_FILE": str(index_file), "GIT_WORK_TREE": str(top), "GIT_DIR": str(self.folder)}
        (self.folder / "info").mkdir(exist_ok=True)
        patterns = "\n".join([*_NEVER_TASK_CODE, *ignored, *_precisely(but, top)]) + "\n"
        (self.folder / "info" / "exclude").write_text(patterns, errors="surrogateescape")
        _git(source, "add", "--all", ".", environment=where)
        if not (source / ".gitmodules").exists():
            self._drop_clones(source, where)
        tree = self._tree(source, top, where)
        if parent and _git(self.folder, "rev-parse", f"{parent}^{{tree}}") == tree:
            return parent
        return self._record(tree, parent, message)

    def changed(self, before: str, after: str) -> list[str]:
        """The files that are other ones in ``after`` than in ``before``, both commits."""
        names = _git(self.folder, "diff", "--name-only", "--no-renames", "-z", before, after)
        return [name for name in names.split("\0") if name]

    def tag(self, name: str) -> None:
        """Tag the branch's tip; a tag of that name is moved."""
        _git(self.folder, "tag", "--force", name, self.head)

    def _write(self, files: Mapping[str, str], parent: str, message: str) -> str:
        """One run of git, whatever there is to write: starting it is what takes time."""
        lines: list[bytes] = [
            f"commit refs/heads/{self.branch}\nmark :1\n".encode(),
            f"committer {_NAME} <{_EMAIL}> now\n".encode(),
            _data(message),
            f"from {parent}\n".encode() if parent else b"",
        ]
        for path, text in files.items():
            quoted = path.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
            lines += [f'M 100644 inline "{quoted}"\n'.encode(), _data(text)]
        # By default it would start another program, which writes each object into a file.
        as_it_is = ("-c", "fastimport.unpackLimit=0")
        arguments = ("fast-import", "--quiet", "--done", "--date-format=now")
        stream = b"".join([*lines, b"get-mark :1\ndone\n"])
        return _git(self.folder, *as_it_is, *arguments, text=stream)

    def _tip(self) -> str:
        return _git(self.folder, "for-each-ref", "--format=%(objectname)", f"refs/heads/{self.branch}")

    def _drop_clones(self, source: Path, where: Mapping[str, str]) -> None:
        """Leave out repositories inside the folder: what a worker deployed there is not its own source."""
        for line in _git(source, "ls-files", "--stage", "-z", environment=where).split("\0"):
            meta, _, path = line.partition("\t")
            if meta.startswith("160000 "):
                _git(source, "update-index", "--force-remove", path, environment=where)

    def _tree(self, source: Path, top: Path, where: Mapping[str, str]) -> str:
        """Of ``source`` alone, which is somewhere in ``top``."""
        inner = source.resolve().relative_to(top).as_posix()
        if inner == "." or not _git(source, "ls-files", "-z", environment=where):
            return _git(source, "write-tree", environment=where)
        return _git(source, "write-tree", f"--prefix={inner}/", environment=where)

    def _record(self, tree: str, parent: str, message: str) -> str:
        parents = ("-p", parent) if parent else ()
        commit = _git(self.folder, "commit-tree", *parents, "-m", message, tree)
        _git(self.folder, "update-ref", f"refs/heads/{self.branch}", commit)
        return commit


def empty_repo(folder: Path, branch: str = "main") -> GitRepo:
    """A new bare repository in ``folder``, without a commit."""
    folder.mkdir(parents=True)
    _git(folder, "init", "--quiet", "--bare", "--template=", f"--initial-branch={branch}")
    with (folder / "config").open("a") as config:
        # Servers allow both by default; plain git does not, and workers clone in part.
        config.write("[uploadpack]\n\tallowFilter = true\n\tallowAnySHA1InWant = true\n")
    return GitRepo(folder, branch)


def make_repo(folder: Path, files: Mapping[str, str], branch: str = "main") -> GitRepo:
    """A new repository in ``folder`` with ``files`` (path → text) as its first commit."""
    repo = empty_repo(folder, branch)
    repo._write(files, "", "first")
    return repo


def branch_of(folder: Path) -> str | None:
    """The branch that is checked out in ``folder``; None where it is no repository's top."""
    try:
        top = _git(folder, "rev-parse", "--show-toplevel")
        branch = _git(folder, "symbolic-ref", "--short", "HEAD")
    except GitFailed:
        return None
    return branch if Path(top).resolve() == folder.resolve() else None


def _precisely(files: Sequence[Path], top: Path) -> list[str]:
    """Patterns of those of ``files`` that are in ``top``, and of nothing else."""
    places = [file.parent.resolve() / file.name for file in files]
    inner = [place.relative_to(top).as_posix() for place in places if place.is_relative_to(top)]
    return ["/" + re.sub(r"([\\*?\[\] ])", r"\\\1", each) for each in inner]


def _around(source: Path) -> tuple[Path, list[str]]:
    """The top of the repository that ``source`` is in, and patterns of what git ignores in it.

    What else git ignores is in ``.gitignore`` files from the top down, which it reads itself. A folder that
    is ignored as a whole is task code all the same: it is its own top.
    """
    alone = source.resolve(), _patterns(_patterns_of_the_user(source))
    try:
        found = _git(source, "rev-parse", "--show-toplevel", "--git-path", "info/exclude").split("\n")
    except GitFailed:
        return alone
    top, own = Path(found[0]).resolve(), source / found[1]
    if top != source.resolve():
        try:
            _git(source, "check-ignore", "--quiet", "--no-index", ".")
        except GitFailed:
            pass  # it is not
        else:
            return alone
    return top, [*alone[1], *_patterns(own)]


def _patterns_of_the_user(source: Path) -> Path:
    """The file, there or not, that says what this user's git ignores everywhere."""
    asked = subprocess.run(
        ["git", "config", "--path", "--get", "core.excludesFile"],
        cwd=source,
        capture_output=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(os.fsdecode(asked.stdout.strip()) or configuration / "git" / "ignore")


def _patterns(file: Path) -> list[str]:
    try:
        return file.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []


def _data(text: str) -> bytes:
    """As git's fast-import takes it."""
    content = text.encode()
    return b"data %d\n%b\n" % (len(content), content)


def _git(cwd: Path, *arguments: str, text: bytes = b"", environment: Mapping[str, str] | None = None) -> str:
    command = f"git {' '.join(arguments)} in {cwd}"
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd,
            env=_environment() | dict(environment or {}),
            input=text,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except OSError as exc:
        if shutil.which("git") is None:
            raise GitFailed("there is no git on PATH: task code is deployed with it") from exc
        raise GitFailed(f"{command}: {exc.strerror}") from exc
    except subprocess.TimeoutExpired as exc:
        raise GitFailed(f"{command}: not over within {_TIMEOUT_S} s; is something large there?") from exc
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise GitFailed(f"{command}: exit status {done.returncode}: {said}")
    # Names of files may be any bytes.
    return os.fsdecode(done.stdout).strip()


def _environment() -> dict[str, str]:
    """Git as it is out of the box: no configuration, hook or identity of this machine changes a commit."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    identity = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", _NAME), ("EMAIL", _EMAIL))
    }
    neutral = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
    # Folders of another user (a mounted one, say) are only read.
    trust = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    return {**inherited, **identity, **neutral, **trust}
