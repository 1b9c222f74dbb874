"""Answers a task that was never sent before each that was.

Outcome: tasks are completed; the other answers are ignored, counted and logged once.
"""

import os

import raw


def main() -> None:
    raw.ready()
    for task in raw.tasks():
        raw.say(task_id="never-sent", result="stray")
        raw.answer(task, os.getpid())


if __name__ == "__main__":
    main()
