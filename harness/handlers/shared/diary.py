"""What a handler did and when, told by itself: a JSON object a line, in the file named by HANDLER_DIARY.

Without HANDLER_DIARY nothing is written. ``stderr`` instead of a path writes lines ``DIARY {json}`` there,
for where no folder is shared: they are in the worker's log and in Redis (``asynq:workers:{id}:logs``). A
line has ``event``, ``task_id`` (null where there is none), ``wall_ns``, ``mono_ns``, ``pid``, and what an
event adds.

Events of every handler: ``start``; ``ready``; ``begin`` and ``end`` of a task, ``end`` with ``error`` where
it failed; ``exit`` where the process ends by itself and in order. Some add their own, such as ``crash``.

A handler of the SDK decorates its function with :func:`kept`; ``raw`` does it for the others.
"""

import atexit
import functools
import json
import os
import sys
import time

_WHERE = os.environ.get("HANDLER_DIARY", "")
if _WHERE and _WHERE != "stderr" and not os.path.isabs(_WHERE):
    sys.exit(f"HANDLER_DIARY is {_WHERE!r}: expected stderr or the absolute path of a file")
_FILE = os.open(_WHERE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) if os.path.isabs(_WHERE) else 2
_PREFIX = "DIARY " if _WHERE == "stderr" else ""


def record(event, task_id=None, **more):
    """Write a line, in one write, so that the lines of several processes never mix."""
    if not _WHERE:
        return
    entry = {
        "event": event,
        "task_id": task_id,
        "wall_ns": time.time_ns(),
        "mono_ns": time.monotonic_ns(),
        "pid": os.getpid(),
        **more,
    }
    os.write(_FILE, f"{_PREFIX}{json.dumps(entry)}\n".encode())


def opened():
    """Record the start now, and the exit when it comes about in order."""
    record("start")
    # A child that was forked has no part in the end of its parent.
    pid = os.getpid()
    atexit.register(lambda: record("exit") if os.getpid() == pid else None)


def kept(handle):
    """Record each call of an SDK handler's function; the SDK tells it no id, so that is overheard."""
    opened()
    overheard = _Overheard(sys.stdin)
    sys.stdin = overheard

    @functools.wraps(handle)
    def recorded(*arguments):
        record("begin", overheard.task_id)
        try:
            result = handle(*arguments)
        except Exception as exc:
            record("end", overheard.task_id, error=f"{type(exc).__name__}: {exc}")
            raise
        record("end", overheard.task_id)
        return result

    recorded.task_id = lambda: overheard.task_id
    return recorded


class _Overheard:
    """stdin as the SDK reads it, line by line; the first read tells that the process said it was ready."""

    def __init__(self, stdin):
        self._stdin = stdin
        self._read = False
        self.task_id = None

    def __iter__(self):
        return iter(self.readline, "")

    def readline(self):
        if not self._read:
            self._read = True
            record("ready")
        line = self._stdin.readline()
        try:
            self.task_id = json.loads(line)["task_id"]
        except (ValueError, KeyError, TypeError):
            self.task_id = None
        return line
