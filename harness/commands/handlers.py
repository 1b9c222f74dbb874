"""``runqy-harness handlers``."""

from collections.abc import Sequence

from harness.commands.parser import Parser
from harness.sandbox import handlers as catalogue


def run(arguments: Sequence[str]) -> int:
    """Do what ``arguments`` ask for; returns the exit status."""
    parser = Parser("handlers", "The example handlers that `serve --handler NAME` serves.")
    parser.add_argument(
        "--table", action="store_true", help="as a table of Markdown, such as in docs/handlers.md"
    )
    options = parser.parse_args(arguments)
    print(catalogue.as_table() if options.table else catalogue.as_text(), end="")
    return 0
