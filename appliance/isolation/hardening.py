"""What the worker does to itself, so that even a kernel without Landlock keeps task code out of it."""

import ctypes
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from appliance.isolation.report import Protection

_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36
#: Capabilities that let a process look into every other one, whatever its domain says; see capabilities(7).
_SEES_ALL = {19: "CAP_SYS_PTRACE", 21: "CAP_SYS_ADMIN", 38: "CAP_PERFMON"}

_SHOWN = (
    "a secret stands in the environment of process 1, where task code of the same user can read it: hand it "
    "in as a file (RUNQY_API_KEY_FILE and the like), or start the image without another process 1 "
    "(docker run --init, Compose's init: true, a shared process namespace)"
)


def hide() -> bool:
    """Close this process to others of its user: memory, environment, descriptors, ``ptrace``, core dumps."""
    return _prctl(_PR_SET_DUMPABLE, 0)


def adopt() -> bool:
    """Become the parent of descendants whose own parent ends, in place of the process with the id 1."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def harden(secrets: Iterable[str]) -> Mapping[Protection, str]:
    """Hide this process, and look what else stands against a protection; ``secrets`` is what to look for."""
    lacking = {}
    if not hide():
        lacking[Protection.WORKER] = "the kernel refuses"
    if seen := [name for bit, name in _SEES_ALL.items() if _capabilities() & 1 << bit]:
        lacking[Protection.PROCESSES] = f"the worker, and task code with it, has {', '.join(seen)}"
    if _shows(Path("/proc/1/environ"), secrets):
        lacking[Protection.INIT] = _SHOWN
    return lacking


def _capabilities(status: Path = Path("/proc/self/status")) -> int:
    """What this process may do beyond others, by the kernel's numbers; what it starts may do the same."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)


def _shows(environ: Path, secrets: Iterable[str]) -> bool:
    # The worker may be that process: then it is hidden already.
    if os.getpid() == 1:
        return False
    try:
        content = environ.read_bytes()
    except OSError:
        return False
    return any(secret.encode() in content for secret in secrets if secret)


def _prctl(option: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    return int(ctypes.CDLL(None).prctl(option, value, 0, 0, 0)) == 0
