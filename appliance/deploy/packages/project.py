"""What a ``pyproject.toml`` asks to have installed, in requirement lines. Pure.

Only dependencies are installed, never the project itself: a folder of task code is run from where
it lies, and most such folders could not be built. The exception is a project that leaves its
dependencies for its build to find out (PEP 621 ``dynamic``), which has to be built to know them.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePath

from appliance.deploy.packages import poetry
from appliance.errors import DeploymentRejected
from appliance.values import value_class


class Style(StrEnum):
    """Who declared the dependencies, and where."""

    PEP_621 = "pyproject.toml [project]"
    POETRY = "pyproject.toml [tool.poetry]"
    BUILT = "pyproject.toml, dynamic dependencies"


@value_class
class Project:
    """Requirement lines (PEP 508) and lines that constrain versions, none of them with options."""

    style: Style
    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()


def read_project(
    pyproject: Mapping[str, object], lock: Mapping[str, object] | None, folder: PurePath
) -> Project | None:
    """What the decoded ``pyproject.toml`` in ``folder`` asks for, None if it declares no dependencies.

    ``lock`` is the decoded ``poetry.lock`` beside it. Raises
    :class:`~appliance.errors.DeploymentRejected` for what cannot be understood.
    """
    project = pyproject.get("project")
    tool = pyproject.get("tool")
    has_poetry = isinstance(tool, Mapping) and isinstance(tool.get("poetry"), Mapping)
    constraints = poetry.constraints(lock) if lock is not None else ()
    if isinstance(project, Mapping):
        dynamic = project.get("dynamic")
        if not (isinstance(dynamic, list) and "dependencies" in dynamic):
            return Project(Style.PEP_621, _dependencies(project), constraints)
        if not has_poetry:
            return Project(Style.BUILT, (str(folder),))
    if has_poetry:
        assert isinstance(tool, Mapping)  # noqa: S101  has_poetry says so
        requirements = poetry.requirements(tool["poetry"], folder, locked=lock is not None)
        return Project(Style.POETRY, requirements, constraints)
    return None


def _dependencies(project: Mapping[str, object]) -> tuple[str, ...]:
    listed = project.get("dependencies", [])
    if not isinstance(listed, list) or not all(isinstance(entry, str) for entry in listed):
        raise DeploymentRejected("pyproject.toml: project.dependencies must be a list of strings")
    for entry in listed:
        # In a requirements file, a line that begins with a dash is an option to the installer.
        if entry.lstrip().startswith("-") or not entry.isprintable():
            raise DeploymentRejected(f"pyproject.toml: project.dependencies: {entry!r} is not a requirement")
    return tuple(listed)
