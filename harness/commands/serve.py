"""``runqy-harness serve``."""

from collections.abc import Sequence

from harness.commands import queue_options, values
from harness.commands.parser import Parser
from harness.dev import local, serve
from harness.sandbox.source import Source
from harness.server.age import Age
from harness.server.behaviour import Behaviour


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    parser = Parser(
        "serve",
        "A local runqy: Redis, server and git repositories for one queue per FOLDER, --repo or --handler. "
        "A folder's content is committed again whenever a worker registers.",
    )
    _add_server_options(parser)
    queue_options.add(parser)
    options = parser.parse_intermixed_args(arguments)
    sources: Sequence[Source] = [*options.folders, *options.sources]
    names = options.queue or [local.QUEUE]
    if not sources:
        parser.error("nothing to serve: name a FOLDER, --repo FOLDER_OR_URL or --handler NAME")
    if len(names) != len(sources):
        parser.error(f"--queue: {len(names)} given for {len(sources)} sources of task code, expected as many")
    if len(set(names)) != len(names):
        parser.error(f"--queue {', '.join(names)}: expected different names")
    if options.redis_host_for_workers and options.redis_url is None:
        parser.error(
            "--redis-host-for-workers: only with --redis-url; our own Redis is on this machine alone"
        )
    settings = queue_options.settings(options)
    place = serve.Place(
        host=options.host,
        port=options.port,
        redis_url=options.redis_url,
        redis_host_for_workers=options.redis_host_for_workers,
        worker_key=options.worker_key,
        client_key=options.client_key,
        behaviour=Behaviour(age=options.age, write_delay_s=options.write_delay),
    )
    offers = [
        serve.Offer(name, source, options.branch, settings)
        for name, source in zip(names, sources, strict=True)
    ]
    return serve.run(place, offers)


def _add_server_options(parser: Parser) -> None:
    add = parser.add_argument
    add("--host", default=local.HOST, metavar="HOST", help=f"to listen on (default: {local.HOST})")
    add(
        "--port",
        type=values.whole(0, 65_535),
        default=local.PORT,
        metavar="PORT",
        help=f"to listen on; 0: a free one (default: {local.PORT})",
    )
    add(
        "--redis-url",
        "--redis",
        type=values.redis_url,
        metavar="URL",
        help="default: a Redis of our own, for this run",
    )
    add(
        "--redis-host-for-workers",
        type=values.address,
        metavar="HOST[:PORT]",
        help="where workers reach that Redis, if elsewhere than we do",
    )
    add(
        "--worker-key",
        default=local.KEY,
        metavar="KEY",
        help=f"what workers register with (default: {local.KEY})",
    )
    add(
        "--client-key",
        default=local.KEY,
        metavar="KEY",
        help=f"what clients enqueue with (default: {local.KEY})",
    )
    add(
        "--age",
        type=Age,
        choices=tuple(Age),
        default=Age.NEWER,
        help=f"which runqy server to be like (default: {Age.NEWER})",
    )
    add(
        "--write-delay",
        type=values.seconds,
        default=0.0,
        metavar="DURATION",
        help="pause between the steps in which a task is written, such as 500ms (default: none)",
    )
