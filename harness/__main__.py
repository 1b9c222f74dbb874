"""The program's entry, as ``runqy-harness`` and as ``python -m harness``."""

import sys

from harness import cli
from harness.output.outlet import Outlet, OutputLost


def main() -> int:
    """Run ``runqy-harness`` with this process's arguments; returns the exit status."""
    sys.stdout = Outlet(sys.stdout)
    try:
        try:
            return cli.run(sys.argv[1:])
        finally:
            # Here, where its failure can be told, and not at the interpreter's end.
            sys.stdout.flush()
    except OutputLost as exc:
        if not exc.reason:
            return cli.READER_GONE
        print(f"runqy-harness: standard output: {exc.reason}", file=sys.stderr)
        return cli.FAILED


if __name__ == "__main__":
    sys.exit(main())
