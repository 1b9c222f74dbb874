"""Writes random bytes on stdout before each answer, the same ones for the same seed.

HANDLER_SEED: of the bytes (default 1).
HANDLER_BYTES: how many (default 4096).

Outcome: tasks are completed; the bytes are log output.
"""

import os
import random

import raw
import settings


def main() -> None:
    rng = random.Random(settings.whole("HANDLER_SEED", 1))
    count = settings.whole("HANDLER_BYTES", 4096, least=1)
    raw.ready()
    for task in raw.tasks():
        raw.write(rng.randbytes(count) + b"\n")
        raw.answer(task, os.getpid())


if __name__ == "__main__":
    main()
