"""The protocol by hand, for what the SDK would not do: a JSON object a line on stdin and stdout."""

import json
import sys

import diary


def say(**line):
    """Write one line of the protocol."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def ready():
    """Say ready. The diary has it just before the worker can."""
    diary.record("ready")
    say(status="ready")


def tasks():
    """The tasks as they come, until stdin ends."""
    for line in sys.stdin:
        task = json.loads(line)
        diary.record("begin", task["task_id"])
        yield task


def answer(task, result=None, **more):
    """Answer a task, with ``error`` and ``retry`` perhaps."""
    diary.record("end", task["task_id"], **{key: more[key] for key in ("error",) if more.get(key)})
    say(task_id=task["task_id"], result=result, **more)


def write(data):
    """Write bytes on stdout as they are."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


diary.opened()
