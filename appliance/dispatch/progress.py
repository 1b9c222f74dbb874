"""The progress of tasks on its way into Redis: off the path of tasks, and at most so much of it.

What a task says last counts: it is written at once where it is the first word for a while, and then at most
once in :data:`EVERY_S`. Of tasks that say nothing there is nothing here, and the loop sleeps.
"""

from collections.abc import Callable

import structlog

from appliance.clock import Clock
from appliance.dispatch.run import Run
from appliance.errors import QueueError, QueueUnavailable
from appliance.event import Event
from appliance.observe.pulse import Pulse
from appliance.process.progress import Report
from appliance.queue.message import Lease
from appliance.queue.progress import ProgressStore

log = structlog.get_logger()

#: Seconds between two writes, and the most tasks whose progress waits for one; beyond, the oldest word goes.
EVERY_S = 1.0
MOST_WAITING = 500


class Progress:
    """That of one dispatcher's tasks; ``find`` returns the run of a task that is here."""

    def __init__(
        self,
        store: ProgressStore,
        find: Callable[[str], Run | None],
        redact: Callable[[str], str],
        clock: Clock,
    ) -> None:
        self._store = store
        self._find = find
        self._redact = redact
        self._clock = clock
        self._latest: dict[Lease, str] = {}
        self._noted = Event()
        self._complained: set[str] = set()

    def note(self, task_id: str, report: Report) -> None:
        """Take in what a task says; never waits."""
        run = self._find(task_id)
        if run is None:
            return
        # The line was masked; a secret that was spelled with escapes is one again by now.
        secret = self._redact(report.value) != report.value
        if report.refused or secret:
            why = "it holds a secret" if secret else report.refused
            self._complain("progress.not_kept", task_id=task_id, reason=why)
            return
        # The lease of now: when it is written the task may have ended, and another attempt begun.
        lease = run.task.lease
        self._latest.pop(lease, None)
        self._latest[lease] = report.value
        if len(self._latest) > MOST_WAITING:
            del self._latest[next(iter(self._latest))]
        self._noted.set()

    def run(self, pulse: Pulse) -> None:
        """Write whenever there is something, until killed."""
        while True:
            pulse.rest(None)
            self._noted.wait()
            pulse.begin()
            self.tick()
            pulse.rest(EVERY_S)
            self._clock.sleep(EVERY_S)

    def tick(self) -> None:
        """Write what there is; while Redis is unavailable it waits, and newer words take its place."""
        self._noted.clear()
        written = dict(self._latest)
        try:
            self._store.write(written)
        except QueueUnavailable:
            # The loops of upkeep say so.
            self._noted.set()
            return
        except QueueError as exc:
            self._complain("progress.refused", error=str(exc))
        for lease, value in written.items():
            if self._latest.get(lease) == value:
                del self._latest[lease]

    def _complain(self, event: str, **fields: str) -> None:
        """Once: task code that is wrong is wrong with each task."""
        if event not in self._complained:
            self._complained.add(event)
            log.warning(event, **fields)
