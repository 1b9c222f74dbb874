"""``runqy-harness bench``."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.bench.compare import run as bench
from harness.bench.compare.plan import FULL, QUICK
from harness.bench.rig import peers
from harness.bench.scaling import run as scale
from harness.bench.scaling.plan import FULL_SCALE, QUICK_SCALE
from harness.bench.sizes import run as sizes
from harness.bench.sizes.plan import FULL_SIZES, QUICK_SIZES
from harness.commands import values
from harness.commands.parser import Parser
from harness.sandbox.stack import WORKER_COMMAND


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    names = [peer.name for peer in peers.PEERS]
    parser = Parser("bench", "The worker beside Celery, RQ, Dramatiq, Huey and arq: one run, one table.")
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer tasks, once: a sixth of the time")
    add(
        "--repetitions",
        type=values.whole(1),
        metavar="N",
        help="of each throughput (default: 5, with --scale 3; quick: 1)",
    )
    add(
        "--peer", action="append", choices=names, metavar="NAME", help=f"only this one; of {', '.join(names)}"
    )
    add("--no-peers", action="store_true", help="our worker alone")
    add("--scale", action="store_true", help="1, 2, 4 and 8 of our workers on one queue, and nothing else")
    add(
        "--sizes",
        action="store_true",
        help="payloads of 1 kB to 50 MB, 1 to 256 sub-queues, nothing else",
    )
    add(
        "--environments",
        type=Path,
        default=Path(".bench"),
        metavar="FOLDER",
        help="with a virtual environment for each peer, as `make bench` makes them (default: .bench)",
    )
    add(
        "--worker",
        type=values.command,
        metavar="COMMAND",
        help="our worker, if not this environment's (`make bench`: installed alone, as the peers are)",
    )
    add("--json", type=values.new_file, metavar="FILE", help="all figures, each repetition, as JSON")
    add(
        "--write",
        type=values.new_file,
        metavar="FILE",
        help="the tables as a page, such as docs/benchmarks.md",
    )
    options = parser.parse_args(arguments)
    worker_command = options.worker or WORKER_COMMAND
    changes = {} if options.repetitions is None else {"repetitions": options.repetitions}
    if options.sizes:
        if options.peer or options.no_peers or options.scale or options.repetitions:
            parser.error("--sizes: measures one of our workers, once, without any other option of what")
        sizes_plan = QUICK_SIZES if options.quick else FULL_SIZES
        sizing = sizes.SizesOptions(sizes_plan, _measuring(options), worker_command)
        return sizes.run(sys.stdout, sizing, options.json, options.write)
    if options.scale:
        if options.peer or options.no_peers:
            parser.error(f"{'--peer' if options.peer else '--no-peers'}: --scale measures our workers alone")
        scale_plan = replace(QUICK_SCALE if options.quick else FULL_SCALE, **changes)
        scaling = scale.ScalingOptions(scale_plan, _measuring(options), worker_command)
        return scale.run(sys.stdout, scaling, options.json, options.write)
    comparison = bench.ComparisonOptions(
        plan=replace(QUICK if options.quick else FULL, **changes),
        environments=options.environments,
        peers=[] if options.no_peers else options.peer or names,
        command=_measuring(options),
        worker_command=worker_command,
    )
    return bench.run(sys.stdout, comparison, options.json, options.write)


def _measuring(options: argparse.Namespace) -> str:
    """The command line again, with what decides about the figures; where they go does not."""
    words = ["runqy-harness", "bench"]
    words += ["--scale"] if options.scale else []
    words += ["--sizes"] if options.sizes else []
    words += ["--quick"] if options.quick else []
    words += ["--repetitions", str(options.repetitions)] if options.repetitions else []
    words += ["--no-peers"] if options.no_peers else []
    words += [word for peer in options.peer or [] for word in ("--peer", peer)]
    return " ".join(words)
