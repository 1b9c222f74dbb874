"""The image's locked requirements follow pyproject.toml; this needs no engine."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.image.engine import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(name: str) -> dict[str, tuple[Version, bool]]:
    """Package → version, and whether it has a hash, of a lock file."""
    text = (ROOT / "compose" / "image" / name).read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if match := re.match(r"([a-z0-9-]+)==(\S+)", line):
            found[match[1]] = (Version(match[2]), "--hash=sha256:" in line)
    return found


@pytest.mark.parametrize(
    ("lock", "requirements"),
    [
        ("worker.lock", PROJECT["dependencies"]),
        ("harness.lock", PROJECT["dependencies"] + PROJECT["optional-dependencies"]["harness"]),
        ("tools.lock", PROJECT.get("build-system", {}).get("requires", ["setuptools>=77"])),
    ],
)
def test_every_requirement_is_locked_at_a_version_it_allows(lock: str, requirements: list[str]) -> None:
    versions = locked(lock)

    for requirement in map(Requirement, requirements):
        assert requirement.name in versions, f"{requirement} is not in {lock}: run make lock"
        version, _ = versions[requirement.name]
        assert version in requirement.specifier, f"{lock} has {version}, not {requirement}: run make lock"


@pytest.mark.parametrize("lock", ["worker.lock", "harness.lock", "tools.lock"])
def test_every_locked_package_has_a_hash(lock: str) -> None:
    without = [name for name, (_, hashed) in locked(lock).items() if not hashed]

    assert locked(lock)
    assert without == []
