"""Takes its time: {"seconds": 1.5}; with {"started": "/path"} it makes that file when it begins.

HANDLER_SECONDS: for a payload that does not say (default 0).

Outcome: tasks are completed; the result has the seconds it slept.
"""

import pathlib
import time

import diary
import settings
from runqy_python import run, task

SECONDS = settings.seconds("HANDLER_SECONDS", 0)


@task
@diary.kept
def handle(payload: dict) -> dict:
    if "started" in payload:
        pathlib.Path(payload["started"]).touch()
    begun = time.monotonic()
    time.sleep(payload.get("seconds", SECONDS))
    return {"slept": time.monotonic() - begun}


if __name__ == "__main__":
    run()
