"""Prints JSON that is no object, and objects that are no answers, around each answer.

Outcome: tasks are completed; the lines are log output.
"""

import os

import raw

LINES = (
    b"[]",
    b"null",
    b"17",
    b'"text"',
    b"{}",
    b'{"result": 1}',
    b'{"task_id": 1}',
    b'{"task_id": ',
    b"",
    b"}",
)


def main() -> None:
    raw.ready()
    for task in raw.tasks():
        raw.write(b"\n".join(LINES) + b"\n")
        raw.answer(task, os.getpid())
        raw.write(b"\n".join(LINES) + b"\n")


if __name__ == "__main__":
    main()
