"""Writes a line of many megabytes on stdout before each answer; {"result": true} makes it the answer's own.

HANDLER_MEGABYTES: how many (default 20).

Outcome: tasks are completed; a line of up to 64 MiB is read, of a longer one 4 KiB are kept.
"""

import os

import raw
import settings


def main() -> None:
    megabytes = settings.whole("HANDLER_MEGABYTES", 20, least=1)
    raw.ready()
    for task in raw.tasks():
        if (task["payload"] or {}).get("result"):
            raw.answer(task, "x" * (megabytes * 2**20))
            continue
        raw.write(b"x" * (megabytes * 2**20) + b"\n")
        raw.answer(task, os.getpid())


if __name__ == "__main__":
    main()
