"""How git gets into a repository: by credentials that only the commands have which talk to the remote.

A token stands in one variable of git's environment, where git's own credential helper protocol
(gitcredentials(7)) fetches it for the one host it belongs to. It is in no URL, no argument and no file. A key
is handed over by descriptor, as a file in memory: no copy of it is ever on a disk, whatever ends the worker.

Neither meets configuration that task code could have written: git's and ssh's files in the home folder, where
one line names another server or a program to run, do not count for a command that has credentials.
"""

import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import field
from pathlib import Path
from shutil import which

from appliance.deploy.files import remove
from appliance.deploy.source import Login
from appliance.errors import DeploymentRejected
from appliance.values import value_class

#: Configuration that git always gets: no hooks and no background jobs of the machine's configuration.
_CONFIG = (
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", os.devnull),
    ("core.excludesFile", os.devnull),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("advice.detachedHead", "false"),
    # Less than 1 kB/s for a minute is a broken connection.
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "60"),
)
#: The credential helper: a shell function, which git calls with what it wants as the first argument.
_HELPER = (
    '!f() { if [ "$1" = get ]; then '
    'printf "username=%s\\npassword=%s\\n" "$RUNQY_LOGIN_USER" "$RUNQY_LOGIN_PASSWORD"; fi; }; f'
)
#: Variables of another repository (a git hook may have started us), another Python, a password prompt.
_FOREIGN = frozenset(
    {
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_NAMESPACE",
        "GIT_PREFIX",
        "GIT_SHALLOW_FILE",
        "GIT_CONFIG",
        "GIT_DEFAULT_HASH",
        "GIT_CURL_VERBOSE",
        "GIT_ASKPASS",
        "SSH_ASKPASS",
        "PYTHONHOME",
        "PYTHONPATH",
    }
)
#: ``GIT_TRACE`` and its many kinds, which print what git sends.
_TRACES = "GIT_TRACE"
#: Without credentials git has no business with any remote.
_LOCAL_CONFIG = (("protocol.allow", "never"), ("credential.helper", ""))
#: A host that is seen for the first time is trusted, one that changed its key is not; nothing is ever asked.
_SSH = (
    "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o ConnectTimeout=30 -o ServerAliveInterval=15"
)
_SSH_CONFIG = Path("/etc/ssh/ssh_config")
#: What a worker of an earlier version uses, which may run beside this one, is left to it.
_LONGEST_COMMAND_S = 3600.0


def without_credentials(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment for programs that deploy: English messages, none of the worker's own settings.

    Nor what would have them work on another repository or with another Python's packages.
    """
    kept = {
        name: value
        for name, value in inherited.items()
        if name not in _FOREIGN and not name.startswith(("RUNQY_", _TRACES))
    }
    return {**kept, "LC_ALL": "C.UTF-8", "LANGUAGE": "C", "PYTHONUNBUFFERED": "1"}


@value_class
class GitAccess:
    """The environments of git's commands, derived from ``inherited``.

    ``login`` and ``key`` (the descriptor of a private key) are for :meth:`remote` only. ``known_hosts`` is
    where the worker keeps what it knows of SSH servers.
    """

    inherited: Mapping[str, str] = field(repr=False)
    login: Login | None
    key: int | None
    known_hosts: Path

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What commands that talk to the remote inherit."""
        return () if self.key is None else (self.key,)

    @property
    def path(self) -> str | None:
        """Where programs are looked for."""
        return self.inherited.get("PATH")

    @property
    def has_credentials(self) -> bool:
        """Whether the worker was given any for this repository."""
        return self.login is not None or self.key is not None

    @property
    def ignored(self) -> Path | None:
        """A configuration of git's in the home folder that does not count, because there are credentials."""
        home = Path(self.inherited.get("HOME", "/"))
        own = (
            home / ".gitconfig",
            Path(self.inherited.get("XDG_CONFIG_HOME") or home / ".config", "git/config"),
        )
        if not self.has_credentials or "GIT_CONFIG_GLOBAL" in self.inherited:
            return None
        return next((path for path in own if path.exists()), None)

    def remote(self, folder: Path) -> dict[str, str]:
        """For commands of the clone in ``folder`` that talk to its remote."""
        env = without_credentials(self.inherited) | {"GIT_TERMINAL_PROMPT": "0"}
        config = [*_CONFIG, ("safe.directory", str(folder))]
        if self.login is not None:
            env |= {"RUNQY_LOGIN_USER": self.login.user, "RUNQY_LOGIN_PASSWORD": self.login.password}
            # The empty helper removes those of the machine: this login was given for this repository.
            config += [("credential.helper", ""), (f"credential.{self.login.origin}.helper", _HELPER)]
        env |= _config_variables(env, config)
        env["GIT_SSH_COMMAND"] = self._ssh(env)
        if self.has_credentials:
            env.setdefault("GIT_CONFIG_GLOBAL", os.devnull)
        return env

    def local(self, folder: Path) -> dict[str, str]:
        """For all others: they are given no credentials, and reach no remote."""
        env = without_credentials(self.inherited)
        env |= {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}
        env.setdefault("GIT_CONFIG_GLOBAL", os.devnull)
        config = [*_CONFIG, *_LOCAL_CONFIG, ("safe.directory", str(folder)), *_lfs_config(env)]
        return env | _config_variables(env, config)

    def _ssh(self, env: Mapping[str, str]) -> str:
        given = env.get("GIT_SSH_COMMAND")
        if self.key is None:
            return given or _SSH
        # Git runs this in a shell, whose parent is git, which has the descriptor; ssh closes its own.
        identity = f"-o IdentitiesOnly=yes -i /proc/$PPID/fd/{self.key}"
        if given:
            return f"{given} {identity}"
        config = _SSH_CONFIG if _SSH_CONFIG.exists() else "none"
        hosts = shlex.quote(f"UserKnownHostsFile={' '.join(self._known_hosts(env))}")
        return f"{_SSH} -F {config} -o {hosts} {identity}"

    def _known_hosts(self, env: Mapping[str, str]) -> Iterator[str]:
        yield f'"{self.known_hosts}"'
        pinned = Path(env.get("HOME", "/"), ".ssh", "known_hosts")
        # Servers that the machine's owner vouches for, unless task code could have written that list.
        if pinned.exists() and not any(os.access(path, os.W_OK) for path in (pinned, *pinned.parents[:2])):
            yield f'"{pinned}"'


def sweep_keys(now_wall_s: float) -> None:
    """Remove the copies of keys that workers of earlier versions left which were killed."""
    for folder in Path(tempfile.gettempdir()).glob("runqy-key-*"):
        with suppress(FileNotFoundError):
            found = folder.lstat()
            if found.st_uid == os.getuid() and now_wall_s - found.st_mtime > _LONGEST_COMMAND_S:
                remove(folder)


@contextmanager
def key_descriptor(ssh_key: Path) -> Iterator[int]:
    """A descriptor of the key, in memory and as ssh accepts it: readable for its owner only.

    Raises :class:`~appliance.errors.DeploymentRejected` for a key that cannot be read.
    """
    path = ssh_key.expanduser().absolute()
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise DeploymentRejected(f"RUNQY_GIT_SSH_KEY: {ssh_key}: {exc.strerror}") from exc
    fd = os.memfd_create("ssh-key")
    try:
        os.fchmod(fd, 0o600)
        with open(fd, "wb", closefd=False) as file:
            file.write(content)
        yield fd
    finally:
        os.close(fd)


def _lfs_config(env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Git LFS where it is installed, whether or not "git lfs install" was ever run on the machine."""
    if which("git-lfs", path=env.get("PATH")):
        return (
            ("filter.lfs.process", "git-lfs filter-process"),
            ("filter.lfs.smudge", "git-lfs smudge -- %f"),
            ("filter.lfs.clean", "git-lfs clean -- %f"),
            ("filter.lfs.required", "true"),
        )
    # A machine's configuration that requires the filter would end git in words about "external filter".
    return (("filter.lfs.process", ""), ("filter.lfs.required", "false"))


def _config_variables(env: Mapping[str, str], config: list[tuple[str, str]]) -> dict[str, str]:
    """``config`` behind what the machine's owner configures in the same way (git-config(1), ENVIRONMENT)."""
    count = env.get("GIT_CONFIG_COUNT", "0")
    first = int(count) if count.isdigit() else 0
    variables = {"GIT_CONFIG_COUNT": str(first + len(config))}
    for number, (key, value) in enumerate(config, first):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables
