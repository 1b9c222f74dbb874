"""Answers each task again, otherwise than before.

HANDLER_TIMES: how often in all, 2 or more (default 3).

Outcome: tasks are completed once, with the first answer; the others are ignored, counted and logged once.
"""

import raw
import settings


def main() -> None:
    times = settings.whole("HANDLER_TIMES", 3, least=2)
    raw.ready()
    for task in raw.tasks():
        raw.answer(task, 1)
        for number in range(2, times + 1):
            raw.say(task_id=task["task_id"], result=number, error=f"answer {number}")


if __name__ == "__main__":
    main()
