"""Poetry's dependencies in the words of PEP 508, for where Poetry itself is not installed. Pure.

What ``[tool.poetry.dependencies]`` asks for is translated, and the versions that ``poetry.lock``
chose go beside it as constraints. That is more robust than installing the lock file's own list:
which of its packages a machine needs depends on markers and extras that differ between the lock
format's versions, and the installer's resolver works that out anyway; held to the locked versions,
it ends where Poetry does. Source of the notation: Poetry's documentation, "Dependency specification".
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePath

from appliance.errors import DeploymentRejected

_NAME = re.compile(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", re.ASCII)
_RELEASE = re.compile(r"v?(\d+(?:\.\d+)*)(?P<rest>[^,\s|]*)", re.ASCII)
_PART = re.compile(r"(?P<op>\^|~=|~|>=|<=|==|!=|>|<|=)?\s*(?P<version>[\w.*+!-]+)", re.ASCII)
_FIELDS = frozenset(
    {"version", "extras", "optional", "python", "markers", "platform", "git", "branch", "tag", "rev"}
    | {"subdirectory", "path", "file", "url", "develop", "allow-prereleases", "source"}
)


def requirements(poetry: Mapping[str, object], folder: PurePath, *, locked: bool) -> tuple[str, ...]:
    """The requirement lines of the ``[tool.poetry]`` table of a project in ``folder``.

    Main dependencies only, optional ones left out. ``locked`` is whether :func:`constraints` go
    with them, which then may stand for a version range that PEP 508 has no words for (``||``).

    Raises :class:`~appliance.errors.DeploymentRejected` naming the dependency that has no translation.
    """
    table = poetry.get("dependencies", {})
    if not isinstance(table, Mapping):
        raise DeploymentRejected("pyproject.toml: tool.poetry.dependencies must be a table")
    lines: list[str] = []
    for name, wanted in table.items():
        if name.lower() == "python":
            continue
        if not _NAME.fullmatch(name):
            raise _untranslatable(name, "is not the name of a package")
        for variant in wanted if isinstance(wanted, list) else [wanted]:
            entry = {"version": variant} if isinstance(variant, str) else variant
            if not isinstance(entry, Mapping) or not set(entry) <= _FIELDS:
                raise _untranslatable(name, "is written in a way only Poetry knows")
            if not entry.get("optional"):
                lines.append(_Entry(name, entry).line(folder, locked=locked))
    return tuple(lines)


def constraints(lock: Mapping[str, object]) -> tuple[str, ...]:
    """``name==version`` for what the decoded ``poetry.lock`` takes from an index.

    A package locked in several versions, one for each of several markers, is left out: a
    constraint cannot say which is for here.
    """
    listed = lock.get("package", [])
    if not isinstance(listed, list) or not all(isinstance(package, Mapping) for package in listed):
        raise DeploymentRejected("poetry.lock: package must be a list of tables")
    times = Counter(package.get("name") for package in listed)
    return tuple(
        f"{package['name']}=={package['version']}"
        for package in listed
        if times[package.get("name")] == 1 and _from_index(package)
    )


def specifiers(constraint: str) -> tuple[str, ...]:
    """The PEP 440 specifiers of one Poetry constraint without ``||``; none for "any version".

    Raises ValueError for what is no constraint.
    """
    rest = constraint.strip()
    found: list[str] = []
    while rest:
        part = _PART.match(rest)
        if part is None:
            raise ValueError(constraint)
        found += _specifier(part["op"] or "==", part["version"])
        rest = rest[part.end() :].lstrip(", ")
    return tuple(found)


class _Entry:
    """One way of wanting one package."""

    def __init__(self, name: str, entry: Mapping[str, object]) -> None:
        self._name = name
        self._entry = entry

    def line(self, folder: PurePath, *, locked: bool) -> str:
        extras = self._entry.get("extras", [])
        if not isinstance(extras, list) or not all(isinstance(extra, str) for extra in extras):
            raise _untranslatable(self._name, "extras must be a list of strings")
        name = f"{self._name}[{','.join(extras)}]" if extras else self._name
        wanted = self._location(folder) or self._version(locked=locked)
        marker = " and ".join(self._markers())
        line = f"{name}{wanted} ; {marker}" if marker else f"{name}{wanted}"
        if not line.isprintable():
            raise _untranslatable(self._name, "holds characters that cannot be printed")
        return line

    def _text(self, key: str) -> str:
        value = self._entry.get(key, "")
        if not isinstance(value, str):
            raise _untranslatable(self._name, f"{key} must be a string")
        return value

    def _location(self, folder: PurePath) -> str:
        if self._text("source") not in {"", "pypi", "PyPI"}:
            # Asking other indexes for a private package's name is how look-alikes get installed.
            raise _untranslatable(self._name, "comes from an index that only pyproject.toml names")
        path, url, git = self._text("path") or self._text("file"), self._text("url"), self._text("git")
        subdirectory = self._text("subdirectory")
        fragment = f"#subdirectory={subdirectory}" if subdirectory else ""
        if path:
            return f" @ {(folder / path).as_uri()}{fragment}"
        if url:
            return f" @ {url}{fragment}"
        if git:
            scp = re.fullmatch(r"([\w.-]+@[\w.-]+):(?!//)(.+)", git)
            address = f"ssh://{scp[1]}/{scp[2]}" if scp else git
            rev = self._text("rev") or self._text("tag") or self._text("branch")
            return f" @ git+{address}{f'@{rev}' if rev else ''}{fragment}"
        return ""

    def _version(self, *, locked: bool) -> str:
        constraint = self._text("version")
        if "|" in constraint:
            if locked:
                return ""
            raise _untranslatable(self._name, f"{constraint!r} has no equivalent without a poetry.lock")
        try:
            return ",".join(specifiers(constraint))
        except ValueError:
            raise _untranslatable(self._name, f"{constraint!r} is no version constraint") from None

    def _markers(self) -> Iterator[str]:
        if self._text("markers"):
            yield f"({self._text('markers')})"
        if self._text("platform"):
            yield f'sys_platform == "{self._text("platform")}"'
        if self._text("python"):
            try:
                yield _python_marker(self._text("python"))
            except ValueError:
                raise _untranslatable(self._name, "python is no version constraint") from None


def _specifier(op: str, version: str) -> Iterator[str]:
    if version == "*":
        return
    release = _RELEASE.fullmatch(version)
    if release is None:
        raise ValueError(version)
    if op in {"^", "~"} and not version.endswith("*"):
        numbers = [int(number) for number in release[1].split(".")]
        yield f">={version}"
        yield f"<{_next(numbers, _kept(op, numbers))}"
    else:
        yield f"{'==' if op in {'=', '^', '~'} else op}{version}"


def _kept(op: str, numbers: list[int]) -> int:
    """How many leading numbers may not change, so that the one after the others may."""
    if op == "~":
        return min(2, len(numbers))
    # Caret: up to and with the first that is not zero; all of them where all are.
    return next((at for at, number in enumerate(numbers, 1) if number), len(numbers))


def _next(numbers: list[int], kept: int) -> str:
    upper = [*numbers[: kept - 1], numbers[kept - 1] + 1]
    return ".".join(map(str, upper + [0] * (len(numbers) - kept)))


def _python_marker(constraint: str) -> str:
    ways = []
    for way in re.split(r"\|\|?", constraint):
        tests = []
        for specifier in specifiers(way):
            op, version = re.fullmatch(r"([<>=!~]+)(.+)", specifier).groups()  # type: ignore[union-attr]
            # python_version is only ever "3.11": comparing it with "3.11.2" says nothing.
            variable = (
                "python_version" if version.count(".") <= 1 or "*" in version else "python_full_version"
            )
            tests.append(f'{variable} {op} "{version}"')
        ways.append(" and ".join(tests) or 'python_version >= "0"')
    return ways[0] if len(ways) == 1 else f"({' or '.join(ways)})"


def _from_index(package: Mapping[str, object]) -> bool:
    source = package.get("source")
    elsewhere = isinstance(source, Mapping) and source.get("type") in {"git", "directory", "file", "url"}
    name, version = package.get("name"), package.get("version")
    return not elsewhere and bool(
        isinstance(name, str) and _NAME.fullmatch(name) and isinstance(version, str) and version.isprintable()
    )


def _untranslatable(name: str, why: str) -> DeploymentRejected:
    return DeploymentRejected(
        f"pyproject.toml: tool.poetry.dependencies.{name} {why}; "
        "install poetry beside the worker, or write a requirements.txt"
    )
