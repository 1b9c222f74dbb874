"""Cannot load its model: @load raises, the SDK says so, the process ends.

Outcome: failed starts; the reason is in the log and the crash dossier; tasks wait.
"""

import diary
from runqy_python import load, run, task


@load
def setup():
    raise RuntimeError("no model in this handler")


@task
@diary.kept
def handle(payload: dict, context: dict) -> dict:
    return {"echo": payload}


if __name__ == "__main__":
    run()
