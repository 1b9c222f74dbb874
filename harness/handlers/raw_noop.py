"""The task process of the benchmark: straight on stdin and stdout, each result the time at which it began.

A payload {"seconds": 0.01} makes it sleep for so long; the result is then when it began and when it ended. It
keeps no diary: nothing but the worker is to be measured.

Outcome: tasks are completed.
"""

import json
import sys
import time


def main() -> None:
    out = sys.stdout
    out.write('{"status": "ready"}\n')
    out.flush()
    for line in sys.stdin:
        began = time.time()
        request = json.loads(line)
        result, payload = began, request["payload"]
        if isinstance(payload, dict) and "seconds" in payload:
            time.sleep(payload["seconds"])
            result = [began, time.time()]
        out.write(json.dumps({"task_id": request["task_id"], "result": result}) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
