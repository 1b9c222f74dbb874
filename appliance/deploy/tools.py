"""What one deployment works with: the folder's lock, git with its credentials, and a runner of installers."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

import structlog

from appliance.clock import Clock
from appliance.deploy.access import GitAccess, key_descriptor, sweep_keys
from appliance.deploy.command import Runner
from appliance.deploy.files import remove
from appliance.deploy.git import Git
from appliance.deploy.job import Job
from appliance.deploy.lock import folder_lock
from appliance.deploy.progress import Progress
from appliance.deploy.slots import Slot
from appliance.deploy.source import Transport
from appliance.isolation.confinement import Enter
from appliance.isolation.domain import Access
from appliance.values import value_class

log = structlog.get_logger()


#: Confines the next program to these paths, of all that is the worker's own.
ConfineTool = Callable[[Mapping[Path, Access]], AbstractContextManager[Enter]]


@value_class
class Tools:
    """``make_git`` gives the git of a slot, with credentials; ``make_installing`` a runner of all others.

    What builds packages is task code as much as what they are for: it reaches its own slot, and no more of
    what is the worker's. ``variables`` are for its environment.
    """

    make_git: Callable[[Slot], Git]
    make_installing: Callable[[Slot], Runner]
    variables: Mapping[str, str]


@contextmanager
def tools_for(
    job: Job,
    folder: Path,
    ssh_key: Path | None,
    clock: Clock,
    redact: Callable[[str], str],
    confine: ConfineTool,
) -> Iterator[Tools]:
    """The tools for ``job``, while ``folder`` (made if need be) is locked for its parent queue.

    ``confine`` holds a program to what it is given to work with, of all that is the worker's own.

    Raises OSError where the folder or its lock cannot be made, and as
    :func:`~appliance.deploy.lock.folder_lock` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        lock = stack.enter_context(folder_lock(folder / f".{job.parent}.lock", clock))
        progress = Progress(job.parent, clock)
        # The lock stays taken while a program outlives a killed worker.
        runner = Runner(clock, redact, progress.heard, (lock,), progress.tick)
        if job.login is not None and not job.source.encrypted:
            log.warning("deploy.token_unencrypted", parent=job.parent, origin=job.source.origin)
        access = stack.enter_context(_access(job, folder, ssh_key, clock))
        # Not where temporary files usually are: there task code of other parent queues gets at what is built.
        temporary = folder / f".{job.parent}.tmp"
        # A worker that was killed may have left it.
        remove(temporary)
        temporary.mkdir(mode=0o700)
        stack.callback(remove, temporary)
        cache = folder / f".{job.parent}.cache"

        def within(*places: Path) -> Runner:
            return runner.within(partial(confine, dict.fromkeys(places, Access.FULL)))

        def make_git(slot: Slot) -> Git:
            return Git(
                slot, job.wanted, within(slot.folder, slot.kept, access.known_hosts, temporary), access
            )

        def make_installing(slot: Slot) -> Runner:
            # A domain is made of what is there.
            for place in (cache, slot.venv_dir):
                place.mkdir(exist_ok=True)
            return within(slot.folder, slot.venv_dir, cache, temporary)

        yield Tools(make_git, make_installing, _variables(os.environ, temporary, cache))


@contextmanager
def _access(job: Job, folder: Path, ssh_key: Path | None, clock: Clock) -> Iterator[GitAccess]:
    sweep_keys(clock.wall())
    known_hosts = folder / ".ssh_known_hosts"
    with ExitStack() as stack:
        key = None
        if ssh_key is not None and job.source.transport is Transport.SSH:
            key = stack.enter_context(key_descriptor(ssh_key))
            if not known_hosts.exists():
                known_hosts.touch()
        access = GitAccess(os.environ, job.login, key, known_hosts)
        if access.ignored is not None:
            log.warning(
                "deploy.git_configuration_ignored",
                parent=job.parent,
                path=str(access.ignored),
                reason="task code could have written it: use /etc/gitconfig, or GIT_CONFIG_GLOBAL",
            )
        yield access


def _variables(environ: Mapping[str, str], temporary: Path, cache: Path) -> Mapping[str, str]:
    """Where installers keep things: where no task code, and no build of another parent queue, gets at it."""
    found = {"TMPDIR": str(temporary)}
    for name, kind in (("PIP_CACHE_DIR", "pip"), ("UV_CACHE_DIR", "uv"), ("POETRY_CACHE_DIR", "poetry")):
        found[name] = environ.get(name) or str(cache / kind)
    if environ.get("UV_CACHE_DIR"):
        # What lies in that cache may be written to by others: the environment must not be the same files.
        found["UV_LINK_MODE"] = "copy"
    return found
