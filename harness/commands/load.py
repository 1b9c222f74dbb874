"""``runqy-harness load``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.commands import queue_options, values
from harness.commands.parser import Parser
from harness.dev import local
from harness.dev.load import run as load
from harness.dev.load.plan import LoadOptions


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    parser = Parser(
        "load",
        "Your task code under a steady load, on this machine: how long tasks wait and run, how many are done "
        "a second, memory over time, and how many workers with how many slots that wants. "
        "Exit status: 0; 1 where a task failed or was not over in time.",
    )
    queue_options.add(parser)
    add = parser.add_argument
    add(
        "--payload",
        type=values.payload_file,
        metavar="FILE",
        help="of the tasks: a JSON object, a list of them, or one a line; they take turns (default: {})",
    )
    add("--rate", type=_rate, default=10.0, metavar="N", help="tasks a second (default: 10)")
    add("--duration", type=values.seconds, default=30.0, metavar="DURATION", help="default: 30s")
    add(
        "--drain",
        type=values.seconds,
        default=60.0,
        metavar="DURATION",
        help="how long to wait for tasks once the last one was sent (default: 60s)",
    )
    add("--workers", type=values.whole(1, 64), default=1, metavar="N", help="default: 1")
    add(
        "--concurrency",
        type=values.whole(1, 10_000),
        default=1,
        metavar="N",
        help="tasks at a time in each worker (default: 1)",
    )
    add("--system-packages", action="store_true", help="task code sees those of this machine's Python")
    add("--worker", type=values.command, metavar="COMMAND", help="default: this project's")
    add("--json", type=values.new_file, metavar="FILE", help="every figure")
    add("--picture", type=_picture, metavar="FILE", help="the run over time, as .svg or .png")
    options = parser.parse_intermixed_args(arguments)
    sources = [*options.folders, *options.sources]
    if len(sources) != 1:
        parser.error(f"{len(sources)} sources of task code: expected one FOLDER, --repo or --handler")
    if len(options.queue or ()) > 1:
        parser.error(f"--queue {', '.join(options.queue)}: expected one")
    return load.run(
        sys.stdout,
        LoadOptions(
            source=sources[0],
            branch=options.branch,
            queue=(options.queue or [local.QUEUE])[0],
            settings=queue_options.settings(options),
            payload=options.payload,
            rate=options.rate,
            duration_s=options.duration,
            drain_s=options.drain,
            workers=options.workers,
            concurrency=options.concurrency,
            worker=options.worker,
            system_packages=options.system_packages,
            json=options.json,
            picture=options.picture,
        ),
    )


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.01 <= rate <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r}: expected tasks a second, from 0.01 to 10000")
    return rate


def _picture(text: str) -> Path:
    path = values.new_file(text)
    if path.suffix not in {".svg", ".png"}:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a file .svg or .png")
    return path
