"""Takes its time without the SDK: {"seconds": 1.5}.

HANDLER_SECONDS: for a payload that does not say (default 0).

Outcome: tasks are completed; the result is the pid.
"""

import os
import time

import raw
import settings


def main() -> None:
    seconds = settings.seconds("HANDLER_SECONDS", 0)
    raw.ready()
    for task in raw.tasks():
        time.sleep((task["payload"] or {}).get("seconds", seconds))
        raw.answer(task, os.getpid())


if __name__ == "__main__":
    main()
