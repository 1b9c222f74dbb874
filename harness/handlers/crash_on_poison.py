"""Dies of a segmentation fault at {"poison": true}; with {"once": "/path"} too, only the first time.

The file at /path is what remembers; any other payload is echoed.
"""

import os
import signal

from runqy_python import run, task


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
def handle(payload: dict) -> dict:
    if poisoned(payload):
        os.kill(os.getpid(), signal.SIGSEGV)
    return {"echo": payload, "pid": os.getpid()}


if __name__ == "__main__":
    run()
