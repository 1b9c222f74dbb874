"""``runqy-harness result``: what became of a task, as JSON and as an exit status."""

import http.client
import json
import time

from runqy_python.client import RunqyError, TaskNotFoundError

from harness.dev.enqueue import print_end
from harness.failure import CommandFailed
from harness.sandbox.client import Client

COMPLETED, TASK_FAILED, UNKNOWN, NOT_OVER = 0, 3, 4, 5
_STATUSES = {"completed": COMPLETED, "archived": TASK_FAILED, "gone": UNKNOWN}


def run(server: str, key: str, task_id: str, wait_s: float) -> int:
    """Wait for the task's end and print it; returns one of the statuses above.

    Raises :class:`~harness.failure.CommandFailed` where the server cannot be used.
    """
    deadline = time.monotonic() + wait_s
    client = Client(server, key)
    try:
        queue = client.get_task(task_id).queue
    except TaskNotFoundError:
        unknown = {"task_id": task_id, "state": "unknown", "result": None, "error": "no such task"}
        print(json.dumps(unknown), flush=True)
        return UNKNOWN
    except (RunqyError, http.client.HTTPException, OSError, ValueError) as exc:
        raise CommandFailed(f"{server}: {exc}") from exc
    return _STATUSES.get(print_end(client, queue, task_id, deadline), NOT_OVER)
