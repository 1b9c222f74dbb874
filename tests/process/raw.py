"""The protocol by hand, for handlers that misbehave in ways the SDK would not allow; beside main.py."""

import json
import sys


def say(**line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def ready():
    say(status="ready")


def tasks():
    for line in sys.stdin:
        yield json.loads(line)


def answer(task, result=None, **more):
    say(task_id=task["task_id"], result=result, **more)
