"""``runqy-harness dev``."""

import sys
from collections.abc import Sequence

from harness.commands import queue_options, values
from harness.commands.parser import Parser
from harness.dev import local
from harness.dev.live import session
from harness.dev.live.rig import DevOptions


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    parser = Parser(
        "dev",
        "The task code in a folder at work on this machine: Redis, server and worker in one terminal, what "
        "tasks print and return, and new code as you save it; until Ctrl-C. Running tasks finish; a mistake "
        "is shown, and the code from before goes on. What git ignores is left out; commits are not needed.",
    )
    add = parser.add_argument
    add("folder", nargs="?", default=None, type=values.folder, metavar="DIR", help="default: this folder")
    add(
        "--payload",
        type=values.payload_file,
        metavar="FILE",
        help="a task for the start and each reload: a JSON object, a list of them, or one a line",
    )
    add(
        "--env-file",
        type=values.env_file,
        metavar="FILE",
        help="NAME=value lines, as --vault; read at each reload, and in no commit",
    )
    add(
        "--vault",
        action="append",
        default=[],
        type=values.vault,
        metavar="NAME=VALUE",
        help="for the task's environment",
    )
    add("--queue", type=values.queue, default=local.QUEUE, metavar="NAME", help=f"default: {local.QUEUE}")
    queue_options.add_process(parser)
    add(
        "--concurrency",
        type=values.whole(1, 10_000),
        default=1,
        metavar="N",
        help="tasks at a time (default: 1)",
    )
    add(
        "--system-packages",
        action="store_true",
        help="task code sees the packages of this machine's Python, as it does in production unless "
        "RUNQY_USE_SYSTEM_SITE_PACKAGES is false; without, a missing requirement is noticed here",
    )
    add(
        "--port",
        type=values.whole(0, 65_535),
        default=local.PORT,
        metavar="PORT",
        help=f"the server's; 0: a free one (default: {local.PORT})",
    )
    add("--redis-url", type=values.redis_url, metavar="URL", help="default: a Redis of our own, for this run")
    add("--worker", type=values.command, metavar="COMMAND", help="default: this project's")
    options = parser.parse_args(arguments)
    folder = options.folder or values.folder(".")
    return session.run(
        sys.stdout,
        DevOptions(
            folder=folder.path,
            queue=options.queue,
            port=options.port,
            redis_url=options.redis_url,
            concurrency=options.concurrency,
            system_packages=options.system_packages,
            worker=options.worker,
            env_file=options.env_file and options.env_file.absolute(),
            payload=options.payload and options.payload.absolute(),
            settings=queue_options.process_settings(options),
            vault=dict(options.vault),
        ),
    )
