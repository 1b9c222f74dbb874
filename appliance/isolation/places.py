"""Which domains there are: what of the machine is the worker's own, by the settings. Pure.

``auto`` and ``require`` close what is the worker's own and leave the rest as it is; ``strict`` opens what a
program needs to run, and leaves the rest closed.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from appliance.config.settings import Settings
from appliance.isolation.domain import Access, Domain
from appliance.isolation.report import Level
from appliance.values import value_class

#: Where programs make temporary files by name, whatever ``TMPDIR`` says.
TEMPORARY = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108  they are looked for, not used
#: What programs need to run, by the file system's standard: theirs to read, or devices and the like.
_SYSTEM = {
    **dict.fromkeys(
        map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/sys")),
        Access.READ,
    ),
    # What leads out of /etc: names of hosts, and of users that a container was given by number.
    **dict.fromkeys(
        map(Path, ("/etc/resolv.conf", "/etc/hosts", "/etc/localtime", "/var/lib/extrausers/passwd")),
        Access.READ,
    ),
    **dict.fromkeys(map(Path, ("/dev", "/proc")), Access.FULL),
}
#: Variables that name a folder in which libraries keep what they downloaded.
_CACHES = ("XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME", "UV_CACHE_DIR", "PIP_CACHE_DIR")


@value_class
class Code:
    """What one task process runs: its folder, interpreter, environment if it has one, and variables."""

    folder: Path
    python: Path
    venv_dir: Path | None
    env: Mapping[str, str]


@value_class
class Places:
    """The domain of one task process, and the worker's own paths that could not be closed with the reason."""

    domain: Domain
    open: Mapping[Path, str]


def code_folder(deployment: Path, code_dir: Path) -> Path:
    """What of the deployment folder belongs to the code: all of the repository, not ``code_path`` alone."""
    if not code_dir.is_relative_to(deployment) or code_dir == deployment:
        return code_dir
    return deployment / code_dir.relative_to(deployment).parts[0]


def task_places(
    settings: Settings,
    code: Code,
    installation: Mapping[Path, Access],
    resolve: Callable[[Path], Path],
) -> Places:
    """The domain of task code.

    ``installation`` is what the worker's own program is made of, with the access to it. In ``strict`` the
    variable ``TMPDIR`` names a folder that task code has for itself. ``resolve`` follows links.
    """
    level = Level(settings.isolation.level)
    paths = _own(settings, installation, resolve)
    if code.venv_dir and not code.venv_dir.is_relative_to(code.folder):
        paths[resolve(code.venv_dir)] = Access.READ
    opened = {resolve(path): Access.FULL for path in (code.folder, *(settings.isolation.task_paths or ()))}
    if level is Level.STRICT:
        return Places(_strict(paths, opened, code, resolve), {})
    temporary = [*TEMPORARY, *(Path(value) for value in [code.env.get("TMPDIR", "")] if value)]
    left = _in_any(paths, list(map(resolve, temporary)))
    paths = {path: access for path, access in paths.items() if path not in left}
    reason = "it lies in a folder of temporary files, where task code makes its own"
    return Places(Domain({**paths, **opened}), dict.fromkeys(left, reason))


def tool_domain(
    settings: Settings,
    opened: Mapping[Path, Access],
    installation: Mapping[Path, Access],
    resolve: Callable[[Path], Path],
) -> Domain:
    """The domain of a program that deploys: of what is the worker's own it reaches what is ``opened``.

    What builds packages is not known beforehand, so the rest of the machine is open at every level. It is
    given a folder of temporary files, so what is the worker's own is closed also where such files are.
    """
    mine = {resolve(path): access for path, access in opened.items()}
    return Domain({**_own(settings, installation, resolve), **mine})


def _own(
    settings: Settings, installation: Mapping[Path, Access], resolve: Callable[[Path], Path]
) -> dict[Path, Access]:
    """What is the worker's own, with the access that others have to it."""
    closed = [settings.deployment.dir, *settings.isolation.secret_files]
    closed += [path for path in (settings.worker.state_dir, settings.git.ssh_key) if path]
    if key := settings.redis.key_file or settings.redis.cert_file:
        closed.append(key)
    paths = {resolve(path): access for path, access in installation.items()}
    return paths | {resolve(path): Access.NONE for path in closed}


def _strict(
    own: Mapping[Path, Access],
    opened: Mapping[Path, Access],
    code: Code,
    resolve: Callable[[Path], Path],
) -> Domain:
    paths = {resolve(path): access for path, access in _SYSTEM.items()}
    # Of an environment the interpreter that it was made from, wherever that is.
    paths[resolve(code.python).parents[1]] = Access.READ
    for name in ("HOME", "TMPDIR", *_CACHES):
        # Not a HOME of "/", as a user without a name has.
        if len(Path(code.env.get(name, "")).parts) > 1:
            paths[resolve(Path(code.env[name]))] = Access.FULL
    return Domain({**paths, **own, **opened}, elsewhere=Access.NONE)


def _in_any(paths: Iterable[Path], folders: Iterable[Path]) -> list[Path]:
    folders = list(folders)
    return [path for path in paths if any(path.is_relative_to(folder) for folder in folders)]
