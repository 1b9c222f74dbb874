"""What the commands that look at a runqy's queues, tasks and workers have in common."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from harness.commands import values
from harness.commands.parser import Parser, add_server
from harness.dev import local
from harness.dev.operate import ends
from harness.dev.operate.reach import Where
from harness.failure import MISUNDERSTOOD, CommandFailed
from harness.output.terminal import printable
from harness.queue.inspector import NotThere

#: An action: its parser, and what does it; returns the exit status.
Action = tuple[Callable[[], Parser], Callable[[argparse.Namespace], int]]


def run(command: str, summary: str, actions: Mapping[str, Action], arguments: Sequence[str]) -> int:
    """Do the action that ``arguments`` begin with; returns the exit status."""
    local.go_round_proxies()
    name = arguments[0] if arguments else ""
    if name in {"-h", "--help"}:
        print(_help(command, summary, actions), end="")
        raise SystemExit(0)
    if name not in actions:
        problem = f"action {name!r}" if name else "no action"
        text = f"runqy-harness {command}: {problem}: expected one of {', '.join(actions)}"
        print(printable(text), file=sys.stderr)
        return MISUNDERSTOOD
    unreadable = next((each for each in arguments if not each.isascii() and _is_broken(each)), None)
    if unreadable is not None:
        text = f"runqy-harness {command} {name}: {unreadable!r}: expected UTF-8"
        print(printable(text), file=sys.stderr)
        return MISUNDERSTOOD
    make, act = actions[name]
    parser = make()
    options = parser.parse_args(arguments[1:])
    try:
        return act(options)
    except (ends.Unknown, ends.Declined, NotThere) as exc:
        print(printable(f"{parser.prog}: {exc}"), file=sys.stderr)
        return ends.DECLINED if isinstance(exc, ends.Declined) else ends.UNKNOWN
    except CommandFailed as exc:
        print(printable(f"{parser.prog}: {exc}"), file=sys.stderr)
        return ends.UNREACHABLE


def parser(words: str, description: str) -> Parser:
    """The parser of an action, ``words`` being command and action, with the options all of them have."""
    made = Parser(words, description, epilog=ends.STATUSES)
    option = made.add_argument
    add_server(made)
    option(
        "--redis-url",
        type=values.redis_url,
        default=os.environ.get("RUNQY_REDIS_URL"),
        metavar="URL",
        help="the Redis itself, redis:// or rediss://; default: RUNQY_REDIS_URL, else what the server says",
    )
    option(
        "--worker-key",
        default=os.environ.get("RUNQY_API_KEY"),
        metavar="KEY",
        help="a worker's key, for which a server that `serve` did not start says where its Redis is; "
        "default: RUNQY_API_KEY",
    )
    option("--parent", type=values.queue, metavar="NAME", help="a parent queue which that key is for")
    option("--json", action="store_true", help="a JSON object a line")
    return made


def where(options: argparse.Namespace) -> Where:
    """What :func:`parser`'s options say of where Redis is."""
    return Where(options.redis_url, options.server, options.key, options.worker_key, options.parent)


def _is_broken(argument: str) -> bool:
    """Whether it has bytes that are no text: neither Redis's client nor HTTP takes them."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return True
    return False


def _help(command: str, summary: str, actions: Mapping[str, Action]) -> str:
    lines = "".join(f"  {name:<9}{make().description}\n" for name, (make, _) in actions.items())
    usage = f"usage: runqy-harness {command} ACTION [options]"
    return f"{usage}      (runqy-harness {command} ACTION --help says more)\n\n{summary}\n\n{lines}"
