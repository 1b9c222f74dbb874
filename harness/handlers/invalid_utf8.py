"""Answers in bytes that are no UTF-8; {"good": true} is answered well.

Outcome: that task fails for good, with the reason; the next one is not touched.
"""

import json
import os

import diary
import raw


def main() -> None:
    raw.ready()
    for task in raw.tasks():
        if (task["payload"] or {}).get("good"):
            raw.answer(task, os.getpid())
            continue
        diary.record("end", task["task_id"])
        raw.write(b'{"task_id": %s, "result": "\xff\xfe\xc3"}\n' % json.dumps(task["task_id"]).encode())


if __name__ == "__main__":
    main()
