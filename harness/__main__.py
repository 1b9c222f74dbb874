"""The program's entry, as ``runqy-harness`` and as ``python -m harness``."""

import sys

from harness import cli


def main() -> int:
    """Run ``runqy-harness`` with this process's arguments; returns the exit status."""
    return cli.run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
