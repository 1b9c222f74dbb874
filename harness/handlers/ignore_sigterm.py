"""Ignores SIGTERM and SIGINT and outlives the end of stdin, but answers tasks.

Outcome: tasks are completed; a stop takes RUNQY_PROCESS_STOP_GRACE and ends in SIGKILL.
"""

import os
import signal

import diary
import raw


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: diary.record("ignored", signal=signal.Signals(number).name))
    raw.ready()
    for task in raw.tasks():
        raw.answer(task, os.getpid())
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
