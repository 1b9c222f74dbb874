"""Takes its time: {"seconds": 1.5}; with {"started": "/path"} it makes that file when it begins."""

import pathlib
import time

from runqy_python import run, task


@task
def handle(payload: dict) -> dict:
    if "started" in payload:
        pathlib.Path(payload["started"]).touch()
    begun = time.monotonic()
    time.sleep(payload.get("seconds", 0))
    return {"slept": time.monotonic() - begun}


if __name__ == "__main__":
    run()
