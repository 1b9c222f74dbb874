"""``runqy-harness result``."""

from collections.abc import Sequence

from harness.commands import values
from harness.commands.parser import Parser, add_server
from harness.dev import local, result


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    local.go_round_proxies()
    parser = Parser(
        "result",
        "Wait for a task and print what became of it, as one line of JSON.",
        epilog=f"Exit status: {result.COMPLETED} completed, {result.TASK_FAILED} failed for good, "
        f"{result.UNKNOWN} no such task, "
        f"{result.NOT_OVER} not over in time; 1 where the server could not be asked.",
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
    return result.run(options.server, options.key, options.task_id, options.wait_timeout)
