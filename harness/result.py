"""``runqy-harness result``: what became of a task, as JSON and as an exit status."""

import http.client
import json
import time
from collections.abc import Sequence

from runqy_python import RunqyClient
from runqy_python.client import RunqyError, TaskNotFoundError

from harness import values
from harness.enqueue import print_end
from harness.failure import CommandFailed
from harness.parser import Parser, add_server

COMPLETED, TASK_FAILED, UNKNOWN, NOT_OVER = 0, 3, 4, 5
_STATUSES = {"completed": COMPLETED, "archived": TASK_FAILED, "gone": UNKNOWN}


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks for; returns the exit status."""
    parser = Parser(
        "result",
        "Wait for a task and print what became of it, as one line of JSON.",
        epilog=f"Exit status: {COMPLETED} completed, {TASK_FAILED} failed for good, {UNKNOWN} no such task, "
        f"{NOT_OVER} not over in time; 1 where the server could not be asked.",
    )
    parser.add_argument("task_id", metavar="TASK_ID", help="as `enqueue` prints it")
    add_server(parser)
    parser.add_argument(
        "--wait-timeout",
        type=values.whole(0),
        default=600,
        metavar="SECONDS",
        help="how long to wait; 0 looks once (default: 600)",
    )
    options = parser.parse_args(arguments)
    if not options.task_id.strip() or "/" in options.task_id:
        parser.error(f"TASK_ID {options.task_id!r}: expected the id of a task")
    return run(options.server, options.key, options.task_id, options.wait_timeout)


def run(server: str, key: str, task_id: str, wait_s: float) -> int:
    """Wait for the task's end and print it; returns one of the statuses above.

    Raises :class:`~harness.failure.CommandFailed` where the server cannot be used.
    """
    deadline = time.monotonic() + wait_s
    client = RunqyClient(server, key)
    try:
        queue = client.get_task(task_id).queue
    except TaskNotFoundError:
        unknown = {"task_id": task_id, "state": "unknown", "result": None, "error": "no such task"}
        print(json.dumps(unknown), flush=True)
        return UNKNOWN
    except (RunqyError, http.client.HTTPException, OSError, ValueError) as exc:
        raise CommandFailed(f"{server}: {exc}") from exc
    return _STATUSES.get(print_end(client, queue, task_id, deadline), NOT_OVER)
