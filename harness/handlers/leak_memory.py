"""Keeps some memory of every task.

HANDLER_MEGABYTES: how much (default 10).

Outcome: tasks are completed; with RUNQY_MAX_CHILD_MEMORY the process is recycled.
"""

import os

import diary
import settings
from runqy_python import run, task

MEGABYTES = settings.whole("HANDLER_MEGABYTES", 10, least=1)
hoard = []


@task
@diary.kept
def handle(payload: dict) -> dict:
    hoard.append(b"x" * (MEGABYTES * 2**20))
    return {"pid": os.getpid(), "megabytes": len(hoard) * MEGABYTES}


if __name__ == "__main__":
    run()
