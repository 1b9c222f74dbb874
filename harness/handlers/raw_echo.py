"""Echoes without the SDK, straight on stdin and stdout: nothing to install, quick to start."""

import json
import os
import sys


def main() -> None:
    print(json.dumps({"status": "ready"}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        result = {"echo": request["payload"], "pid": os.getpid(), "retry_count": request["retry_count"]}
        print(json.dumps({"task_id": request["task_id"], "result": result}), flush=True)


if __name__ == "__main__":
    main()
