"""Fails without the SDK, with every flag it is told: {"retry": true}, {"retry": false}, or none.

{"message": "…"} says why; {"fail": false} succeeds.

Outcome: the task is retried, or archived: see the table of what ends a task.
"""

import raw


def main() -> None:
    raw.ready()
    for task in raw.tasks():
        payload = task["payload"]
        if not payload.get("fail", True):
            raw.answer(task, {"echo": payload})
            continue
        flag = {"retry": payload["retry"]} if "retry" in payload else {}
        raw.answer(task, error=payload.get("message", "as told"), **flag)


if __name__ == "__main__":
    main()
