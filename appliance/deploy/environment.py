"""The virtual environment of a folder of task code: made, filled, and left alone when nothing changed.

It is made from the interpreter that the worker's own environment was made from, so that task code
sees the machine's packages (where settings say so) and never the worker's.

It lies beside the folder of task code, which may not write to it: what is installed is what was declared.
The record of it is among what the worker keeps for itself. A link in the code folder leads to it, for start
commands that name it; the worker itself never follows that.
"""

import hashlib
import json
import os
import platform
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import structlog

from appliance.deploy.command import Command, Limits, Runner
from appliance.deploy.files import read_json, remove, write_json
from appliance.deploy.packages.dependencies import Dependencies
from appliance.deploy.packages.installer import Installer, choose_installer
from appliance.deploy.plan import (
    EnvironmentFacts,
    EnvironmentRecord,
    EnvironmentStep,
    plan_environment,
    read_environment,
    to_record,
)
from appliance.errors import CommandFailed, DeploymentRejected, SlotInUse
from appliance.values import value_class

log = structlog.get_logger()

#: Where earlier workers had the environment, and start commands may look for it: in the code folder.
LINK = ".venv"
_QUICK = Limits(total_s=60.0, silent_s=60.0)
#: What the machine's interpreter brings, which installing takes into account where it is inherited.
_INHERITED = (
    "from importlib.metadata import distributions as all_\n"
    "print(sorted({(str(d.metadata['Name']), d.version) for d in all_()}))"
)


@value_class
class Environment:
    """One virtual environment, there or wanted, in ``venv_dir``, for the code in ``code_dir``.

    ``record`` is written last, and emptied before dependencies are touched, so that half-built environments
    are recognised. ``installer`` is as set.
    """

    code_dir: Path
    venv_dir: Path
    record: Path
    system_site_packages: bool
    runner: Runner
    env: Mapping[str, str]
    base_python: Path
    installer: str = "auto"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.venv_dir / "bin" / "python"

    def prepare(self, parent: str, dependencies: Dependencies, *, frozen: bool = False) -> str:
        """Make it what it has to be: of the right interpreter, with ``dependencies`` installed.

        Returns what changes when that does. A ``frozen`` one is left alone:
        :class:`~appliance.errors.SlotInUse` where it is not what it has to be.

        Raises :class:`~appliance.errors.DeploymentUnavailable` or
        :class:`~appliance.errors.DeploymentRejected`, whose texts end in the installer's last lines.
        """
        with_uv = self.installer == "auto" and not self.system_site_packages
        installer = choose_installer(self.code_dir, self.python, self.runner, self.env, with_uv=with_uv)
        facts = EnvironmentFacts(
            interpreter=str(self.base_python.resolve()),
            version=f"{sys.implementation.name} {platform.python_version()}",
            platform=sysconfig.get_platform(),
            system_site_packages=self.system_site_packages,
            installer=installer.name,
        )
        fingerprint = self._with_inherited(dependencies.fingerprint)
        found = None if self.venv_dir.is_symlink() else read_environment(read_json(self.record))
        works = found is not None and self._works()
        step, reason = plan_environment(found, works=works, wanted=facts, dependencies=fingerprint)
        log.info(
            "deploy.environment",
            parent=parent,
            step=step.value,
            reason=reason,
            installer=installer.name,
            dependencies=str(dependencies.declared_in),
        )
        if frozen and step is not EnvironmentStep.KEEP:
            raise SlotInUse(f"its environment would have to change: {reason}")
        if step is EnvironmentStep.REBUILD:
            self._build(installer, facts)
        if step is not EnvironmentStep.KEEP:
            self._install(
                parent, installer, dependencies, replace_broken=step is EnvironmentStep.INSTALL, facts=facts
            )
            self._record(EnvironmentRecord(facts, fingerprint))
        return fingerprint

    def link(self, *, is_tracked: bool) -> None:
        """Have the link to it in the code folder; ``is_tracked``: the repository has something there.

        Raises :class:`~appliance.errors.DeploymentRejected` where anything else is in its place. To use that
        would be to run what the repository, or a task of an earlier start, put there.
        """
        path = self.code_dir / LINK
        if is_tracked:
            raise DeploymentRejected(
                f"deployment.git_url: the repository tracks {LINK} in the folder of the code, where the "
                f"worker's environment is: remove it from the repository (git rm -r --cached {LINK}) and "
                "list it in .gitignore"
            )
        try:
            path.symlink_to(self.venv_dir)
        except FileExistsError:
            if path.is_symlink() and path.readlink() == self.venv_dir:
                return
            what = f"a link to {path.readlink()}" if path.is_symlink() else "not a link"
            raise DeploymentRejected(
                f"RUNQY_DEPLOYMENT_DIR: {path} is {what}, and neither the repository nor the worker made it; "
                f"the environment is {self.venv_dir}: find out what put it there, and remove it"
            ) from None

    def _install(
        self,
        parent: str,
        installer: Installer,
        dependencies: Dependencies,
        *,
        replace_broken: bool,
        facts: EnvironmentFacts,
    ) -> None:
        self._record(EnvironmentRecord(facts))
        try:
            installer.install(dependencies)
        except DeploymentRejected as exc:
            if not replace_broken:
                raise
            # What earlier versions left behind can be what is in the way.
            log.warning("deploy.environment_recreated", parent=parent, reason=str(exc))
            self._build(installer, facts)
            installer.install(dependencies)

    def _build(self, installer: Installer, facts: EnvironmentFacts) -> None:
        if os.pathsep in str(self.venv_dir):
            # A relative RUNQY_DEPLOYMENT_DIR in a folder like that: no setting shows it.
            raise DeploymentRejected(
                f"{self.venv_dir} has a colon in it, so its programs cannot be found (PATH separates folders "
                "by colons): set RUNQY_DEPLOYMENT_DIR to a folder without one"
            )
        remove(self.venv_dir)
        # Made here: the program that fills it may make nothing beside it.
        self.venv_dir.mkdir()
        installer.make(self.base_python, system_site_packages=self.system_site_packages)
        if not self._works():
            raise DeploymentRejected(f"{self.base_python} makes environments whose interpreter does not run")
        self._record(EnvironmentRecord(facts))

    def _record(self, record: EnvironmentRecord) -> None:
        write_json(self.record, to_record(record))

    def _works(self) -> bool:
        if not self.python.exists():
            return False
        script = "import sys; print(sys.prefix)"
        try:
            said = self.runner.unheard().run(self._command(self.python, script), _QUICK).stdout
        except CommandFailed:
            return False
        return Path(said.strip()).resolve() == self.venv_dir.resolve()

    def _with_inherited(self, fingerprint: str) -> str:
        """A new image can bring other packages under the same interpreter; the folder may outlive it."""
        if not self.system_site_packages:
            return fingerprint
        try:
            command = self._command(self.base_python, _INHERITED)
            inherited = self.runner.unheard().run(command, _QUICK).stdout
        except CommandFailed as exc:
            raise DeploymentRejected(f"{self.base_python} does not run: {exc}") from exc
        return hashlib.sha256(json.dumps([fingerprint, inherited]).encode()).hexdigest()

    def _command(self, python: Path, script: str) -> Command:
        # Not from the code folder: a json.py there would be imported instead of Python's own.
        return Command((str(python), "-c", script), self.venv_dir.parent, self.env)
