"""Answers with what it got: the smallest handler there is."""

import os

from runqy_python import load, run, task


@load
def setup():
    return {"pid": os.getpid()}


@task
def handle(payload: dict, context: dict) -> dict:
    return {"echo": payload, "pid": context["pid"]}


if __name__ == "__main__":
    run()
