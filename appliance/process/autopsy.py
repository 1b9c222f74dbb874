"""What a process died of, and how much memory it had: read from the system, said in words."""

import signal
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


def describe(returncode: int, out_of_memory: bool) -> str:
    """An exit in words. ``returncode`` is negative for a signal, as :mod:`subprocess` has it."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    if -returncode == signal.SIGKILL and out_of_memory:
        return f"{name} (out of memory: cgroup oom_kill rose)"
    return name


def oom_kills(proc: Path = _PROC, cgroup: Path = _CGROUP) -> int | None:
    """How often the kernel killed in this worker's cgroup for memory; None where that is not readable."""
    for path in _oom_files(proc, cgroup):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, count = line.partition(" ")
            if key == "oom_kill" and count.strip().isdigit():
                return int(count)
    return None


def memory_peak_bytes(pid: int, proc: Path = _PROC) -> int | None:
    """The largest resident size the process had so far; None once it is gone."""
    try:
        status = (proc / str(pid) / "status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def _oom_files(proc: Path, cgroup: Path) -> Iterator[Path]:
    """Where the count may stand. Inside a container the path of the cgroup is often not visible, and
    the mount's root is the cgroup itself; so each place is tried with the path and without.
    """
    try:
        memberships = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for membership in memberships:
        _, _, rest = membership.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            places = [(cgroup, "memory.events"), (cgroup / "unified", "memory.events")]
        elif "memory" in controllers.split(","):
            places = [(cgroup / "memory", "memory.oom_control")]
        else:
            continue
        for root, name in places:
            yield root / path.lstrip("/") / name
            yield root / name
