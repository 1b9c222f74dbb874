"""When a task process counts as hanging: long before any other limit, so that a hang costs seconds. Pure."""


class Hangs(Exception):
    """The task process neither answered nor ended; the message says how long that was."""


class TaskWatch:
    """Of tasks that are to end: raises :class:`Hangs` where none does for ``longest_s``.

    Only time counts in which a process has one of them: a start or a busy worker is no hang.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._left: int | None = None
        self._worked_s = 0.0
        self._looked_s: float | None = None

    def look(self, now_s: float, left: int, *, at_work: bool) -> None:
        """Take note of how many tasks are ``left`` and whether a process has one of them."""
        if left != self._left:
            self._left, self._worked_s = left, 0.0
        elif at_work and self._looked_s is not None:
            self._worked_s += now_s - self._looked_s
        self._looked_s = now_s if at_work else None
        if left and self._worked_s > self._longest_s:
            raise Hangs(f"the task neither ended nor failed within {self._longest_s:g} s")


class StartWatch:
    """Of a process that is to become ready: raises :class:`Hangs` where it does nothing for ``idle_s``.

    ``busy`` is how much it has done so far (processor time, bytes read and written), None where that cannot
    be seen: then its start takes as long as its own limit says.
    """

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._busy: object = None
        self._since_s = 0.0

    def look(self, now_s: float, busy: object) -> None:
        """Take note of ``busy``."""
        if busy is None or busy != self._busy:
            self._busy, self._since_s = busy, now_s
        elif now_s - self._since_s > self._idle_s:
            raise Hangs(f"it did nothing for {self._idle_s:g} s and did not say that it is ready")
