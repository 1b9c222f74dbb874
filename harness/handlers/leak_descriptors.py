"""Opens files with every task and closes none.

HANDLER_DESCRIPTORS: how many (default 10).
HANDLER_LIMIT: how many it may have, its RLIMIT_NOFILE (default 256).

Outcome: tasks are completed until there are no descriptors left, and fail from then on; a process that is
recycled (RUNQY_MAX_TASKS_PER_CHILD) begins again.
"""

import os
import resource

import diary
import settings
from runqy_python import run, task

DESCRIPTORS = settings.whole("HANDLER_DESCRIPTORS", 10, least=1)
LIMIT = settings.whole("HANDLER_LIMIT", 256, least=16)
hoard = []


@task
@diary.kept
def handle(payload: dict) -> dict:
    for _ in range(DESCRIPTORS):
        hoard.append(os.open(os.devnull, os.O_RDONLY))
    return {"pid": os.getpid(), "open": len(hoard)}


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT if hard < 0 else min(LIMIT, hard), hard))
    run()
