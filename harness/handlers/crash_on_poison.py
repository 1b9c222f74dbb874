"""Dies at {"poison": true}; with {"once": "/path"} too, only the first time. Anything else is echoed.

The file at /path is what remembers.

HANDLER_DEATH: an exit status or a signal (default SIGSEGV).

Outcome: crashes; the poisoned task is retried, one retry each time, and archived when none are left.
"""

import os

import diary
import settings
from runqy_python import run, task

HOW = settings.death("HANDLER_DEATH", "SIGSEGV")


def poisoned(payload: dict) -> bool:
    if not payload.get("poison"):
        return False
    marker = payload.get("once")
    if marker is None:
        return True
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


@task
@diary.kept
def handle(payload: dict) -> dict:
    if poisoned(payload):
        diary.record("crash", handle.task_id())
        settings.die(HOW)
    return {"echo": payload, "pid": os.getpid()}


if __name__ == "__main__":
    run()
