"""Which dependencies a folder of task code declares, and a fingerprint of all that declares them.

The first that is there counts: the requirements file, then ``pyproject.toml`` (PEP 621, else
Poetry). Reads files only; nothing is installed here.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from appliance.deploy.files import read_beginning
from appliance.deploy.packages.project import Project, Style, read_project
from appliance.deploy.packages.requirements import Kind, Reference, references
from appliance.deploy.source import check_inside
from appliance.errors import DeploymentRejected
from appliance.values import value_class

#: The requirements file that may be missing: the server's default, where the queue names none.
DEFAULT_FILE = "requirements.txt"
#: Bytes of a requirements file that are read.
_LONGEST_FILE = 16 * 1024 * 1024
#: Bytes of a file that is installed which are read; of larger ones size and time have to do.
_LONGEST_CONTENT = 256 * 1024 * 1024
#: Files of a local folder that is installed from.
_MOST_FILES = 100_000
#: What running and installing leave in a project's folder; none of it is content.
_LITTER = frozenset({".git", ".venv", "__pycache__", "build", "dist"})


@value_class
class Dependencies:
    """What to install.

    ``declared_in`` is for people. Of ``file`` (a requirements file), ``project`` (requirement lines)
    and ``with_poetry`` one is set, or none, where there are no dependencies. ``fingerprint``
    changes when anything that was declared changes, files outside the repository included.
    """

    declared_in: str
    fingerprint: str
    file: Path | None = None
    project: Project | None = None
    with_poetry: bool = False


def find_dependencies(
    code_dir: Path, repository: Path, requirements_file: str, commit: str, *, poetry: bool
) -> Dependencies:
    """Look for what the code in ``code_dir``, at ``commit`` of the clone in ``repository``, declares.

    ``requirements_file`` is relative to ``code_dir``; ``poetry`` is whether Poetry is installed.

    Raises :class:`~appliance.errors.DeploymentRejected` for a named requirements file that is missing
    or lies outside the repository, and for files that cannot be understood.
    """
    listed = requirements_file_in(code_dir, repository, requirements_file)
    if listed is not None:
        return Dependencies(
            declared_in=requirements_file,
            fingerprint=_Fingerprint(code_dir, repository, commit).of_file(listed),
            file=listed,
        )
    return _from_pyproject(code_dir, repository, commit, poetry=poetry)


def requirements_file_in(code_dir: Path, repository: Path, requirements_file: str) -> Path | None:
    """The requirements file, None if it is the default one and missing; raises as above."""
    option = "deployment.requirements_file"
    path = code_dir / check_inside(option, requirements_file)
    if not path.resolve().is_relative_to(repository.resolve()):
        raise DeploymentRejected(f"{option}: {requirements_file!r} is a link that leaves the repository")
    if path.is_file():
        return path
    if requirements_file != DEFAULT_FILE:
        raise DeploymentRejected(f"{option}: the repository has no file {requirements_file!r}")
    return None


def _from_pyproject(code_dir: Path, repository: Path, commit: str, *, poetry: bool) -> Dependencies:
    nothing = Dependencies("no file", _digest("nothing"))
    text = _text_inside(code_dir / "pyproject.toml", repository)
    if text is None:
        return nothing
    lock_text = _text_inside(code_dir / "poetry.lock", repository)
    pyproject = _toml("pyproject.toml", text)
    if poetry and _is_poetrys(pyproject):
        fingerprint = _digest("poetry", text, lock_text or "")
        return Dependencies(Style.POETRY, fingerprint, with_poetry=True)
    lock = None if lock_text is None else _toml("poetry.lock", lock_text)
    project = read_project(pyproject, lock, code_dir)
    if project is None or not project.requirements:
        return nothing
    fingerprint = _Fingerprint(code_dir, repository, commit).of_lines(
        "\n".join(project.requirements), "\n".join(project.constraints)
    )
    return Dependencies(project.style, fingerprint, project=project)


class _Fingerprint:
    """Walks everything that requirement lines refer to on this machine."""

    def __init__(self, code_dir: Path, repository: Path, commit: str) -> None:
        self._code_dir = code_dir
        self._repository = repository.resolve()
        self._commit = commit
        self._seen: set[Path] = set()

    def of_file(self, path: Path) -> str:
        return _digest(*self._file(path))

    def of_lines(self, lines: str, constraints: str) -> str:
        return _digest(lines, constraints, *self._lines(lines, self._code_dir))

    def _file(self, path: Path) -> Iterator[str]:
        # A file may include itself by a detour.
        if path.resolve() in self._seen:
            return
        self._seen.add(path.resolve())
        try:
            content = read_beginning(path, _LONGEST_FILE)
        except OSError as exc:
            # The installer will say so better, with the line that names it.
            yield f"{path.name}: {exc.strerror}"
            return
        yield content.decode("utf-8-sig", errors="surrogateescape")
        yield from self._lines(content.decode("utf-8-sig", errors="replace"), path.parent)

    def _lines(self, text: str, folder: Path) -> Iterator[str]:
        for reference in references(text):
            path = self._find(reference, folder)
            if reference.kind is Kind.REQUIREMENTS:
                yield from self._file(path)
            elif path.resolve().is_relative_to(self._repository):
                # Its content is the commit's, whatever running the code writes beside it.
                yield self._commit
            else:
                yield from _tree(path)

    def _find(self, reference: Reference, folder: Path) -> Path:
        beside = folder / os.path.expandvars(reference.path)
        return beside if beside.exists() else self._code_dir / os.path.expandvars(reference.path)


def _tree(path: Path) -> Iterator[str]:
    if not path.is_dir():
        yield _content(path)
        return
    looked_at = 0
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(
            name for name in folders if name not in _LITTER and not name.endswith(".egg-info")
        )
        for name in sorted(files):
            if not name.endswith(".pyc"):
                looked_at += 1
                if looked_at > _MOST_FILES:
                    raise DeploymentRejected(
                        f"what is to be installed names the folder {path}, which has more than {_MOST_FILES} "
                        "files: name the folder of one project, or of archives"
                    )
                found = Path(folder, name)
                yield f"{found.relative_to(path)}: {_content(found)}"


def _content(path: Path) -> str:
    try:
        found = path.stat()
        if found.st_size > _LONGEST_CONTENT:
            return f"{found.st_size} {found.st_mtime_ns}"
        return hashlib.sha256(read_beginning(path, _LONGEST_CONTENT)).hexdigest()
    except OSError as exc:
        return f"{path}: {exc.strerror}"


def _digest(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode(errors="surrogateescape")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _text_inside(path: Path, repository: Path) -> str | None:
    if not path.is_file():
        return None
    if not path.resolve().is_relative_to(repository.resolve()):
        raise DeploymentRejected(f"{path.name} is a link that leaves the repository")
    return path.read_bytes().decode(errors="replace")


def _toml(name: str, text: str) -> Mapping[str, object]:
    import tomllib  # noqa: PLC0415  only repositories with a pyproject.toml need it

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as exc:
        raise DeploymentRejected(f"{name} is not valid TOML: {exc}") from exc


def _is_poetrys(pyproject: Mapping[str, object]) -> bool:
    """Whether the dependencies are declared for Poetry; those of ``[project]`` suit every installer."""
    tool, project = pyproject.get("tool"), pyproject.get("project")
    if not isinstance(tool, Mapping) or not isinstance(tool.get("poetry"), Mapping):
        return False
    dynamic = project.get("dynamic") if isinstance(project, Mapping) else ["dependencies"]
    return isinstance(dynamic, list) and "dependencies" in dynamic
