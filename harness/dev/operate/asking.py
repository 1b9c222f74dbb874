"""Asks before something is destroyed."""

import sys

from harness.dev.operate.ends import Declined
from harness.output.terminal import printable


def confirm(question: str) -> None:
    """Ask on the terminal; returns where the answer is yes, raises :class:`Declined` for any other."""
    # Not on stdout: what is printed there may go to another program.
    print(printable(f"{question} [y/N] "), end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        print(file=sys.stderr)
    if answer.strip().lower() not in {"y", "yes"}:
        raise Declined("nothing was changed")
