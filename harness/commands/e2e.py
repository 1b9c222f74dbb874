"""``runqy-harness e2e``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from harness.commands import values
from harness.commands.parser import Parser, check_place
from harness.e2e import run as e2e
from harness.scenarios import catalogue


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    parser = Parser("e2e", "Scenarios that show what a worker does, a line each; exit status 0 if all hold.")
    add = parser.add_argument
    add(
        "--runtime",
        choices=("process", "docker"),
        help="where workers run (default: docker if it can be used)",
    )
    add(
        "--only",
        action="append",
        default=[],
        metavar="GROUP_OR_NAME",
        help="such as recovery, or recovery/backoff; may be given again",
    )
    add("--list", action="store_true", help="the scenarios and what each claims; nothing is played")
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--worker",
        type=values.command,
        metavar="COMMAND",
        help="another worker, as a shell would split it (default: this project's)",
    )
    place.add_argument(
        "--image",
        metavar="NAME",
        help="another worker's image (default: runqy-appliance:dev, or of IMAGE_TAG)",
    )
    add("--jobs", type=values.whole(1, 64), default=4, metavar="N", help="scenarios at a time (default: 4)")
    add("--short", action="store_true", help="without the long ones; in containers a handful")
    add(
        "--mutants",
        action="store_true",
        help="workers with defects instead: each scenario must catch its own",
    )
    add("--keep", action="store_true", help="keep logs and files, and say where")
    add("--junit", type=values.new_file, metavar="FILE", help="outcomes as CI services read them")
    add("--json", type=values.new_file, metavar="FILE", help="outcomes with timelines")
    add("--report", type=Path, metavar="FOLDER", help="a page and a picture of what happened, for people")
    options = parser.parse_args(arguments)
    check_place(parser, options)
    try:
        scenarios = catalogue.chosen(catalogue.every(), options.only)
    except catalogue.NoSuchScenario as exc:
        parser.error(f"--only {exc}")
    if options.list:
        for each in scenarios:
            print(f"{each.name:<36}{each.claim}")
        return 0
    return e2e.run(
        sys.stdout,
        e2e.E2eOptions(
            scenarios,
            runtime=options.runtime,
            worker=options.worker,
            image=options.image,
            jobs=options.jobs,
            short=options.short,
            mutants=options.mutants,
            keep=options.keep,
            junit=options.junit,
            json=options.json,
            report=options.report,
        ),
    )
