"""``runqy-harness tasks``."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness.commands import operating, values
from harness.commands.operating import Action
from harness.commands.parser import Parser
from harness.dev.operate import tasks
from harness.dev.operate.reach import connected
from harness.queue.inspector import PAGE
from harness.queue.views import STATES

SUMMARY = "Tasks of the local server, or of any runqy: what they are, and what to do with them."


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    return operating.run("tasks", SUMMARY, ACTIONS, arguments)


def _list_parser() -> Parser:
    parser = operating.parser("tasks list", "list tasks by queue and state")
    _add_queues(parser)
    parser.add_argument("--state", choices=STATES, help="only these; default: all")
    parser.add_argument(
        "--limit",
        type=values.whole(1, 10_000),
        default=PAGE,
        metavar="N",
        help=f"of each queue and state (default: {PAGE})",
    )
    return parser


def _list(options: argparse.Namespace) -> int:
    with connected(operating.where(options)) as db:
        return tasks.list_(db, options.queue, options.state, options.limit, as_json=options.json)


def _show_parser() -> Parser:
    parser = operating.parser("tasks show", "show a task: payload, result, error, attempts, progress, output")
    parser.add_argument("task_id", metavar="TASK_ID", help="as `enqueue` prints it")
    parser.add_argument("--queue", metavar="QUEUE", help="where it is; default: it is looked for")
    return parser


def _show(options: argparse.Namespace) -> int:
    with connected(operating.where(options)) as db:
        return tasks.show(db, options.task_id, options.queue, as_json=options.json)


def _logs_parser() -> Parser:
    parser = operating.parser("tasks logs", "print what task code printed while a task ran alone")
    parser.add_argument("task_id", metavar="TASK_ID", help="as `enqueue` prints it")
    parser.add_argument(
        "--log", type=Path, metavar="FILE", help="a worker's log in JSON, instead of what Redis keeps"
    )
    return parser


def _logs(options: argparse.Namespace) -> int:
    if options.log is not None:
        return tasks.logs_of_file(options.log, options.task_id, as_json=options.json)
    with connected(operating.where(options)) as db:
        return tasks.logs(db, options.task_id, as_json=options.json)


def _act_parser(action: str, description: str, *, many: bool = True) -> Parser:
    parser = operating.parser(f"tasks {action}", description)
    parser.add_argument("task_ids", nargs="*", metavar="TASK_ID", help="as `enqueue` prints them")
    _add_queues(parser)
    if many:
        parser.add_argument("--state", choices=STATES, help="all tasks in that state of --queue")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    if action == "cancel":
        parser.add_argument(
            "--wait-timeout",
            type=values.whole(0),
            default=30,
            metavar="SECONDS",
            help="for a task to end; 0: its worker is told, and that is all (default: 30)",
        )
    return parser


def _act(action: str, options: argparse.Namespace) -> int:
    parser = ACTIONS[action][0]()
    state = getattr(options, "state", None)
    if bool(options.task_ids) == bool(state):
        parser.error(
            "expected TASK_ID, or --state with --queue" if "state" in options else "expected TASK_ID"
        )
    if state and not options.queue:
        parser.error(f"--state {state}: expected --queue beside it")
    if options.task_ids and len(options.queue) > 1:
        parser.error(f"--queue: {len(options.queue)} given with TASK_ID, expected one at most")
    asks = action in {"delete", "cancel"} or state
    if asks and not options.yes and not sys.stdin.isatty():
        parser.error("expected --yes: there is no terminal to ask on")
    selection = tasks.Selection(options.task_ids, options.queue, state)
    with connected(operating.where(options)) as db:
        return tasks.act(
            db,
            action,
            selection,
            yes=options.yes,
            wait_s=getattr(options, "wait_timeout", 0),
            as_json=options.json,
        )


def _add_queues(parser: Parser) -> None:
    parser.add_argument(
        "--queue",
        action="append",
        default=[],
        metavar="QUEUE",
        help="inference.high, or inference for all of its sub-queues; several times for several",
    )


ACTIONS: dict[str, Action] = {
    "list": (_list_parser, _list),
    "show": (_show_parser, _show),
    "logs": (_logs_parser, _logs),
    "cancel": (
        partial(_act_parser, "cancel", "have the workers end tasks that run", many=False),
        partial(_act, "cancel"),
    ),
    "retry": (
        partial(_act_parser, "retry", "run tasks now that wait for their time or have ended"),
        partial(_act, "retry"),
    ),
    "archive": (
        partial(_act_parser, "archive", "take tasks that wait out of the way, without running them"),
        partial(_act, "archive"),
    ),
    "delete": (
        partial(_act_parser, "delete", "delete tasks that do not run, for good"),
        partial(_act, "delete"),
    ),
}
