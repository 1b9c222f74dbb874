"""A Deployer in a test's own folder: real git and pip, packages made on the spot, no network."""

import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from appliance.clock import Clock, SystemClock
from appliance.config.settings import BootstrapSettings, DeploymentSettings, GitSettings
from appliance.control.contract import DeploymentSpec
from appliance.deploy.deployment import Deployed, Deployer
from appliance.deploy.environment import Environment
from appliance.deploy.packages.installer import Installer
from appliance.deploy.tools import ConfineTool
from appliance.isolation.confinement import Enter, unconfined
from appliance.isolation.domain import Access
from harness.sandbox.repo import GitRepo, make_repo

PARENT = "inference"
#: Of what the machine has, deployments in these tests see no more: neither uv nor poetry.
_PROGRAMS = ("git", "sh", "env", "ssh")


#: The PATH before a test takes it away.
_MACHINES_PATH = os.environ["PATH"]
#: The same as a program: where to, which URL, whether only code.
_PROGRAM = """
from appliance import patching; patching.patch()
import sys
from pathlib import Path
from appliance.clock import SystemClock
from appliance.config.settings import BootstrapSettings, DeploymentSettings, GitSettings
from appliance.control.contract import DeploymentSpec
from appliance.deploy.deployment import Deployer
from appliance.deploy.environment import Environment
from appliance.isolation.confinement import unconfined
if sys.argv[3] == "True":
    Environment.prepare = lambda *_, **__: ''
deployer = Deployer(
    DeploymentSettings(Path(sys.argv[1]), use_system_site_packages=False),
    BootstrapSettings(0, 0.0),
    GitSettings(Path(sys.argv[4]) if sys.argv[4] else None),
    SystemClock(),
    str,
    lambda _: unconfined(),
)
print(deployer.deploy("inference", DeploymentSpec(sys.argv[2], "main", "python main.py"), None).commit)
"""


#: The build of a package with one module, by its name; what it does before stands in the place of ``BEFORE``.
_BUILD = """
import pathlib, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
BEFORE
    info = "NAME-1.0.dist-info"
    wheel = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    with zipfile.ZipFile(pathlib.Path(folder, "NAME-1.0-py3-none-any.whl"), "w") as archive:
        archive.writestr("NAME.py", "VERSION = '1.0'")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: NAME\\nVersion: 1.0\\n")
        archive.writestr(f"{info}/WHEEL", wheel)
        archive.writestr(f"{info}/RECORD", "")
    return "NAME-1.0-py3-none-any.whl"
"""


def built_by(name: str, before: str) -> dict[str, str]:
    """The files of a task that requires a package ``name``, whose build does ``before`` first (in Python)."""
    project = f'[build-system]\nrequires = []\nbuild-backend = "{name}"\nbackend-path = ["."]\n'
    build = _BUILD.replace("NAME", name).replace("BEFORE", textwrap.indent(before, "    "))
    return {f"{name}/pyproject.toml": project, f"{name}/{name}.py": build, "requirements.txt": f"./{name}\n"}


def unheld(_opened: Mapping[Path, Access]) -> AbstractContextManager[Enter]:
    """Confine nothing: what programs are held to is what tests/attack is about."""
    return unconfined()


class Rig:
    """Deploys the queue ``inference`` into ``folder/deployment``; ``events`` are what was logged."""

    def __init__(self, folder: Path, events: Sequence[MutableMapping[str, Any]]) -> None:
        self.folder = folder
        self.deployment = folder / "deployment"
        self.clone = self.deployment / PARENT
        self.kept = self.deployment / f".{PARENT}.worker"
        self.git_dir = self.kept / "git"
        self.venv = self.deployment / f".{PARENT}.venv"
        self.wheels = folder / "wheels"
        self.bin = folder / "bin"
        self.events = events
        self.wheels.mkdir()
        self.bin.mkdir()
        for name in _PROGRAMS:
            found = shutil.which(name)
            assert found, f"{name} is not on PATH"
            (self.bin / name).symlink_to(found)

    def repo(self, name: str = "code", **files: str) -> GitRepo:
        """A repository; a double underscore in a keyword stands for a slash, a single one for a dot."""
        named = {key.replace("__", "/").replace("_", "."): text for key, text in files.items()}
        return make_repo(self.folder / f"{name}.git", named or {"main.py": "print('one')\n"})

    def deployer(
        self,
        *,
        system_site_packages: bool = False,
        installer: str = "auto",
        retries: int = 0,
        clock: Clock | None = None,
        redact: Callable[[str], str] = str,
        ssh_key: Path | None = None,
        confine: ConfineTool = unheld,
        own_token: str | None = None,
        token_hosts: tuple[str, ...] | None = None,
    ) -> Deployer:
        """With these settings, and no pause between attempts."""
        return Deployer(
            DeploymentSettings(
                self.deployment, use_system_site_packages=system_site_packages, installer=installer
            ),
            BootstrapSettings(retries, retry_delay_s=0.0),
            GitSettings(ssh_key, own_token, token_hosts),
            clock or SystemClock(),
            redact,
            confine,
        )

    def deploy(self, url: str, token: str | None = None, spec: Any = None, **settings: Any) -> Deployed:
        """Deploy ``url``; ``spec`` changes the server's answer, ``token`` is the server's."""
        wanted = {"git_url": url, "branch": "main", "startup_cmd": "python main.py", **(spec or {})}
        return self.deployer(**settings).deploy(PARENT, DeploymentSpec(**wanted), token)

    def start(
        self, url: str, *, code_only: bool = False, ssh_key: Path | None = None
    ) -> subprocess.Popen[str]:
        """A deployment in a process of its own, which may be killed; it prints its log and the commit."""
        argv = [sys.executable, "-c", _PROGRAM, str(self.deployment), url, str(code_only), str(ssh_key or "")]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    @contextmanager
    def gated_git(self, moment: str, then: str = "") -> Iterator[Callable[[], None]]:
        """A git that stops when it comes to the command ``moment``, and says so by a file ``there``.

        What is yielded lets it go on; ``then`` is what it does instead (a line of shell). Later ones
        do not stop.
        """
        git = self.bin / "git"
        real = git.resolve()
        there, gate = self.folder / "there", self.folder / "gate"
        os.mkfifo(gate)
        # Exchanged in one step: a git that is just being started must find one or the other.
        gated, plain = git.with_name("gated"), git.with_name("plain")
        gated.write_text(
            f'#!/bin/sh\ncase " $* " in *" {moment} "*)\n'
            f"  if [ ! -e {there} ]; then : > {there}; read line < {gate}; {then or ':'}; fi;;\n"
            f'esac\nexec {real} "$@"\n'
        )
        gated.chmod(0o755)
        gated.replace(git)

        def let_go() -> None:
            gate.write_text("\n")

        try:
            yield let_go
        finally:
            nobody_waits(gate)
            plain.symlink_to(real)
            plain.replace(git)

    def wheel(self, name: str, version: str = "1.0", padding: str = "") -> Path:
        """A package with one module, which says its version and has ``padding`` in a comment."""
        path = self.wheels / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        files = {
            # Each version of another length: within a second, Python tells old byte code by nothing else.
            f"{name}.py": f"VERSION = {version!r}\n" + "#" * sum(map(ord, version)) + padding,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
        with zipfile.ZipFile(path, "w") as archive:
            for file, text in {**files, f"{info}/RECORD": record}.items():
                archive.writestr(file, text)
        return path

    def git(self, *arguments: str) -> str:
        """What git prints that is asked about the clone."""
        argv = ["git", f"--git-dir={self.git_dir}", f"--work-tree={self.clone}", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def left(self) -> set[str]:
        """What lies in the folder of deployments."""
        return {path.name for path in self.deployment.iterdir()}

    def logged(self, event: str) -> list[MutableMapping[str, Any]]:
        """The events of that name."""
        return [entry for entry in self.events if entry["event"] == event]

    def steps(self, what: str) -> list[str]:
        """What was decided about the ``code`` or the ``environment``, deployment after deployment."""
        return [entry["step"] for entry in self.logged(f"deploy.{what}")]

    def files(self) -> set[str]:
        """What lies in the clone, without git's own and the environment."""
        hidden = {".git", ".venv"}
        found = (path.relative_to(self.clone) for path in self.clone.rglob("*") if path.is_file())
        return {str(path) for path in found if not hidden & set(path.parts)}

    def text(self, path: str = "main.py") -> str:
        """A file of the clone."""
        return (self.clone / path).read_text()


def nobody_waits(gate: Path) -> None:
    """Let go on who still reads from the pipe ``gate``, as a test that failed would leave it."""
    fd = os.open(gate, os.O_RDWR | os.O_NONBLOCK)
    os.write(fd, b"\n")
    os.close(fd)


@contextmanager
def isolated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A rig in ``folder`` that sees nothing of this machine's settings."""
    with capture_logs() as events:
        fresh = Rig(folder, events)
        isolate(fresh, monkeypatch)
        yield fresh


def isolate(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's configuration, no index, no program but a few: what is deployed comes from the test."""
    home = rig.folder / "home"
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(("GIT_", "PIP_", "UV_", "POETRY_", "SSH_", "VIRTUAL_ENV", "PYTHON")):
            monkeypatch.delenv(name)
    settings = {
        "PATH": str(rig.bin),
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(rig.wheels),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def with_uv(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have uv on the PATH: a fraction of the time that pip takes, for tests that are not about pip."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{_MACHINES_PATH}")
    assert uv, "uv is one of the packages of the tests"
    (rig.bin / "uv").symlink_to(uv)
    # uv has no variable for it.
    settings = rig.folder / "no-index.toml"
    settings.write_text("no-index = true\n")
    monkeypatch.setenv("UV_CONFIG_FILE", str(settings))
    monkeypatch.setenv("UV_FIND_LINKS", str(rig.wheels))
    # As images of Python have it.
    monkeypatch.setenv("UV_SYSTEM_PYTHON", "1")


def with_copies_of(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have environments with pip be copies of one that was made as a worker makes them: its making takes four
    seconds of a processor, for tests that are about what comes after it."""
    honest = Installer.make

    def make(self: Installer, base_python: Path, *, system_site_packages: bool) -> None:
        if self.name == "uv":
            honest(self, base_python, system_site_packages=system_site_packages)
            return
        asked: list[str] = []
        with monkeypatch.context() as only_asked:
            only_asked.setattr(self, "_run", lambda argv, *_: asked.extend(argv))
            honest(self, base_python, system_site_packages=system_site_packages)
        folder = self._venv_dir
        shutil.copytree(template, folder, symlinks=True, dirs_exist_ok=True)
        settings = (folder / "pyvenv.cfg").read_text()
        inherits = str("--system-site-packages" in asked).lower()
        settings = settings.replace(
            "include-system-site-packages = false", f"include-system-site-packages = {inherits}"
        )
        (folder / "pyvenv.cfg").write_text(settings)

    monkeypatch.setattr(Installer, "make", make)


def without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deploy code only: an environment takes seconds to make, and these tests are not about it."""
    monkeypatch.setattr(Environment, "prepare", lambda *_, **__: "")
