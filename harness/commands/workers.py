"""``runqy-harness workers``."""

import argparse
from collections.abc import Sequence

from harness.commands import operating
from harness.commands.operating import Action
from harness.commands.parser import Parser
from harness.dev.operate import workers
from harness.dev.operate.reach import connected

SUMMARY = "Workers of the local server, or of any runqy: who lives, on what it works, and how it recovers."


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    return operating.run("workers", SUMMARY, ACTIONS, arguments)


def _list_parser() -> Parser:
    return operating.parser("workers list", "list workers that gave a sign of life in the last half hour")


def _list(options: argparse.Namespace) -> int:
    with connected(operating.where(options)) as db:
        return workers.list_(db, as_json=options.json)


def _show_parser() -> Parser:
    parser = operating.parser("workers show", "show a worker: queues, recovery, its last output")
    parser.add_argument("worker_id", metavar="WORKER_ID", help="as `workers list` prints it")
    return parser


def _show(options: argparse.Namespace) -> int:
    with connected(operating.where(options)) as db:
        return workers.show(db, options.worker_id, as_json=options.json)


ACTIONS: dict[str, Action] = {"list": (_list_parser, _list), "show": (_show_parser, _show)}
