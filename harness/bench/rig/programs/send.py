"""`send.py PROGRAM enqueue COUNT` or `PROGRAM latency COUNT`: the client of a peer, in its environment.

`enqueue` puts tasks into the queue. `latency` sends tasks one by one to an idle worker and prints,
as JSON, the seconds from just before each is sent to the time at which it began. A program has
a function `enqueue(count)` and a function `send_and_get()` that returns the result of one new task.
"""

import importlib
import json
import random
import sys
import time

#: Seconds between the tasks of a latency measurement, as for our worker.
PAUSES_S = (0.02, 0.08)


def main(name: str, command: str, count: int) -> None:
    program = importlib.import_module(name)
    if command == "enqueue":
        program.enqueue(count)
        return
    rng = random.Random(1)
    latencies = []
    for _ in range(count):
        time.sleep(rng.uniform(*PAUSES_S))
        sent = time.time()
        latencies.append(program.send_and_get() - sent)
    print(json.dumps(latencies))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
