"""``runqy-harness conform``."""

import sys
from collections.abc import Sequence

from harness.commands import values
from harness.commands.parser import Parser
from harness.conform import tell
from harness.conform.contract.every import EXCHANGES
from harness.conform.exchange import ADMIN, CLIENT, WORKER
from harness.conform.play import Target, play
from harness.dev import local
from harness.server.age import Age


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    parser = Parser(
        "conform",
        "Play the contract of the runqy server against a server, and print each difference. Tasks are "
        "enqueued and, with --redis-url, taken away again: use a queue that no worker serves.",
        epilog=f"Exit status: {tell.ALIKE} as expected; {tell.DIFFERENT} different, or out of reach.",
    )
    add = parser.add_argument
    add("--server", required=True, type=values.http_url, metavar="URL", help="the server's URL")
    add("--admin-key", required=True, metavar="KEY", help="the key that opens everything")
    add("--client-key", metavar="KEY", help="a client's key, for the exchanges that need one")
    add("--worker-key", metavar="KEY", help="a worker's key, for the exchanges that need one")
    add(
        "--redis-url",
        type=values.redis_url,
        metavar="URL",
        help="the server's Redis, for the exchanges that look there",
    )
    add(
        "--queue",
        type=values.queue,
        default=local.QUEUE,
        metavar="NAME",
        help=f"a parent queue of the server (default: {local.QUEUE})",
    )
    add(
        "--age",
        type=Age,
        choices=tuple(Age),
        default=Age.NEWER,
        help=f"which server it should be like (default: {Age.NEWER})",
    )
    add("--short", action="store_true", help="without the exchanges that take half a minute")
    options = parser.parse_args(arguments)
    keys = {ADMIN: options.admin_key, CLIENT: options.client_key, WORKER: options.worker_key}
    target = Target(
        url=options.server,
        age=options.age,
        parent=options.queue,
        keys={role: key for role, key in keys.items() if key},
        redis_url=options.redis_url,
    )
    exchanges = [each for each in EXCHANGES if not (options.short and each.slow)]
    return tell.tell(target, play(target, exchanges), sys.stdout)
