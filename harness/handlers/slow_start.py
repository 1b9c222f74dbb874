"""Needs START_SECONDS (a variable, from a vault say; 2 without it) before it is ready."""

import os
import time

from runqy_python import load, run, task


@load
def setup():
    time.sleep(float(os.environ.get("START_SECONDS", "2")))
    return {}


@task
def handle(payload: dict, context: dict) -> dict:
    return {"echo": payload}


if __name__ == "__main__":
    run()
