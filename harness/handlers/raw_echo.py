"""Echoes without the SDK, straight on stdin and stdout: nothing to install, quick to start.

Good for both modes: it ends when stdin does.

Outcome: tasks are completed; the result has the payload, the pid and the number of the retry.
"""

import os

import raw


def main() -> None:
    raw.ready()
    for task in raw.tasks():
        result = {"echo": task["payload"], "pid": os.getpid(), "retry_count": task["retry_count"]}
        raw.answer(task, result)


if __name__ == "__main__":
    main()
