"""Where every greenlet and thread stands, in lines that a log can take."""

from collections.abc import Callable
from itertools import chain, islice

from gevent.util import format_run_info

#: Most lines, and most characters of each; a worker with a few slots has some three hundred lines.
MOST_LINES = 1_000
LONGEST_LINE = 200


def stack_lines(redact: Callable[[str], str]) -> list[str]:
    """The stacks, bounded; the last line says how many are missing.

    ``redact`` masks secrets before a line is cut: half of one would not be recognised.
    """
    chunks: list[str] = format_run_info()  # type: ignore[func-returns-value, assignment]
    lines = chain.from_iterable(chunk.splitlines() for chunk in chunks)
    found = [redact(line)[:LONGEST_LINE] for line in lines if line.strip()]
    left_out = len(found) - MOST_LINES
    return [*islice(found, MOST_LINES), *([f"… and {left_out} lines more"] if left_out > 0 else [])]
