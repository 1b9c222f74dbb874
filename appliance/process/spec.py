"""What a runner is given: the program to run, and the callbacks it reports to. Pure."""

from collections.abc import Callable, Mapping
from pathlib import Path

from appliance.isolation.confinement import Confine, unconfined
from appliance.process.progress import Report
from appliance.process.protocol import MAX_LINE_BYTES
from appliance.values import value_class


@value_class
class ProcessSpec:
    """What to run: absolute ``cwd``, the whole ``env``, and the time it has to get ready and to leave.

    ``commit`` is the code's, for crash reports. ``confine`` is what the process is held to.
    ``one_task``: it is made for a single task, so that its life is routine. ``max_answer_bytes`` is the
    longest answer that is read.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    startup_timeout_s: float
    stop_grace_s: float = 5.0
    commit: str = ""
    confine: Confine = unconfined
    one_task: bool = False
    max_answer_bytes: int = MAX_LINE_BYTES


@value_class
class CrashReport:
    """An unexpected end: a start that failed, or a process that ended unasked. All text is redacted.

    ``exit`` may quote the process; ``how`` is the same in the worker's and the system's words alone.
    Also the end of a process whose tasks ``timed_out``, where it left ``stacks``: lines that say where each
    of its threads stood. ``charged_to`` is the task that the crash is charged to, empty where it counts in
    recovery.
    """

    when_wall_s: float
    exit: str
    uptime_s: float
    stderr_tail: tuple[str, ...]
    task_ids: tuple[str, ...]
    was_ready: bool
    memory_peak_bytes: int | None
    how: str
    commit: str = ""
    charged_to: str = ""
    stacks: tuple[str, ...] = ()
    timed_out: tuple[str, ...] = ()


def _ignore(*_: object) -> None:
    pass


@value_class
class Hooks:
    """The callbacks of a runner. None of them may block or raise.

    ``on_change()``: readiness or recovery changed. ``on_output(source, text, task_id)``: a line of stdout or
    stderr, redacted, and the one task that runs, None for none or several. ``on_crash(report)``: an
    unexpected end. ``redact(text)`` masks secrets. ``on_progress(task_id, report)``: a task that runs says
    how far it is.
    """

    on_change: Callable[[], None]
    on_output: Callable[[str, str, str | None], None]
    on_crash: Callable[[CrashReport], None]
    redact: Callable[[str], str]
    on_progress: Callable[[str, Report], None] = _ignore
