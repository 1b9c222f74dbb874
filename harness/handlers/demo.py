"""What `runqy-harness demo` deploys: an echo, a look at a vault, and one way to die.

{"say": …} is echoed. {"vault": "NAME"} shows that the vault's variable is there, not what it is.
{"poison": true, "once": "/path"} kills the process the first time; the retry gets an answer.
{"sleep": 1.5} takes its time and touches {"begun": "/path"} first.

Outcome: tasks are completed, the poisoned one at its retry.
"""

import hashlib
import os
import signal
import time

import diary
from runqy_python import load, run, task


@load
def setup():
    return {"pid": os.getpid(), "started_at": time.time()}


@task
@diary.kept
def handle(payload: dict, process: dict) -> dict:
    if payload.get("poison") and not os.path.exists(payload["once"]):
        with open(payload["once"], "w") as marker:
            marker.write(repr(time.time()))
        os.kill(os.getpid(), signal.SIGSEGV)
    if "vault" in payload:
        value = os.environ.get(payload["vault"], "")
        return {"sha256": hashlib.sha256(value.encode()).hexdigest(), **process}
    if "sleep" in payload:
        open(payload["begun"], "w").close()
        time.sleep(payload["sleep"])
    return {"echo": payload, **process}


if __name__ == "__main__":
    run()
