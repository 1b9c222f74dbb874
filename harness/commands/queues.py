"""``runqy-harness queues``."""

import argparse
from collections.abc import Sequence
from functools import partial

from harness.commands import operating, values
from harness.commands.operating import Action
from harness.commands.parser import Parser
from harness.dev.operate import queues
from harness.dev.operate.reach import connected

SUMMARY = "Queues of the local server, or of any runqy: how full they are, and whether tasks are taken."


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    return operating.run("queues", SUMMARY, ACTIONS, arguments)


def _parser(action: str, description: str, *, some: bool = True) -> Parser:
    parser = operating.parser(f"queues {action}", description)
    parser.add_argument(
        "queues",
        nargs="+" if some else "*",
        metavar="QUEUE",
        help="inference.high, or inference for all of its sub-queues",
    )
    return parser


def _drain_parser() -> Parser:
    parser = _parser("drain", "pause queues, and wait until what runs has ended")
    parser.add_argument(
        "--wait-timeout",
        type=values.whole(0),
        default=600,
        metavar="SECONDS",
        help="for all of them (default: 600)",
    )
    return parser


def _list(options: argparse.Namespace) -> int:
    with connected(operating.where(options)) as db:
        return queues.list_(db, options.queues, as_json=options.json)


def _pause(options: argparse.Namespace) -> int:
    with connected(operating.where(options)) as db:
        return queues.pause(db, options.queues, as_json=options.json)


def _resume(options: argparse.Namespace) -> int:
    with connected(operating.where(options)) as db:
        return queues.resume(db, options.queues, as_json=options.json)


def _drain(options: argparse.Namespace) -> int:
    with connected(operating.where(options)) as db:
        return queues.drain(db, options.queues, options.wait_timeout, as_json=options.json)


ACTIONS: dict[str, Action] = {
    "list": (partial(_parser, "list", "list queues: what is where, and what was done", some=False), _list),
    "pause": (partial(_parser, "pause", "have nothing taken out of queues; what runs goes on"), _pause),
    "resume": (partial(_parser, "resume", "end the pause"), _resume),
    "drain": (_drain_parser, _drain),
}
