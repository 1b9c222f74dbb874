"""How git is let into a repository: by an environment that holds the credentials, and nothing else that does.

A token stands in one variable of git's environment, where git's own credential helper protocol
(gitcredentials(7)) fetches it for the one host it belongs to. It is in no URL, no argument and no file.
"""

import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from appliance.deploy.source import Login
from appliance.errors import DeploymentRejected

#: What git is always told. A hook or a background job of somebody's configuration has no place here.
_CONFIG = (
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("advice.detachedHead", "false"),
    # Less than 1 kB/s for a minute is a connection that died.
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "60"),
)
#: The credential helper: a shell function, which git calls with what it wants as the first argument.
_HELPER = (
    '!f() { if [ "$1" = get ]; then '
    'printf "username=%s\\npassword=%s\\n" "$RUNQY_LOGIN_USER" "$RUNQY_LOGIN_PASSWORD"; fi; }; f'
)
#: Of somebody else's repository (a git hook that started us), another Python, or a window for a password.
_NOT_OURS = frozenset(
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
#: A host that is seen for the first time is trusted, one that changed its key is not; nothing is ever asked.
_SSH = (
    "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o ConnectTimeout=30 -o ServerAliveInterval=15"
)


def without_credentials(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment for programs that deploy: English messages, none of the worker's own settings.

    Nor what would have them work on another repository or with another Python's packages.
    """
    kept = {
        name: value
        for name, value in inherited.items()
        if name not in _NOT_OURS and not name.startswith(("RUNQY_", _TRACES))
    }
    return {**kept, "LC_ALL": "C.UTF-8", "LANGUAGE": "C", "PYTHONUNBUFFERED": "1"}


@contextmanager
def git_environment(
    inherited: Mapping[str, str], folder: Path, login: Login | None, ssh_key: Path | None
) -> Iterator[dict[str, str]]:
    """Git's environment for the clone in ``folder``; what it refers to is gone afterwards.

    Raises :class:`~appliance.errors.DeploymentRejected` for a key that cannot be read.
    """
    env = without_credentials(inherited) | {"GIT_TERMINAL_PROMPT": "0"}
    config = [*_CONFIG, ("safe.directory", str(folder))]
    if login is not None:
        env |= {"RUNQY_LOGIN_USER": login.user, "RUNQY_LOGIN_PASSWORD": login.password}
        # The empty helper forgets those of the machine: this login was given for this repository.
        config += [("credential.helper", ""), (f"credential.{login.origin}.helper", _HELPER)]
    env |= _config_variables(env, config)
    env["GIT_SSH_COMMAND"] = env.get("GIT_SSH_COMMAND", _SSH)
    if ssh_key is None:
        yield env
        return
    with _usable(ssh_key) as key:
        env["GIT_SSH_COMMAND"] += f" -o IdentitiesOnly=yes -i {shlex.quote(str(key))}"
        yield env


def _config_variables(env: Mapping[str, str], config: list[tuple[str, str]]) -> dict[str, str]:
    """``config`` behind what the machine's owner configures in the same way (git-config(1), ENVIRONMENT)."""
    count = env.get("GIT_CONFIG_COUNT", "0")
    first = int(count) if count.isdigit() else 0
    variables = {"GIT_CONFIG_COUNT": str(first + len(config))}
    for number, (key, value) in enumerate(config, first):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables


@contextmanager
def _usable(key: Path) -> Iterator[Path]:
    """A key as ssh accepts it: it refuses one that others may read, as many mounts make them."""
    path = key.expanduser().absolute()
    try:
        found = path.stat()
        content = path.read_bytes()
    except OSError as exc:
        raise DeploymentRejected(f"RUNQY_GIT_SSH_KEY: {key}: {exc.strerror}") from exc
    if found.st_uid != os.getuid() or not stat.S_IMODE(found.st_mode) & 0o077:
        yield path
        return
    folder = Path(tempfile.mkdtemp(prefix="runqy-key-"))
    try:
        copy = folder / "key"
        copy.touch(mode=0o600)
        copy.write_bytes(content)
        yield copy
    finally:
        shutil.rmtree(folder)
