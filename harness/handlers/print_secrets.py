"""Prints its whole environment, vault entries included, on both streams.

{"fail": true} has it in the error too.

Outcome: tasks are completed; no vault's value is in a log, in Redis or in an error.
"""

import os
import sys

import raw


def main() -> None:
    raw.ready()
    for task in raw.tasks():
        everything = [f"{name}={value}" for name, value in sorted(os.environ.items())]
        for stream in (sys.stderr, sys.stdout):
            print(*everything, sep="\n", file=stream, flush=True)
        if (task["payload"] or {}).get("fail"):
            raw.answer(task, error=" ".join(everything), retry=False)
        else:
            raw.answer(task, {"variables": len(everything)})


if __name__ == "__main__":
    main()
