"""``runqy-harness watch``."""

import sys
from collections.abc import Sequence

from harness.commands import values
from harness.commands.parser import Parser, add_server
from harness.dev import watch
from harness.http_client import http_client


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    parser = Parser(
        "watch",
        "Watch a server that `serve` started: its workers, its queues, and tasks as they end; until Ctrl-C.",
        epilog=f"Exit status: {watch.DONE}; {watch.NOT_EMPTY} where --for was over before --until-empty came "
        "true; 1 where the server could not be asked.",
    )
    add_server(parser)
    parser.add_argument("--for", dest="for_s", type=values.whole(1), metavar="SECONDS", help="not longer")
    parser.add_argument("--until-empty", action="store_true", help="until no task waits or runs")
    parser.add_argument("--plain", action="store_true", help="lines, on a terminal too")
    options = parser.parse_args(arguments)
    out = watch.Screen(sys.stdout) if sys.stdout.isatty() and not options.plain else watch.Lines(sys.stdout)
    with http_client(
        options.server, headers={"Authorization": f"Bearer {options.key}"}, timeout=10
    ) as client:
        return watch.run(watch.Server(client), out, options.for_s, options.until_empty)
