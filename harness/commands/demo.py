"""``runqy-harness demo``."""

import sys
from collections.abc import Sequence

from harness.commands import values
from harness.commands.parser import Parser
from harness.dev import demo
from harness.sandbox.source import Handler


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    parser = Parser("demo", "A worker from nothing to results: needs git and Python, ends by itself.")
    parser.add_argument(
        "--worker",
        type=values.command,
        metavar="COMMAND",
        help="the worker to show, as a shell would split it; default: this project's",
    )
    parser.add_argument(
        "--handler",
        type=values.handler,
        default=Handler("demo"),
        metavar="NAME",
        help="the example handler that is deployed; any but demo tells another story (default: demo)",
    )
    options = parser.parse_args(arguments)
    return demo.run(sys.stdout, worker_command=options.worker, handler=options.handler.name)
