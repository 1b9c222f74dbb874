"""Answers some tasks and never reads stdin again.

HANDLER_TASKS: how many it answers first (default 0).

Outcome: tasks sent then fail at their limit and are retried, the process is replaced; nothing else waits.
"""

import itertools
import os
import time

import raw
import settings


def main() -> None:
    count = settings.whole("HANDLER_TASKS", 0)
    raw.ready()
    for task in itertools.islice(raw.tasks(), count):
        raw.answer(task, os.getpid())
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
