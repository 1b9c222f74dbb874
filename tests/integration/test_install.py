"""What is published, as users get it: the wheel does its work in an environment that has nothing else."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
#: For a busy machine: packages are fetched, or found in a cache; and what a demo or a scenario may take.
TIMEOUT_S = 400

pytestmark = pytest.mark.timeout(TIMEOUT_S + 100)

#: Variables that would bring this project's environment, or this run of tests, along.
_OURS = ("PYTHON", "PYTEST", "VIRTUAL_ENV", "COVERAGE")


def tracked(*folders: str) -> list[str]:
    """What belongs to the project, whether it is committed or new."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # One that was deleted is listed until that is committed.
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@dataclass(frozen=True)
class Published:
    """The two files."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    # Of a copy: what an earlier build or an editable installation left here is in no release.
    source = tmp_path_factory.mktemp("source")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    dist = tmp_path_factory.mktemp("dist")
    # The wheel is made from the sdist: both are whole, or neither.
    done = subprocess.run(
        [UV, "build", "--quiet", "--out-dir", dist, source],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (sdist,), (wheel,) = (list(dist.glob(pattern)) for pattern in ("*.tar.gz", "*.whl"))
    return Published(sdist, wheel)


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and an empty folder to work in."""

    programs: Path
    folder: Path

    def run(self, *words: str, cwd: str = ".") -> "subprocess.CompletedProcess[str]":
        """A program of the environment, as its owner runs it."""
        program, *arguments = words
        return subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.folder / cwd,
            # Nothing of this project's own environment is on the way; where packages are is the machine's.
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
                "PATH": f"{self.programs}:/usr/local/bin:/usr/bin:/bin",
            },
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    environment = tmp_path_factory.mktemp("environment") / "venv"
    # As pip does, in a tenth of its time.
    for command in (
        [UV, "venv", "--quiet", "--python", sys.executable, environment],
        [UV, "pip", "install", "--quiet", "--python", environment, f"{published.wheel}[harness]"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        assert done.returncode == 0, done.stderr
    return Installed(environment / "bin", tmp_path_factory.mktemp("elsewhere"))


def test_both_have_every_file_of_the_packages_and_no_other(published: Published) -> None:
    ours = set(tracked("appliance", "harness"))

    with zipfile.ZipFile(published.wheel) as wheel:
        in_wheel = {name for name in wheel.namelist() if ".dist-info/" not in name}
    with tarfile.open(published.sdist) as sdist:
        names = {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}
        in_sdist = {name for name in names if name.startswith(("appliance/", "harness/"))}

    assert in_wheel == ours
    assert in_sdist == ours
    assert {"LICENSE", "README.md", "pyproject.toml"} <= names


@pytest.mark.parametrize(
    "command",
    [
        ("runqy-appliance", "--version"),
        ("runqy-harness", "--version"),
        ("python", "-m", "appliance", "--version"),
        ("python", "-m", "harness", "--version"),
    ],
    ids=" ".join,
)
def test_the_version_is_said_by_every_program(installed: Installed, command: tuple[str, ...]) -> None:
    done = installed.run(*command)

    name = "runqy-harness" if "harness" in " ".join(command) else "runqy-appliance"
    assert (done.returncode, done.stdout) == (0, f"{name} {VERSION}\n"), done.stderr


def test_the_demo_runs(installed: Installed) -> None:
    done = installed.run("runqy-harness", "demo")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0" in done.stdout.splitlines()[-1]


def test_scenarios_hold(installed: Installed) -> None:
    done = installed.run("runqy-harness", "e2e", "--runtime", "process", "--only", "tasks/results")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "all ok" in done.stdout.splitlines()[-1]


def test_a_new_project_passes_its_tests(installed: Installed) -> None:
    made = installed.run("runqy-harness", "init", "task")
    assert made.returncode == 0, made.stderr

    done = installed.run("pytest", cwd="task")

    assert done.returncode == 0, done.stdout + done.stderr
    assert " 3 passed" in done.stdout
    wanted = (installed.folder / "task" / "requirements-test.txt").read_text()
    assert f"\nrunqy-appliance[harness]=={VERSION}\n" in wanted
