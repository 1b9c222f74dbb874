"""Becomes ready, closes a stream of the protocol, and lives on.

HANDLER_STREAM: stdout or stdin (default stdout).

Outcome: the worker ends the process after a second; crashes.
"""

import os
import time

import raw
import settings


def main() -> None:
    number = {"stdin": 0, "stdout": 1}[settings.choice("HANDLER_STREAM", "stdout", ("stdin", "stdout"))]
    raw.ready()
    os.close(number)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
