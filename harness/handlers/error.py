"""Fails as told: {"retry": true} asks for a retry, {"message": "…"} says why; {"fail": false} succeeds.

Outcome: the task is retried, or archived: see the table of what ends a task.
"""

import diary
from runqy_python import RetryableError, run, task


@task
@diary.kept
def handle(payload: dict) -> dict:
    if not payload.get("fail", True):
        return {"echo": payload}
    message = payload.get("message", "as told")
    raise RetryableError(message) if payload.get("retry") else ValueError(message)


if __name__ == "__main__":
    run()
