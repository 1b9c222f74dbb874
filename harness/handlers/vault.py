"""Says whether a vault's variable is there, and shows it without telling it: {"name": "API_TOKEN"}."""

import hashlib
import os

from runqy_python import run, task


@task
def handle(payload: dict) -> dict:
    value = os.environ.get(payload["name"])
    if value is None:
        return {"present": False}
    return {"present": True, "sha256": hashlib.sha256(value.encode()).hexdigest()[:12]}


if __name__ == "__main__":
    run()
