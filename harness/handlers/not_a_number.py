"""Answers with a number that JSON does not have; {"good": true} is answered well.

HANDLER_NUMBER: NaN, Infinity or -Infinity (default NaN).

Outcome: that task fails for good, with the reason; the next one is not touched.
"""

import os

import raw
import settings


def main() -> None:
    number = settings.choice("HANDLER_NUMBER", "NaN", ("NaN", "Infinity", "-Infinity"))
    raw.ready()
    for task in raw.tasks():
        raw.answer(task, os.getpid() if (task["payload"] or {}).get("good") else {"loss": float(number)})


if __name__ == "__main__":
    main()
