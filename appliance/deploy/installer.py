"""Who makes a virtual environment and fills it: uv where it is right, else pip; Poetry where it is there.

uv resolves without looking at packages inherited from the machine and would install a second torch
beside the one of the image; with those inherited, pip does it.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from appliance.deploy.command import CANNOT_START, Command, Limits, Runner
from appliance.deploy.dependencies import Dependencies
from appliance.deploy.verdict import Verdict, judge_install
from appliance.errors import CommandFailed, DeploymentRejected, DeploymentUnavailable

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
        self._run((*argv, str(self._venv_dir)), _MAKE)

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
            tool: tuple[str, ...] = (self._uv, "pip", "install", "--python", str(self._python))
        else:
            # -P: the task code's own logging.py is not for pip to import.
            tool = (str(self._python), "-P", "-m", "pip", "install", "--no-input", "--progress-bar=off")
        self._run((*tool, *arguments), _INSTALL)

    def _install_with_poetry(self) -> None:
        """Poetry leaves a lock file where there is none, which would bind versions of the code to come."""
        lock = self._code_dir / "poetry.lock"
        is_theirs = lock.exists()
        try:
            self._run(("poetry", "install", "--only", "main", "--no-root", "--no-interaction"), _INSTALL)
        finally:
            if not is_theirs:
                lock.unlink(missing_ok=True)

    def _listed(self, what: str, lines: tuple[str, ...]) -> str:
        path = self._venv_dir / f"runqy-{what}.txt"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return str(path)

    def _run(self, argv: tuple[str, ...], limits: Limits) -> None:
        said: list[str] = []
        try:
            self._runner.run(Command(argv, self._code_dir, self._env), limits, said.append)
        except CommandFailed as exc:
            # A limit is passed by what hangs, and that is a network more often than not.
            passing = exc.status is None or judge_install(said) is Verdict.PASSING
            if passing and exc.status != CANNOT_START:
                raise DeploymentUnavailable(str(exc)) from exc
            raise DeploymentRejected(str(exc)) from exc


def choose_installer(
    code_dir: Path, python: Path, runner: Runner, env: Mapping[str, str], system_site_packages: bool
) -> Installer:
    """uv where it is installed and nothing is inherited, else pip."""
    uv = None if system_site_packages else shutil.which("uv", path=env.get("PATH"))
    return Installer(code_dir, python, runner, env, uv)
