"""``runqy-harness certify``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from harness.certify import catalogue as checks
from harness.certify import run as certify
from harness.certify.bench import LONGEST_S
from harness.certify.code import CertifyOptions
from harness.commands import queue_options, values
from harness.commands.parser import Parser, check_place
from harness.dev import local


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    parser = Parser(
        "certify",
        "Your task code through what production has in store: deployment, crashes, stops, odd payloads. "
        "Exit status 0 certified, 1 not, 2 misunderstood, 3 could not be run.",
    )
    queue_options.add(parser)
    add = parser.add_argument
    add(
        "--payload",
        action="append",
        default=[],
        type=values.payload,
        metavar="JSON",
        help="a task's JSON object that the code completes; may be given again (default: {})",
    )
    add("--payloads", type=values.payloads, default=[], metavar="FILE", help="the same, one object a line")
    add(
        "--hanging",
        type=values.payload,
        metavar="JSON",
        help="a payload that takes for ever (default: the process is frozen instead)",
    )
    add(
        "--longest",
        type=values.seconds,
        default=LONGEST_S,
        metavar="DURATION",
        help=f"what the slowest payload may take; one that takes longer hangs (default: {LONGEST_S:g}s)",
    )
    add(
        "--only",
        action="append",
        default=[],
        choices=tuple(checks.OTHERS),
        metavar="CHECK",
        help=f"beside {', '.join(checks.FIRST)}, only this one; of {', '.join(checks.OTHERS)}",
    )
    add("--runtime", choices=("process", "docker"), help="where the worker runs (default: process)")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--worker", type=values.command, metavar="COMMAND", help="default: this project's")
    place.add_argument(
        "--image", metavar="NAME", help="the worker's image; with code in it no FOLDER is needed"
    )
    add("--json", type=values.new_file, metavar="FILE", help="every finding")
    add("--junit", type=values.new_file, metavar="FILE", help="findings as CI services read them")
    add("--report", type=Path, metavar="DIR", help="a page for people, and the worker's log")
    options = parser.parse_intermixed_args(arguments)
    sources = [*options.folders, *options.sources]
    if len(sources) > 1 or (not sources and not options.image):
        parser.error(
            "expected one FOLDER, --repo or --handler; none only with an --image that has code in it"
        )
    if len(options.queue or ()) > 1:
        parser.error(f"--queue {', '.join(options.queue)}: expected one")
    if options.no_results:
        parser.error("--no-results: results are what is judged here")
    check_place(parser, options)
    return certify.run(
        sys.stdout,
        CertifyOptions(
            source=sources[0] if sources else None,
            branch=options.branch,
            queue=(options.queue or [local.QUEUE])[0],
            settings=queue_options.settings(options),
            payloads=[*options.payload, *options.payloads],
            hanging=options.hanging,
            longest_s=options.longest,
            only=options.only,
            runtime="docker" if options.image else options.runtime or "process",
            image=options.image,
            worker=options.worker,
            json=options.json,
            junit=options.junit,
            report=options.report,
        ),
    )
