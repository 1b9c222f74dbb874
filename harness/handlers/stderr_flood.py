"""Writes many megabytes without a line break on stderr before each answer.

HANDLER_MEGABYTES: how many (default 20).

Outcome: tasks are completed; the text goes by in pieces.
"""

import os
import sys

import diary
import settings
from runqy_python import run, task

MEGABYTES = settings.whole("HANDLER_MEGABYTES", 20, least=1)


@task
@diary.kept
def handle(payload: dict) -> dict:
    for _ in range(MEGABYTES):
        sys.stderr.write("x" * 2**20)
    sys.stderr.flush()
    return {"pid": os.getpid()}


if __name__ == "__main__":
    run()
