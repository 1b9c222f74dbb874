"""Allocates memory when it gets a task until it is killed; {"allocate": false} is echoed.

HANDLER_MEGABYTES: where it was not killed by then it does so itself, as the kernel would, so that a machine
without a limit survives; set it above a container's limit to meet the real killer (default 256).

Outcome: crashes by SIGKILL; the task is retried, one retry, and archived when none are left.
"""

import signal

import diary
import settings
from runqy_python import run, task

MEGABYTES = settings.whole("HANDLER_MEGABYTES", 256, least=1)


@task
@diary.kept
def handle(payload: dict) -> dict:
    if not payload.get("allocate", True):
        return {"echo": payload}
    hoard = []
    while len(hoard) < MEGABYTES:
        # Not zeroes: those would be the same page, mapped again and again.
        hoard.append(b"x" * 2**20)
    diary.record("crash", handle.task_id())
    settings.die(signal.SIGKILL)


if __name__ == "__main__":
    run()
