"""Who owns what a run leaves at an engine, so that a later run can tell whether the owner is dead."""

import os
import re
import socket
from pathlib import Path

_SEPARATOR = "/"
#: Field 22 of ``/proc/PID/stat``, counted from after the name, which may contain anything.
_START_TIME = 19


def ours() -> str:
    """This process: where it is, its pid, and when it started (pids come round again)."""
    return _SEPARATOR.join((*_here(), str(os.getpid()), _started(os.getpid()) or "?"))


def is_dead(owner: str) -> bool:
    """Whether ``owner`` (from :func:`ours`) has ended for sure.

    Of processes of another machine or another container nothing is known: they are left alone.
    """
    host, boot, namespace, pid, started = (*owner.split(_SEPARATOR), "", "", "", "", "")[:5]
    our_host, our_boot, our_namespace = _here()
    if host != our_host or not re.fullmatch("[0-9]+", pid):
        return False
    if boot != our_boot:
        return True  # this machine has been started again since
    return namespace == our_namespace and _started(int(pid)) != started


def _here() -> tuple[str, str, str]:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    namespace = str(Path("/proc/self/ns/pid").readlink())
    return socket.gethostname(), boot, namespace


def _started(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[_START_TIME]
