"""What all commands' command lines have in common."""

import argparse
import os
from typing import NoReturn

from harness.commands import values
from harness.dev import local
from harness.failure import MISUNDERSTOOD


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; argparse leaves no other way than to override this."""

    def __init__(self, command: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            f"runqy-harness {command}", description=description, epilog=epilog, allow_abbrev=False
        )

    def error(self, message: str) -> NoReturn:
        """End with the status for it and one line on stderr."""
        self.exit(MISUNDERSTOOD, f"{self.prog}: {message.removeprefix('argument ')}\n")


def add_server(parser: argparse.ArgumentParser) -> None:
    """The options that say which server, and with which key."""
    parser.add_argument(
        "--server",
        type=values.http_url,
        default=os.environ.get("RUNQY_SERVER_URL") or local.url(),
        metavar="URL",
        help=f"default: RUNQY_SERVER_URL, else {local.url()}",
    )
    parser.add_argument(
        "--key",
        default=os.environ.get("RUNQY_CLIENT_KEY") or local.KEY,
        help="a client's key; default: RUNQY_CLIENT_KEY, else what `serve` uses",
    )


def check_place(parser: Parser, options: argparse.Namespace) -> None:
    """That ``--runtime`` is the one another worker, by ``--worker`` or ``--image``, is for."""
    if options.worker and options.runtime == "docker":
        parser.error("--worker: a command is for the process runtime; --image is for containers")
    if options.image and options.runtime == "process":
        parser.error("--image: an image is for the docker runtime; --worker is for processes")
