"""``runqy-harness soak``."""

import sys
from collections.abc import Sequence

from harness.commands import values
from harness.commands.parser import Parser
from harness.sandbox.stack import WORKER_COMMAND
from harness.soak import run as soak_run


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    parser = Parser(
        "soak",
        "A worker under a steady load: its memory, descriptors, greenlets and threads and the keys in Redis "
        "over time. Exit status 1 says that one of them grows.",
    )
    add = parser.add_argument
    add("--duration", type=values.seconds, default=1800.0, metavar="TIME", help="such as 30m (default: 30m)")
    rates = values.whole(1, 10_000)
    add("--rate", type=rates, default=100, metavar="N", help="tasks a second (default: 100)")
    add("--worker", type=values.command, metavar="COMMAND", help="our worker, if not this environment's")
    add("--json", type=values.new_file, metavar="FILE", help="every look, as JSON")
    options = parser.parse_args(arguments)
    request = soak_run.SoakOptions(
        duration_s=options.duration, rate=options.rate, worker_command=options.worker or WORKER_COMMAND
    )
    return soak_run.run(sys.stdout, request, options.json)
