"""Becomes ready and exits with status 0 without being asked to.

HANDLER_SECONDS: after so long (default 0.2).

Outcome: crashes: a long-running process has no reason to end.
"""

import time

import raw
import settings


def main() -> None:
    seconds = settings.seconds("HANDLER_SECONDS", 0.2)
    raw.ready()
    time.sleep(seconds)


if __name__ == "__main__":
    main()
