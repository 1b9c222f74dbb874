"""The programs that make a virtual environment and fill it: uv where it fits, else pip; Poetry if installed.

uv resolves without looking at packages inherited from the machine and would install a second torch
beside the one of the image; with those inherited, pip does it.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from appliance.deploy.command import CANNOT_START, Command, Limits, Runner
from appliance.deploy.failures import FailureKind, kind_of_install_failure, shortage
from appliance.deploy.files import write_text
from appliance.deploy.packages.dependencies import Dependencies
from appliance.deploy.packages.indexes import for_pip, for_poetry, for_uv, read_indexes
from appliance.errors import CommandFailed, DeploymentRejected, DeploymentUnavailable, OutOfRoom

_MAKE = Limits(total_s=600.0, silent_s=600.0)
#: A package that is compiled may say nothing for a long time.
_INSTALL = Limits(total_s=2 * 3600.0, silent_s=3600.0)
#: Settings of the machine's owner that would install somewhere else than into the environment.
_ELSEWHERE = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "UV_SYSTEM_PYTHON")


class Installer:
    """Makes and fills the environment whose interpreter is ``python``, with ``uv`` (its path) or with pip."""

    def __init__(
        self, code_dir: Path, python: Path, runner: Runner, env: Mapping[str, str], uv: str | None
    ) -> None:
        self._code_dir = code_dir
        self._python = python
        self._venv_dir = python.parent.parent
        self._runner = runner
        self._env = {name: value for name, value in env.items() if name not in _ELSEWHERE}
        self._env |= {
            "VIRTUAL_ENV": str(self._venv_dir),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_USER": "0",
        }
        self._uv = uv
        self._indexes = read_indexes(self._env)

    @property
    def name(self) -> str:
        """``uv`` or ``pip``."""
        return "uv" if self._uv else "pip"

    def make(self, base_python: Path, *, system_site_packages: bool) -> None:
        """Make an empty environment; raises as :meth:`install` does."""
        inherit = ("--system-site-packages",) if system_site_packages else ()
        if self._uv:
            argv: tuple[str, ...] = (self._uv, "venv", "--no-project", "--python", str(base_python), *inherit)
        else:
            argv = (str(base_python), "-P", "-m", "venv", *inherit)
        self._run((*argv, str(self._venv_dir)), _MAKE, self._env)

    def install(self, dependencies: Dependencies) -> None:
        """Install what is declared; nothing where nothing is.

        Raises :class:`~appliance.errors.DeploymentUnavailable` where a network was in the way, else
        :class:`~appliance.errors.DeploymentRejected`; both end in the installer's last lines.
        """
        if dependencies.with_poetry:
            self._install_with_poetry()
        elif dependencies.file is not None:
            self._install(("-r", str(dependencies.file)))
        elif dependencies.project is not None:
            project = dependencies.project
            arguments: tuple[str, ...] = ("-r", self._listed("requirements", project.requirements))
            if project.constraints:
                arguments += ("-c", self._listed("constraints", project.constraints))
            self._install(arguments)

    def _install(self, arguments: tuple[str, ...]) -> None:
        if self._uv:
            env, more = for_uv(self._env, self._indexes)
            tool: tuple[str, ...] = (self._uv, "pip", "install", "--python", str(self._python), *more)
        else:
            env = for_pip(self._env, self._indexes)
            # -P: the task code's own logging.py is not for pip to import.
            tool = (str(self._python), "-P", "-m", "pip", "install", "--no-input", "--progress-bar=off")
        self._run((*tool, *arguments), _INSTALL, env)

    def _install_with_poetry(self) -> None:
        """Poetry leaves a lock file where there is none, which would bind versions of the code to come."""
        lock = self._code_dir / "poetry.lock"
        is_theirs = lock.exists()
        try:
            argv = ("poetry", "install", "--only", "main", "--no-root", "--no-interaction")
            self._run(argv, _INSTALL, for_poetry(self._env, self._indexes))
        finally:
            if not is_theirs:
                lock.unlink(missing_ok=True)

    def _listed(self, what: str, lines: tuple[str, ...]) -> str:
        path = self._venv_dir / f"runqy-{what}.txt"
        write_text(path, "".join(f"{line}\n" for line in lines))
        return str(path)

    def _run(self, argv: tuple[str, ...], limits: Limits, env: Mapping[str, str]) -> None:
        said: list[str] = []
        try:
            self._runner.run(Command(argv, self._code_dir, env), limits, said.append)
        except CommandFailed as exc:
            # What runs into a limit hangs, usually on a network.
            missing = shortage(exc.status, said)
            message = f"{missing}\n{exc}" if missing else str(exc)
            passing = exc.status is None or kind_of_install_failure(said) is FailureKind.PASSING
            if passing and exc.status != CANNOT_START:
                raise (OutOfRoom if missing else DeploymentUnavailable)(message) from exc
            raise DeploymentRejected(message) from exc


def choose_installer(
    code_dir: Path, python: Path, runner: Runner, env: Mapping[str, str], *, with_uv: bool
) -> Installer:
    """uv where it may be and is installed, else pip."""
    uv = shutil.which("uv", path=env.get("PATH")) if with_uv else None
    return Installer(code_dir, python, runner, env, uv)
