"""A process per task; answers with its pid, which is another one each time."""

import os

from runqy_python import run_once, task


@task
def handle(payload: dict) -> dict:
    return {"echo": payload, "pid": os.getpid()}


if __name__ == "__main__":
    run_once()
