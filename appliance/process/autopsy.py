"""Why a process ended, and how much memory it had: read from the system, put into words."""

import signal
from collections import deque
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


class Vitals:
    """What is watched while a process lives, for the report of its end."""

    def __init__(self) -> None:
        # The last two counts: a kill since the older of them may be this process's. A count from long ago
        # would blame this exit for a kill that hit another process of the cgroup.
        self._oom_kills: deque[int | None] = deque(maxlen=2)
        self.memory_peak_bytes: int | None = None

    def begin(self) -> None:
        """Look once before the process starts."""
        self._oom_kills.append(oom_kills())

    def sample(self, pid: int) -> None:
        """Look while it lives: afterwards its memory cannot be read any more."""
        self._oom_kills.append(oom_kills())
        peak_bytes = memory_peak_bytes(pid)
        if peak_bytes is not None:
            self.memory_peak_bytes = peak_bytes

    def exit_text(self, returncode: int) -> str:
        """Put the exit into words, and say whether the kernel killed for lack of memory."""
        before, now = self._oom_kills[0], oom_kills()
        return describe(returncode, before is not None and now is not None and now > before)


def describe(returncode: int, out_of_memory: bool) -> str:
    """Put an exit into words. ``returncode`` is negative for a signal, as :mod:`subprocess` has it."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        # A real-time signal has no name in the enumeration.
        name = f"signal {-returncode}"
    # The kernel's OOM killer sends SIGKILL; after any other signal the count rose because of another process.
    if -returncode == signal.SIGKILL and out_of_memory:
        return f"{name} (out of memory: cgroup oom_kill rose)"
    return name


def oom_kills(proc: Path = _PROC, cgroup: Path = _CGROUP) -> int | None:
    """How often the kernel killed for lack of memory in this worker's cgroup; None where that is unknown."""
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
    # Absent for a zombie: its memory is gone, and what was read before is the answer.
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
        # An empty list is cgroup v2; a machine may mount both, the old one with its controllers.
        if controllers == "":
            places = [(cgroup, "memory.events"), (cgroup / "unified", "memory.events")]
        elif "memory" in controllers.split(","):
            places = [(cgroup / "memory", "memory.oom_control")]
        else:
            continue
        # In this order: where both exist, the one with the path counts this worker alone.
        for root, name in places:
            yield root / path.lstrip("/") / name
            yield root / name
