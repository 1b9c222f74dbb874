"""The virtual environment of a folder of task code: made, filled, and left alone when nothing changed.

It is made from the interpreter that the worker's own environment was made from, so that task code
sees the machine's packages (where settings say so) and never the worker's.
"""

import hashlib
import json
import platform
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from appliance.deploy.command import Command, Limits, Runner
from appliance.deploy.dependencies import Dependencies
from appliance.deploy.files import read_json, remove, write_json
from appliance.deploy.installer import Installer, choose_installer
from appliance.deploy.plan import (
    EnvironmentFacts,
    EnvironmentRecord,
    EnvironmentStep,
    plan_environment,
    read_environment,
    to_record,
)
from appliance.errors import CommandFailed, DeploymentRejected, SlotInUse

log = structlog.get_logger()

#: Written last, and emptied of its dependencies before they are touched: it tells whole from half-built.
RECORD = ".runqy.json"
_QUICK = Limits(total_s=60.0, silent_s=60.0)
#: What the machine's interpreter brings, which installing takes into account where it is inherited.
_INHERITED = (
    "from importlib.metadata import distributions as all_\n"
    "print(sorted({(str(d.metadata['Name']), d.version) for d in all_()}))"
)


@dataclass(frozen=True)
class Environment:
    """One virtual environment, there or wanted, in the code folder ``code_dir``."""

    code_dir: Path
    system_site_packages: bool
    runner: Runner
    env: Mapping[str, str]
    base_python: Path

    @property
    def venv_dir(self) -> Path:
        """Where it is."""
        return self.code_dir / ".venv"

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
        installer = choose_installer(
            self.code_dir, self.python, self.runner, self.env, self.system_site_packages
        )
        facts = EnvironmentFacts(
            interpreter=str(self.base_python.resolve()),
            version=f"{sys.implementation.name} {platform.python_version()}",
            platform=sysconfig.get_platform(),
            system_site_packages=self.system_site_packages,
            installer=installer.name,
        )
        fingerprint = self._with_inherited(dependencies.fingerprint)
        found = read_environment(read_json(self.venv_dir / RECORD))
        step, reason = plan_environment(found, works=self._works(), wanted=facts, dependencies=fingerprint)
        log.info(
            "deploy.environment",
            queue=parent,
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
            log.warning("deploy.environment_anew", queue=parent, reason=str(exc))
            self._build(installer, facts)
            installer.install(dependencies)

    def _build(self, installer: Installer, facts: EnvironmentFacts) -> None:
        remove(self.venv_dir)
        installer.make(self.base_python, system_site_packages=self.system_site_packages)
        if not self._works():
            raise DeploymentRejected(f"{self.base_python} makes environments whose interpreter does not run")
        self._record(EnvironmentRecord(facts))

    def _record(self, record: EnvironmentRecord) -> None:
        write_json(self.venv_dir / RECORD, to_record(record))

    def _works(self) -> bool:
        if not self.python.exists():
            return False
        script = "import sys; print(sys.prefix)"
        try:
            said = self.runner.run(self._command(self.python, script), _QUICK).stdout
        except CommandFailed:
            return False
        return Path(said.strip()).resolve() == self.venv_dir.resolve()

    def _with_inherited(self, fingerprint: str) -> str:
        """A new image can bring other packages under the same interpreter; the folder may outlive it."""
        if not self.system_site_packages:
            return fingerprint
        try:
            inherited = self.runner.run(self._command(self.base_python, _INHERITED), _QUICK).stdout
        except CommandFailed as exc:
            raise DeploymentRejected(f"{self.base_python} does not run: {exc}") from exc
        return hashlib.sha256(json.dumps([fingerprint, inherited]).encode()).hexdigest()

    def _command(self, python: Path, script: str) -> Command:
        # Not from the code folder: a json.py there would be imported instead of Python's own.
        return Command((str(python), "-c", script), self.venv_dir.parent.parent, self.env)
