"""Task code and its environment on this machine, ready to be started.

``{dir}/{parent}`` is the clone (or another slot beside it, :mod:`~appliance.deploy.slots`), the code folder
is in it (``code_path``) or is it, and ``.venv`` in the code folder is its environment. Beside the clone lie
its locks and, while it is made, the next one.
"""

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import which
from typing import TypeVar

import structlog

from appliance.clock import Clock
from appliance.config.settings import BootstrapSettings, DeploymentSettings, GitSettings
from appliance.control.contract import DeploymentSpec
from appliance.deploy import slots
from appliance.deploy.access import git_environment, without_credentials
from appliance.deploy.baked import COMMIT, baked_folder, find_baked
from appliance.deploy.checkout import Checkouts, Wanted
from appliance.deploy.command import Runner
from appliance.deploy.dependencies import find_dependencies
from appliance.deploy.environment import Environment
from appliance.deploy.git import Git
from appliance.deploy.lock import folder_lock
from appliance.deploy.slots import Uses
from appliance.deploy.source import (
    Source,
    Transport,
    check_inside,
    check_parent,
    check_ref,
    choose_login,
    parse_source,
)
from appliance.errors import DeploymentRejected, DeploymentUnavailable, SlotInUse

log = structlog.get_logger()

T = TypeVar("T")

#: Seconds between lines of an installer's or git's output in the log.
PROGRESS_EVERY_S = 5.0
#: Seconds between lines that say that it goes on, while they say nothing.
SILENCE_EVERY_S = 30.0


@dataclass(frozen=True)
class Deployed:
    """Where the code is, what runs it, which commit it is; ``notes`` are what an operator should know.

    ``venv_dir`` None is the machine's own Python, as an image with the code in it may have it.
    ``environment`` changes when what is installed does.
    """

    code_dir: Path
    venv_dir: Path | None
    python: Path
    commit: str
    notes: tuple[str, ...] = ()
    environment: str = ""


class Deployer:
    """Deploys one parent queue after another; several may be deployed at once. ``redact`` masks secrets."""

    def __init__(
        self,
        deployment: DeploymentSettings,
        bootstrap: BootstrapSettings,
        git: GitSettings,
        clock: Clock,
        redact: Callable[[str], str],
    ) -> None:
        self._dir = deployment.dir.expanduser().absolute()
        self._baked = deployment.baked
        self._system_site_packages = deployment.use_system_site_packages
        self._bootstrap = bootstrap
        self._git = git
        self._clock = clock
        self._redact = redact

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
        and nothing is changed that is in anybody's. ``may_stay`` is whether an earlier commit will do
        where the repository cannot be reached.

        Raises :class:`~appliance.errors.DeploymentRejected` for what another attempt would not change,
        :class:`~appliance.errors.DeploymentUnavailable` when the configured attempts are used up.
        """
        if self._baked is not None:
            return self._find_baked(baked_folder(self._baked, parent), parent, spec)
        started_s = self._clock.monotonic()
        source = parse_source(spec.git_url)
        check_ref(spec.branch)
        check_parent(parent)
        code_path = check_inside("deployment.code_path", spec.code_path or "")
        try:
            with ExitStack() as stack:
                deployed = self._deploy(parent, spec, source, code_path, git_token, uses, may_stay, stack)
        except OSError as exc:
            place = exc.filename or self._dir
            raise DeploymentRejected(f"RUNQY_DEPLOYMENT_DIR: {place}: {exc.strerror or exc}") from exc
        log.info(
            "deploy.done",
            queue=parent,
            commit=deployed.commit,
            code=str(deployed.code_dir),
            seconds=round(self._clock.monotonic() - started_s, 3),
        )
        return deployed

    def _find_baked(self, folder: Path, parent: str, spec: DeploymentSpec) -> Deployed:
        try:
            code_dir, venv_dir, python = find_baked(
                folder, parent, spec, _base_python(), system_site_packages=self._system_site_packages
            )
        except OSError as exc:
            raise DeploymentRejected(f"RUNQY_DEPLOYMENT_BAKED: {folder}: {exc.strerror or exc}") from exc
        return Deployed(code_dir, venv_dir, python, COMMIT)

    def _deploy(
        self,
        parent: str,
        spec: DeploymentSpec,
        source: Source,
        code_path: str,
        git_token: str | None,
        uses: Uses | None,
        may_stay: bool,
        stack: ExitStack,
    ) -> Deployed:
        self._dir.mkdir(parents=True, exist_ok=True)
        lock = stack.enter_context(folder_lock(self._dir / f".{parent}.lock", self._clock))
        progress = _Progress(parent, self._clock)
        runner = Runner(self._clock, self._redact, progress.heard, (lock,), progress.tick)

        login = choose_login(source, git_token, self._git.token)
        if login is not None and not source.encrypted:
            log.warning("deploy.token_unencrypted", queue=parent, origin=source.origin)

        def make_git(folder: Path) -> Git:
            ssh_key = self._git.ssh_key if source.transport is Transport.SSH else None
            env = stack.enter_context(git_environment(os.environ, folder, login, ssh_key))
            return Git(folder, source.url, runner, env)

        wanted = Wanted(source.url, spec.branch, code_path)
        for slot in slots.candidates(self._dir, parent):
            frozen = slots.in_use(slot) or (uses is not None and slot in uses)
            try:
                deployed = self._deploy_into(slot, parent, spec, wanted, make_git, runner, frozen, may_stay)
            except SlotInUse as exc:
                log.info("deploy.slot_in_use", queue=parent, slot=slot.name, reason=str(exc))
                continue
            if uses is not None:
                uses.take(slot)
            return deployed
        raise AssertionError("the last slot is always a new one")

    def _deploy_into(
        self,
        slot: Path,
        parent: str,
        spec: DeploymentSpec,
        wanted: Wanted,
        make_git: Callable[[Path], Git],
        runner: Runner,
        frozen: bool,
        may_stay: bool,
    ) -> Deployed:
        checkouts = Checkouts(parent, slot, make_git, partial(self._insist, parent))
        checkout = checkouts.bring_to(wanted, frozen=frozen, may_stay=may_stay)
        code_dir = slot / wanted.code_path
        if not code_dir.resolve().is_relative_to(slot.resolve()) or not code_dir.is_dir():
            raise DeploymentRejected(
                f"deployment.code_path: {wanted.url} has no folder {wanted.code_path!r} at {wanted.ref}"
            )
        env = without_credentials(os.environ)
        environment = Environment(code_dir, self._system_site_packages, runner, env, _base_python())
        dependencies = find_dependencies(
            code_dir,
            slot,
            spec.requirements_file,
            checkout.commit,
            poetry=which("poetry", path=env.get("PATH")) is not None,
        )
        installed = self._insist(
            parent, "environment", lambda: environment.prepare(parent, dependencies, frozen=frozen)
        )
        return Deployed(
            code_dir,
            environment.venv_dir,
            environment.python,
            checkout.commit,
            tuple(checkouts.notes),
            installed,
        )

    def _insist(self, parent: str, what: str, attempt: Callable[[], T]) -> T:
        attempts = 1 + self._bootstrap.retries
        for number in range(1, attempts):
            try:
                return attempt()
            except DeploymentUnavailable as exc:
                log.warning(
                    "deploy.attempt_failed",
                    queue=parent,
                    what=what,
                    attempt=number,
                    of=attempts,
                    again_in_s=self._bootstrap.retry_delay_s,
                    error=str(exc),
                )
            self._clock.sleep(self._bootstrap.retry_delay_s)
        return attempt()


class _Progress:
    """A line of what is going on, now and then: silence for minutes looks like a hang."""

    def __init__(self, parent: str, clock: Clock) -> None:
        self._log = log.bind(queue=parent)
        self._clock = clock
        self._said_s = clock.monotonic()
        self._latest = ""
        self._is_news = False

    def heard(self, line: str) -> None:
        self._log.debug("deploy.output", line=line)
        self._latest, self._is_news = line, True

    def tick(self) -> None:
        waited_s = self._clock.monotonic() - self._said_s
        if self._is_news and waited_s >= PROGRESS_EVERY_S:
            self._log.info("deploy.progress", line=self._latest)
        elif waited_s >= SILENCE_EVERY_S:
            self._log.info("deploy.still_working", last_line=self._latest)
        else:
            return
        self._said_s += waited_s
        self._is_news = False


def _base_python() -> Path:
    """The interpreter that our own environment was made from, or ours where we are in none."""
    return Path(getattr(sys, "_base_executable", None) or sys.executable)
