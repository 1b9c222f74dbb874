"""Answers some tasks and dies right after the last of them, with none in hand.

HANDLER_TASKS: how many each process answers, 1 or more (default 3).
HANDLER_DEATH: an exit status or a signal (default 1).

Outcome: crashes; the tasks answered are completed, one sent meanwhile is retried.
"""

import os

import diary
import raw
import settings


def main() -> None:
    count = settings.whole("HANDLER_TASKS", 3, least=1)
    how = settings.death("HANDLER_DEATH", "1")
    raw.ready()
    for number, task in enumerate(raw.tasks(), 1):
        raw.answer(task, os.getpid())
        if number == count:
            diary.record("crash")
            settings.die(how)


if __name__ == "__main__":
    main()
