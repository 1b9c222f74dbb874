"""Task code as the attacker: runs the attack that a task names, and returns what it got.

Runs in the task process with nothing but the standard library. A payload is
``{"attack": "module.function", "with": {...}}``, where ``WORKER`` stands for the worker's pid; the result is ``{"got": ...}`` with what the function
returned, or ``{"refused": "PermissionError: ..."}`` with what it raised.
"""

import importlib
import json
import os
import sys


def run(name, arguments):
    module, _, function = name.partition(".")
    # The worker started this process.
    arguments = {key: os.getppid() if value == "WORKER" else value for key, value in arguments.items()}
    try:
        return {"got": getattr(importlib.import_module(module), function)(**arguments)}
    except BaseException as exc:
        return {"refused": f"{type(exc).__name__}: {exc}"}


print(json.dumps({"status": "ready"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    payload = request["payload"]
    result = run(payload["attack"], payload.get("with", {}))
    print(json.dumps({"task_id": request["task_id"], "result": result}), flush=True)
