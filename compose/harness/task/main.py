"""A task that tells what it finds around it: its payload, its vault, its user, and what it can import.

Asked to, it also takes its time, dies, leaves an orphan, or takes more memory than there is.
"""

import importlib.util
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from runqy_python import run, task


@task
def look_around(payload: dict[str, Any]) -> dict[str, object]:
    """Answers with what it found; ``look_for`` in the payload names modules it should try to find.

    ``sleep_s`` it sleeps first, ``die`` kills it, ``orphan`` names a file for the id of a process that
    outlives its parent, ``hoard_mb`` is memory to take, which a container's limit may object to.
    """
    time.sleep(payload.get("sleep_s", 0))
    if payload.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if "orphan" in payload:
        Path(payload["orphan"]).write_text(orphan())
    _hoard = [b"x" * 10_000_000 for _ in range(payload.get("hoard_mb", 0) // 10)]
    return {
        "payload": payload,
        "greeting": os.environ.get("GREETING"),
        "uid": os.getuid(),
        "credentials": sorted(name for name in os.environ if name.startswith("RUNQY_API_KEY")),
        "importable": [name for name in payload.get("look_for", []) if importlib.util.find_spec(name)],
    }


def orphan() -> str:
    """Starts a process by way of a shell that does not wait for it, and gives its id."""
    script = "sleep 0.5 >/dev/null 2>&1 & echo $!"
    return subprocess.check_output(["sh", "-c", script], text=True)


run()
