"""``runqy-harness fleet``."""

import sys
from collections.abc import Sequence

from harness.bench.fleet import run as fleet_run
from harness.commands import values
from harness.commands.parser import Parser
from harness.sandbox.stack import WORKER_COMMAND


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    parser = Parser("fleet", "What workers and tasks cost Redis here, and what a thousand workers would.")
    add = parser.add_argument
    add(
        "--workers",
        type=values.whole(1, 200),
        default=20,
        metavar="N",
        help="to measure with (default: 20); each takes 100 MB with its task process",
    )
    add("--worker", type=values.command, metavar="COMMAND", help="our worker, if not this environment's")
    add("--json", type=values.new_file, metavar="FILE", help="what was measured, as JSON")
    options = parser.parse_args(arguments)
    request = fleet_run.FleetOptions(workers=options.workers, worker_command=options.worker or WORKER_COMMAND)
    return fleet_run.run(sys.stdout, request, options.json)
