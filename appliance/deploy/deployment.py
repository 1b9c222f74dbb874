"""Task code and its environment on this machine, ready to be started.

``{dir}/{parent}`` is the clone (or another slot beside it, :mod:`~appliance.deploy.slots`), and the code
folder is in it (``code_path``) or is it. Beside the clone lie its environment, what the worker keeps for
itself (git's folder, records), its locks and, while it is made, the next clone.
"""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from shutil import which
from typing import TypeVar

import structlog

from appliance.clock import Clock
from appliance.config.settings import BootstrapSettings, DeploymentSettings, GitSettings
from appliance.control.contract import DeploymentSpec
from appliance.deploy import slots
from appliance.deploy.access import without_credentials
from appliance.deploy.baked import COMMIT, baked_folder, find_baked
from appliance.deploy.checkout import Checkouts, sweep
from appliance.deploy.environment import LINK, Environment
from appliance.deploy.failures import DISK_FULL
from appliance.deploy.job import Job, plan_job
from appliance.deploy.packages.dependencies import find_dependencies
from appliance.deploy.slots import Slot, Uses
from appliance.deploy.source import OwnToken
from appliance.deploy.start_command import check_script, check_words
from appliance.deploy.tools import ConfineTool, Tools, tools_for
from appliance.errors import DeploymentError, DeploymentRejected, DeploymentUnavailable, OutOfRoom, SlotInUse
from appliance.values import value_class

log = structlog.get_logger()

T = TypeVar("T")


@value_class
class Deployed:
    """Where the code is, what runs it, which commit it is; ``notes`` are what an operator should know.

    ``venv_dir`` None is the machine's own Python, as an image with the code in it may have it.
    ``environment`` changes when what is installed does. ``repository_problem`` is why the repository could
    not be asked whether this is its newest commit, empty where it was.
    """

    code_dir: Path
    venv_dir: Path | None
    python: Path
    commit: str
    notes: tuple[str, ...] = ()
    environment: str = ""
    repository_problem: str = ""


class Deployer:
    """Deploys one parent queue after another; several may be deployed at once.

    ``redact`` masks secrets, ``confine`` is as in :func:`~appliance.deploy.tools.tools_for`.
    """

    def __init__(
        self,
        deployment: DeploymentSettings,
        bootstrap: BootstrapSettings,
        git: GitSettings,
        clock: Clock,
        redact: Callable[[str], str],
        confine: ConfineTool,
    ) -> None:
        self._dir = deployment.dir.expanduser().absolute()
        self._deployment = deployment
        self._bootstrap = bootstrap
        self._git = git
        self._clock = clock
        self._redact = redact
        self._confine = confine
        #: Hosts that a warning has named.
        self._named: set[str] = set()

    def deploy(
        self,
        parent: str,
        spec: DeploymentSpec,
        git_token: str | None,
        uses: Uses | None = None,
        *,
        may_stay: bool = True,
    ) -> Deployed:
        """Bring code and environment of the queue ``parent`` to what ``spec`` says.

        ``git_token`` is the server's, which wins over our own. What is returned is taken into ``uses``,
        and no slot is changed that a process uses. ``may_stay`` is as in :class:`~appliance.deploy.job.Job`.

        Raises :class:`~appliance.errors.DeploymentRejected` for what another attempt would not change,
        :class:`~appliance.errors.DeploymentUnavailable` when the configured attempts are used up.
        """
        oddities = check_words(spec.startup_cmd)
        for oddity in oddities:
            log.warning("deploy.odd_command", parent=parent, problem=oddity)
        if self._deployment.baked is not None:
            deployed = self._find_baked(baked_folder(self._deployment.baked, parent), parent, spec)
        else:
            job = plan_job(parent, spec, git_token, self._git, may_stay=may_stay)
            self._tell_of_token(job)
            deployed = self._carry_out(job, uses)
        check_script(spec.startup_cmd, deployed.code_dir, deployed.venv_dir, os.environ)
        return replace(deployed, notes=(*deployed.notes, *oddities))

    def _tell_of_token(self, job: Job) -> None:
        host = job.source.origin.partition("://")[2]
        if job.own_token is OwnToken.SENT_UNNAMED and host not in self._named:
            self._named.add(host)
            log.warning(
                "deploy.token_host_unnamed",
                parent=job.parent,
                host=host,
                reason="any https host that the server names is sent the worker's own token: set "
                f"RUNQY_GIT_TOKEN_HOSTS to the hosts that may have it, such as {host}",
            )
        if job.own_token is OwnToken.WITHHELD:
            why = (
                "is not among"
                if self._git.token_hosts
                else "is reached without encryption and is not named in"
            )
            log.warning(
                "deploy.token_withheld",
                parent=job.parent,
                host=host,
                reason=f"the host {why} RUNQY_GIT_TOKEN_HOSTS, so the worker's own token is not sent there",
            )

    def _carry_out(self, job: Job, uses: Uses | None) -> Deployed:
        started_s = self._clock.monotonic()
        try:
            with tools_for(
                job, self._dir, self._git.ssh_key, self._clock, self._redact, self._confine
            ) as tools:
                deployed = self._deploy(job, tools, uses)
        except OSError as exc:
            place = exc.filename or self._dir
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OutOfRoom(f"{place}: {DISK_FULL}") from exc
            raise DeploymentRejected(f"RUNQY_DEPLOYMENT_DIR: {place}: {exc.strerror or exc}") from exc
        log.info(
            "deploy.done",
            parent=job.parent,
            commit=deployed.commit,
            code=str(deployed.code_dir),
            seconds=round(self._clock.monotonic() - started_s, 3),
        )
        return deployed

    def _find_baked(self, folder: Path, parent: str, spec: DeploymentSpec) -> Deployed:
        try:
            code_dir, venv_dir, python = find_baked(
                folder,
                parent,
                spec,
                _base_python(),
                system_site_packages=self._deployment.use_system_site_packages,
            )
        except OSError as exc:
            raise DeploymentRejected(f"RUNQY_DEPLOYMENT_BAKED: {folder}: {exc.strerror or exc}") from exc
        return Deployed(code_dir, venv_dir, python, COMMIT)

    def _deploy(self, job: Job, tools: Tools, uses: Uses | None) -> Deployed:
        for slot in slots.candidates(self._dir, job.parent):
            sweep(slot)
            frozen = slots.in_use(slot.folder) or (uses is not None and slot.folder in uses)
            try:
                deployed = self._deploy_into(slot, job, tools, frozen=frozen)
            except SlotInUse as exc:
                log.info("deploy.slot_in_use", parent=job.parent, slot=slot.folder.name, reason=str(exc))
                continue
            if uses is not None:
                uses.take(slot.folder)
            return deployed
        raise AssertionError("the last slot is always a new one")

    def _deploy_into(self, slot: Slot, job: Job, tools: Tools, *, frozen: bool) -> Deployed:
        parent, wanted = job.parent, job.wanted
        checkouts = Checkouts(parent, slot, tools.make_git, partial(self._insist, parent))
        checkout = checkouts.bring_to(wanted, frozen=frozen, may_stay=job.may_stay)
        code_dir = slot.folder / wanted.code_path
        if not code_dir.resolve().is_relative_to(slot.folder.resolve()) or not code_dir.is_dir():
            raise DeploymentRejected(
                f"deployment.code_path: {wanted.url} has no folder {wanted.code_path!r} at {wanted.ref}"
            )
        env = {**without_credentials(os.environ), **tools.variables}
        environment = Environment(
            code_dir,
            slot.venv_dir,
            slot.environment_record,
            self._deployment.use_system_site_packages,
            tools.make_installing(slot),
            env,
            _base_python(),
            self._deployment.installer,
        )
        tracked = str(PurePosixPath(wanted.code_path, LINK))
        environment.link(is_tracked=tools.make_git(slot).is_tracked(tracked))
        has_poetry = which("poetry", path=env.get("PATH")) is not None

        def install(commit: str) -> str:
            declared = find_dependencies(
                code_dir, slot.folder, job.requirements_file, commit, poetry=has_poetry
            )
            return environment.prepare(parent, declared, frozen=frozen)

        try:
            installed = self._insist(parent, "environment", lambda: install(checkout.commit))
        except DeploymentUnavailable as exc:
            checkout = checkouts.go_back(exc)
            try:
                # Of what is installed already, no index is asked.
                installed = install(checkout.commit)
            except DeploymentError:
                raise exc from None
        return Deployed(
            code_dir,
            environment.venv_dir,
            environment.python,
            checkout.commit,
            tuple(checkouts.notes),
            installed,
            checkouts.repository_problem,
        )

    def _insist(self, parent: str, what: str, attempt: Callable[[], T]) -> T:
        attempts = 1 + self._bootstrap.retries
        for number in range(1, attempts):
            try:
                return attempt()
            except DeploymentUnavailable as exc:
                log.warning(
                    "deploy.attempt_failed",
                    parent=parent,
                    what=what,
                    attempt=number,
                    of=attempts,
                    again_in_s=self._bootstrap.retry_delay_s,
                    error=str(exc),
                )
            self._clock.sleep(self._bootstrap.retry_delay_s)
        return attempt()


def _base_python() -> Path:
    """The interpreter that our own environment was made from, or ours where we are in none."""
    base = Path(getattr(sys, "_base_executable", None) or sys.executable)
    # PYTHONHOME has Python take the interpreter of our own environment for the base.
    if not os.environ.get("PYTHONHOME") or base.parent.parent != Path(sys.prefix):
        return base
    with suppress(OSError):
        lines = Path(sys.prefix, "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
        said = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}
        # uv does not say which program it was, only where; and Debian has none that is called python.
        names = (f"python{sys.version_info[0]}.{sys.version_info[1]}", "python3", base.name)
        places = [said.get("executable", ""), *(f"{said['home']}/{name}" for name in names if "home" in said)]
        return next((Path(place) for place in places if place and Path(place).exists()), base)
    return base
