"""Reads at address 0 when it gets a task: the real thing, as a C extension would do it.

Outcome: a crash by SIGSEGV; the task is retried, one retry.
"""

import ctypes

import diary
from runqy_python import run, task


@task
@diary.kept
def handle(payload: dict) -> dict:
    diary.record("crash", handle.task_id())
    return {"read": ctypes.string_at(0)}


if __name__ == "__main__":
    run()
