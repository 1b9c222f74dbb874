"""The task process of the benchmark: straight on stdin and stdout, each result the time at which it began.

It keeps no diary: nothing but the worker is to be measured.

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
        out.write(json.dumps({"task_id": request["task_id"], "result": began}) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
