"""Answers with what it got: the smallest handler there is.

Outcome: tasks are completed; the result has the payload and the pid.
"""

import os

import diary
from runqy_python import load, run, task


@load
def setup():
    return {"pid": os.getpid()}


@task
@diary.kept
def handle(payload: dict, context: dict) -> dict:
    return {"echo": payload, "pid": context["pid"]}


if __name__ == "__main__":
    run()
