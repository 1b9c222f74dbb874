"""Answers without a line break, and exits.

HANDLER_DEATH: an exit status or a signal (default 0).

Outcome: the task is completed; the exit is a crash.
"""

import json
import os

import diary
import raw
import settings


def main() -> None:
    how = settings.death("HANDLER_DEATH", "0")
    raw.ready()
    for task in raw.tasks():
        diary.record("end", task["task_id"])
        raw.write(json.dumps({"task_id": task["task_id"], "result": os.getpid()}).encode())
        settings.die(how)


if __name__ == "__main__":
    main()
