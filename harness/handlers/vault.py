"""Shows vault entries without telling them: {"name": "API_TOKEN"}, or {"names": ["A", "B"]}.

Outcome: tasks are completed; the result has whether a variable is there, and how its SHA-256 begins.
"""

import hashlib
import os

import diary
from runqy_python import run, task


@task
@diary.kept
def handle(payload: dict) -> dict:
    if "names" in payload:
        return {name: look(name) for name in payload["names"]}
    return look(payload["name"])


def look(name: str) -> dict:
    value = os.environ.get(name)
    if value is None:
        return {"present": False}
    return {"present": True, "sha256": hashlib.sha256(value.encode()).hexdigest()[:12]}


if __name__ == "__main__":
    run()
