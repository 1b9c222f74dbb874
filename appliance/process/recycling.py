"""When a process that works well is replaced nevertheless, and how much memory there is for two."""

from pathlib import Path

import psutil

from appliance.config.settings import ProcessSettings

#: Seconds between looks at a process's memory.
LOOK_S = 2.0
#: Seconds until the next attempt, after a standby that did not become ready.
AGAIN_S = 60.0

_CGROUP = Path("/sys/fs/cgroup")
#: A process that is gone, and a /proc that cannot be opened: no descriptor is left, or it is not there.
_UNREADABLE = (psutil.Error, OSError)


class Age:
    """How old one process is, in tasks and in memory; times are monotonic seconds."""

    def __init__(self, settings: ProcessSettings) -> None:
        self._settings = settings
        self._tasks = 0
        self._not_before_s = 0.0

    @property
    def watches_memory(self) -> bool:
        """Whether its memory has a limit."""
        return self._settings.max_memory_bytes > 0

    def renewed(self) -> None:
        """Another process is at work now."""
        self._tasks = 0

    def answered(self) -> None:
        """It has answered one more task."""
        self._tasks += 1

    def postpone(self, now_s: float) -> None:
        """It could not be replaced: leave it at work for :data:`AGAIN_S`."""
        self._not_before_s = now_s + AGAIN_S

    def too_old(self, now_s: float, memory_bytes: int = 0) -> str | None:
        """Return why it is to be replaced, or None."""
        # A standby that cannot start would otherwise be tried again after every answer.
        if now_s < self._not_before_s:
            return None
        tasks, most_bytes = self._settings.max_tasks, self._settings.max_memory_bytes
        if 0 < tasks <= self._tasks:
            return f"it has worked off {self._tasks} tasks"
        if 0 < most_bytes < memory_bytes:
            return f"it holds {memory_bytes / 2**20:.0f} MiB"
        return None


def memory_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; shared pages count for each. 0 once it is gone."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except _UNREADABLE:
        return 0
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except _UNREADABLE:
            continue  # it ended since the list was made
    return total


def lack_of_memory(pid: int) -> str | None:
    """Return why a process beside ``pid`` would not fit into memory (it may need as much), or None."""
    held, free = memory_bytes(pid), free_bytes()
    if free > held:
        return None
    return (
        f"no memory for two processes: the one at work holds {held / 2**20:.0f} MiB, "
        f"{free / 2**20:.0f} MiB are free"
    )


def free_bytes(cgroup: Path = _CGROUP) -> int:
    """Memory that may still be taken: the machine's, or what the container leaves; 0 where unknown."""
    try:
        free = psutil.virtual_memory().available
    except OSError:
        return 0
    # Both generations of cgroups: which one holds the limit depends on the machine.
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            left = int((cgroup / limit).read_text()) - int((cgroup / used).read_text())
        except (OSError, ValueError):
            continue  # no such file, or "max"
        free = min(free, left)
    return max(0, free)
