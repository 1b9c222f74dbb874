"""Loads for a while before it is ready.

HANDLER_SECONDS: how long (default 2).

Outcome: tasks wait for it and are completed; where the start-up limit is shorter, failed starts.
"""

import time

import diary
import settings
from runqy_python import load, run, task

SECONDS = settings.seconds("HANDLER_SECONDS", 2)


@load
def setup():
    time.sleep(SECONDS)
    return {}


@task
@diary.kept
def handle(payload: dict, context: dict) -> dict:
    return {"echo": payload}


if __name__ == "__main__":
    run()
