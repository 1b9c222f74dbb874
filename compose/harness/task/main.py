"""A task that tells what it finds around it: its payload, its vault, its user, and what it can import."""

import importlib.util
import os

from runqy_python import run, task


@task
def look_around(payload: dict[str, list[str]]) -> dict[str, object]:
    """Answers with what it found; ``look_for`` in the payload names modules it should try to find."""
    return {
        "payload": payload,
        "greeting": os.environ.get("GREETING"),
        "uid": os.getuid(),
        "credentials": sorted(name for name in os.environ if name.startswith("RUNQY_API_KEY")),
        "importable": [name for name in payload.get("look_for", []) if importlib.util.find_spec(name)],
    }


run()
