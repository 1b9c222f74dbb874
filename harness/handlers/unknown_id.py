"""Answers a task that nobody sent before each that somebody did.

Outcome: tasks are completed; the other answers are ignored, counted and logged once.
"""

import os

import raw


def main() -> None:
    raw.ready()
    for task in raw.tasks():
        raw.say(task_id="nobody-sent-this", result="stray")
        raw.answer(task, os.getpid())


if __name__ == "__main__":
    main()
