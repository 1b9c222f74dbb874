"""A process per task, for queues of mode one_shot; answers with its pid, which is another one each time.

Outcome: tasks are completed, each in its own process.
"""

import os

import diary
from runqy_python import run_once, task


@task
@diary.kept
def handle(payload: dict) -> dict:
    return {"echo": payload, "pid": os.getpid()}


if __name__ == "__main__":
    run_once()
