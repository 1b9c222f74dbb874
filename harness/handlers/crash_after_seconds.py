"""Dies so long after its start, whatever it is doing then.

Until then it echoes; {"seconds": 5} takes that long.

HANDLER_SECONDS: how long (default 1).
HANDLER_DEATH: an exit status or a signal (default SIGKILL).

Outcome: crashes; a task it was running is retried, one retry.
"""

import threading
import time

import diary
import settings
from runqy_python import load, run, task

SECONDS = settings.seconds("HANDLER_SECONDS", 1)
HOW = settings.death("HANDLER_DEATH", "SIGKILL")


def crash():
    diary.record("crash")
    settings.die(HOW)


@load
def setup():
    timer = threading.Timer(SECONDS, crash)
    timer.daemon = True
    timer.start()


@task
@diary.kept
def handle(payload: dict) -> dict:
    time.sleep(payload.get("seconds", 0))
    return {"echo": payload}


if __name__ == "__main__":
    run()
