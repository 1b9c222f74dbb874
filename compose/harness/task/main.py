"""A task that tells what it finds around it: its payload, its vault, its user, and whose packages it sees."""

import importlib.util
import os

from runqy_python import run, task

NOT_FOR_TASKS = ("appliance", "gevent", "redis", "structlog")


@task
def look_around(payload: dict[str, object]) -> dict[str, object]:
    """Answers with what it found."""
    return {
        "payload": payload,
        "greeting": os.environ.get("GREETING"),
        "uid": os.getuid(),
        "credentials": sorted(name for name in os.environ if name.startswith("RUNQY_API_KEY")),
        "packages_of_the_worker": [name for name in NOT_FOR_TASKS if importlib.util.find_spec(name)],
    }


run()
