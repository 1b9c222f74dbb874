"""What isolation has to know of the machine: the kernel, the worker's own program, temporary folders."""

import os
import re
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from appliance.isolation import landlock, seccomp
from appliance.isolation.domain import Access
from appliance.isolation.report import Kernel
from appliance.removal import remove_folder

#: The beginning of the names of folders of temporary files; a process id and the parent queue follow.
_PREFIX = "runqy-task-"
_OF_THE_SYSTEM = (Path("/usr"), Path("/usr/local"))


def kernel() -> Kernel:
    """What this machine's kernel offers."""
    return Kernel(landlock.version(), seccomp.available())


def resolve(path: Path) -> Path:
    """``path`` absolute, without links; what is not there yet stays as it is."""
    return Path(os.path.realpath(path.expanduser()))


def installation() -> Mapping[Path, Access]:
    """What the worker's own program is made of, and what lies inside of it and is not its own.

    Not an interpreter of the system's: it is root's, and what runs as root changes other programs as easily.
    """
    own = [Path(__file__).parents[1]]
    if sys.prefix == sys.base_prefix:
        scripts = Path(sysconfig.get_path("scripts"), "runqy-appliance")
        return dict.fromkeys([*own, Path(sysconfig.get_path("purelib")), scripts], Access.READ)
    own.append(Path(sys.prefix))
    base = Path(sys.base_prefix)
    if base in _OF_THE_SYSTEM:
        return dict.fromkeys(own, Access.READ)
    # The packages of the interpreter that the worker's environment was made from: it does not load them.
    packages = Path(sysconfig.get_path("stdlib"), "site-packages")
    return {**dict.fromkeys([*own, base], Access.READ), packages: Access.FULL}


def make_temporary_folder(parent: str) -> Path:
    """A new folder of temporary files for the parent queue's task processes; raises OSError."""
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-{parent}-"))


def sweep_temporary_folders() -> None:
    """Remove those that workers left behind which are gone, and this worker's."""
    pattern = re.compile(rf"{_PREFIX}(\d+)-.*")
    for folder in Path(tempfile.gettempdir()).iterdir():
        found = pattern.fullmatch(folder.name)
        if found is None or folder.is_symlink() or not folder.is_dir():
            continue
        with suppress(OSError):
            if folder.stat().st_uid == os.geteuid() and _is_over(int(found[1])):
                remove_folder(folder)


def _is_over(pid: int) -> bool:
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
