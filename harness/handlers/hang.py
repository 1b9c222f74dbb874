"""Never answers, and does not stop at the SDK's request to; {"hang": false} is echoed.

Outcome: a task with a limit fails at it and is retried, the process is replaced; without a limit it runs on.
"""

import time

import diary
from runqy_python import run, task


@task
@diary.kept
def handle(payload: dict) -> dict:
    while payload.get("hang", True):
        time.sleep(3600)
    return {"echo": payload}


if __name__ == "__main__":
    run()
