"""Prints many short lines on both streams before each answer.

HANDLER_LINES: how many on each (default 2000).

Outcome: tasks are completed; the lines delay no other answer.
"""

import os
import sys

import raw
import settings


def main() -> None:
    lines = settings.whole("HANDLER_LINES", 2000, least=1)
    raw.ready()
    for task in raw.tasks():
        for number in range(lines):
            print("line", number)
            print("line", number, file=sys.stderr)
        raw.answer(task, os.getpid())


if __name__ == "__main__":
    main()
