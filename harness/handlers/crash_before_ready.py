"""Dies while it starts.

HANDLER_SECONDS: after so long (default 0).
HANDLER_DEATH: an exit status or a signal (default 1).

Outcome: failed starts, with backoff, until the worker gives up; tasks wait.
"""

import sys
import time

import diary
import settings


def main() -> None:
    how = settings.death("HANDLER_DEATH", "1")
    time.sleep(settings.seconds("HANDLER_SECONDS", 0))
    print("this machine has no GPU", file=sys.stderr, flush=True)
    diary.record("crash")
    settings.die(how)


if __name__ == "__main__":
    diary.opened()
    main()
