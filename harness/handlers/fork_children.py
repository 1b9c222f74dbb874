"""Starts children that ignore SIGTERM and would outlive it.

It answers with their pids; {"die": true} crashes.

HANDLER_CHILDREN: how many, when it starts (default 2).
HANDLER_SESSION: same (its process group, its pipes held open) or own (another session, no pipes)
(default same).

Outcome: tasks are completed; no child survives the process's end, however it comes.
"""

import os
import signal
import time

import diary
import raw
import settings


def child(own_session: bool) -> int:
    pid = os.fork()
    if pid:
        return pid
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if own_session:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nowhere, number)
    while True:
        time.sleep(3600)


def main() -> None:
    own = settings.choice("HANDLER_SESSION", "same", ("same", "own")) == "own"
    pids = [child(own) for _ in range(settings.whole("HANDLER_CHILDREN", 2, least=1))]
    diary.record("forked", children=pids)
    raw.ready()
    for task in raw.tasks():
        if (task["payload"] or {}).get("die"):
            diary.record("crash", task["task_id"])
            settings.die(1)
        raw.answer(task, {"pid": os.getpid(), "children": pids})


if __name__ == "__main__":
    main()
