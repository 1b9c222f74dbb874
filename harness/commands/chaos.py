"""``runqy-harness chaos``."""

import random
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.chaos import command
from harness.commands import values
from harness.commands.parser import Parser


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    parser = Parser(
        "chaos",
        "Workers under random load and random faults, both a function of the seed: then everything has to "
        "settle, and what happened has to keep every invariant. Exit status 1 says that it did not.",
    )
    add = parser.add_argument
    add("--seed", type=values.whole(0), metavar="N", help="the same again for the same N (default: any)")
    add("--duration", type=values.seconds, default=60.0, metavar="TIME", help="such as 30s (default: 60s)")
    add("--workers", type=values.whole(1, 20), default=3, metavar="N", help="default: 3")
    add("--runtime", choices=("process",), default="process", help="where workers run (default: process)")
    add(
        "--worker",
        type=values.command,
        metavar="COMMAND",
        help="the worker, as a shell would split it; default: this project's",
    )
    add(
        "--round-trip",
        type=values.seconds,
        metavar="TIME",
        help="how far Redis is from every worker all the time, such as 20ms (default: beside it)",
    )
    add("--calm", action="store_true", help="the load alone, without a fault")
    add("--report", type=Path, metavar="DIR", help="summary, timeline, histories and logs, as files")
    add("--json", type=values.new_file, metavar="FILE", help="the summary as JSON")
    options = parser.parse_args(arguments)
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    words = ["runqy-harness", "chaos", "--seed", str(seed), "--duration", f"{options.duration:g}s"]
    words += ["--workers", str(options.workers), *(["--calm"] if options.calm else [])]
    words += ["--round-trip", f"{options.round_trip * 1000:g}ms"] if options.round_trip else []
    words += ["--worker", shlex.join(options.worker)] if options.worker else []
    request = command.ChaosOptions(
        seed=seed,
        duration_s=options.duration,
        workers=options.workers,
        calm=options.calm,
        again=shlex.join(words),
        command=options.worker,
        report=options.report,
        json=options.json,
        round_trip_s=options.round_trip or 0.0,
    )
    return command.execute(request, sys.stdout)
