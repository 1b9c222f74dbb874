"""``runqy-harness enqueue``."""

import sys
from collections.abc import Sequence

from harness.commands import values
from harness.commands.parser import Parser, add_server
from harness.dev import enqueue, local


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    local.go_round_proxies()
    parser = Parser(
        "enqueue", "Send tasks with the runqy SDK's client and print their ids, or what became of them."
    )
    parser.add_argument(
        "payload",
        type=str,
        metavar="PAYLOAD",
        help="the task's JSON object; - reads one object a line from stdin",
    )
    parser.add_argument("--queue", required=True, metavar="QUEUE", help="inference, or inference.high")
    add_server(parser)
    parser.add_argument(
        "--count", type=values.whole(1), default=1, metavar="N", help="send each payload N times"
    )
    parser.add_argument(
        "--timeout",
        type=values.whole(0),
        default=300,
        metavar="SECONDS",
        help="for a task (default: 300)",
    )
    parser.add_argument(
        "--wait",
        action="store_true",
        help="print results, a JSON line each; 1 if one failed; waits for a server that is about to start",
    )
    parser.add_argument(
        "--wait-timeout",
        type=values.whole(1),
        default=600,
        metavar="SECONDS",
        help="how long --wait waits for all of them (default: 600)",
    )
    options = parser.parse_intermixed_args(arguments)
    lines = sys.stdin if options.payload == "-" else [options.payload]
    try:
        payloads = [values.json_object(line) for line in lines if line.strip()] * options.count
    except ValueError as exc:
        parser.error(f"PAYLOAD {exc}")
    if not payloads:
        parser.error(f"PAYLOAD {options.payload!r}: expected a JSON object, got nothing")
    return enqueue.run(
        enqueue.EnqueueOptions(options.server, options.key, options.queue, options.timeout, payloads),
        wait_s=options.wait_timeout if options.wait else None,
    )
