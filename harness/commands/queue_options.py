"""The options that describe a queue and its task code, for the commands that serve or judge one."""

import argparse
from typing import Any

from harness.commands import values
from harness.commands.parser import Parser
from harness.dev import local


def add(parser: Parser) -> None:
    """Add them to ``parser``."""
    option = parser.add_argument
    option("folders", nargs="*", type=values.folder, metavar="FOLDER", help="task code, as it is there now")
    option(
        "--repo",
        dest="sources",
        action="append",
        default=[],
        type=values.repository,
        metavar="FOLDER_OR_URL",
        help="task code in a folder, as it is there now, or of a repository anywhere, by its URL",
    )
    option(
        "--handler",
        dest="sources",
        action="append",
        type=values.handler,
        metavar="NAME",
        help="an example handler of the harness, such as echo",
    )
    option(
        "--queue",
        action="append",
        type=values.queue,
        metavar="NAME",
        help=f"one for each source, in their order (default for one source: {local.QUEUE})",
    )
    add_process(parser)
    option(
        "--vault",
        action="append",
        default=[],
        type=values.vault,
        metavar="NAME=VALUE",
        help="for the task's environment",
    )
    option("--branch", metavar="NAME", help="branch or tag of a URL (default: main)")
    option("--git-token", metavar="TOKEN", help="for an https URL that wants one")


def add_process(parser: Parser) -> None:
    """Those of them that say how the code is run and how its tasks are queued."""
    option = parser.add_argument
    option(
        "--sub-queue",
        action="append",
        default=[],
        type=values.sub_queue,
        metavar="NAME:PRIORITY",
        help="more is first",
    )
    option(
        "--priority",
        type=values.whole(1),
        default=1,
        metavar="N",
        help="without sub-queues (default: 1)",
    )
    option("--startup-cmd", default="python main.py", metavar="COMMAND", help="default: python main.py")
    option(
        "--startup-timeout",
        type=values.whole(1),
        default=60,
        metavar="SECONDS",
        help="to become ready (default: 60)",
    )
    option(
        "--mode", choices=("long_running", "one_shot"), default="long_running", help="default: long_running"
    )
    option("--no-results", action="store_true", help="results are not kept in Redis")
    option("--code-path", metavar="PATH", help="the folder of the repository that the code is in")


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """What :func:`add` reads, as fields of a QueueConfig."""
    return {
        **process_settings(options),
        "vaults": {"local": dict(options.vault)} if options.vault else {},
        "git_token": options.git_token,
    }


def process_settings(options: argparse.Namespace) -> dict[str, Any]:
    """What :func:`add_process` reads, in the same way."""
    return {
        "startup_cmd": options.startup_cmd,
        "mode": options.mode,
        "startup_timeout_secs": options.startup_timeout,
        "priority": options.priority,
        "sub_queues": dict(options.sub_queue),
        "redis_storage": not options.no_results,
        "code_path": options.code_path,
    }
