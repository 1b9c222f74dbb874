"""``runqy-harness init``."""

import re
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from harness.commands import values
from harness.commands.parser import Parser
from harness.init import project, tell
from harness.init.project import Project
from harness.sandbox.sdk import sdk_requirement

IMAGE, HARNESS_IMAGE = "runqy-appliance:dev", "runqy-harness:dev"


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    own = f"runqy-appliance[harness]=={metadata.version('runqy-appliance')}"
    parser = Parser(
        "init",
        "A task repository that works at once: code with the runqy SDK, its packages, tests that run it on a "
        "worker, an image, CI. No file that is there is written to.",
    )
    add = parser.add_argument
    add(
        "folder",
        nargs="?",
        default=Path(),
        type=values.new_folder,
        metavar="DIR",
        help="to write it to, made where it is not there (default: this folder)",
    )
    add("--name", type=values.project, metavar="NAME", help="the project's, and its image's (default: DIR's)")
    add(
        "--mode",
        choices=("long_running", "one_shot"),
        default="long_running",
        help="one process for all tasks, or one for each (default: long_running)",
    )
    ci = parser.add_mutually_exclusive_group()
    ci.add_argument("--ci", choices=("github", "gitlab"), default="github", help="default: github")
    ci.add_argument("--no-ci", dest="ci", action="store_const", const=None, help="no file for a CI service")
    add(
        "--no-docker",
        dest="docker",
        action="store_false",
        help="no Dockerfile, .dockerignore and compose.yaml: production gets the code by git",
    )
    add(
        "--image",
        default=IMAGE,
        type=values.image,
        metavar="NAME",
        help=f"the worker's, to build on (default: {IMAGE})",
    )
    add(
        "--harness-image",
        default=HARNESS_IMAGE,
        type=values.image,
        metavar="NAME",
        help=f"the harness's, for compose.yaml (default: {HARNESS_IMAGE})",
    )
    add(
        "--harness",
        default=own,
        type=values.requirement,
        metavar="REQUIREMENT",
        help=f"where pip finds the harness: a version, a wheel's URL, git+https://… (default: {own})",
    )
    add("--keep", action="store_true", help="files that are there stay as they are, the others are written")
    options = parser.parse_args(arguments)
    name = options.name or re.sub(r"[^a-z0-9]+", "-", options.folder.resolve().name.lower()).strip("-")
    wanted = Project(
        name=name or "task",
        mode=options.mode,
        ci=options.ci,
        docker=options.docker,
        image=options.image,
        harness_image=options.harness_image,
        sdk=sdk_requirement(),
        harness=options.harness,
    )
    made = project.files(wanted)
    kept = project.write(options.folder, made, keep=options.keep)
    tell.written(sys.stdout, wanted, options.folder, made, kept)
    return 0
