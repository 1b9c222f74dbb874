"""Which Python the environment of this project is made with."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Where a distribution has its own.
SYSTEM = Path("/usr/bin")


def python(folder: Path, name: str, version: str) -> None:
    """A program that answers as a Python of ``version`` does."""
    program = folder / name
    program.write_text(f'#!/bin/sh\ncase "$2" in *version_info*) echo {version} ;; esac\n')
    program.chmod(0o755)


def found(folder: Path, **settings: str) -> tuple[str, str]:
    """The Python that is taken with ``folder`` as PATH, and what is said where there is none."""
    done = subprocess.run(
        [shutil.which("sh") or "/bin/sh", ROOT / ".ci" / "find-python"],
        env={"PATH": str(folder), **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip(), done.stderr


def test_the_newest_is_taken(tmp_path: Path) -> None:
    python(tmp_path, "python3.14", "3.14")
    python(tmp_path, "python3.11", "3.11")
    if (SYSTEM / "python3.14").exists():
        pytest.skip("this system's own is as new")
    assert found(tmp_path) == (str(tmp_path / "python3.14"), "")


def test_of_a_version_the_systems_own_comes_first(tmp_path: Path) -> None:
    own = [path for path in sorted(SYSTEM.glob("python3.1[1-4]"), key=str) if _is_whole(path)]
    if not own:
        pytest.skip("this system has no Python of 3.11 or later that can make environments")
    python(tmp_path, own[-1].name, own[-1].name.removeprefix("python"))
    assert found(tmp_path) == (str(own[-1]), "")


def test_the_only_one_is_the_one_that_is_asked_for(tmp_path: Path) -> None:
    python(tmp_path, "python3.12", "3.12")
    python(tmp_path, "mine", "3.11")
    assert found(tmp_path, PYTHON="mine") == (str(tmp_path / "mine"), "")

    python(tmp_path, "mine", "3.10")
    path, said = found(tmp_path, PYTHON="mine")
    assert path == ""
    assert "found: mine (3.10)" in said


def _is_whole(path: Path) -> bool:
    asked = [path, "-c", "import ensurepip, venv"]
    return subprocess.run(asked, check=False, capture_output=True).returncode == 0
