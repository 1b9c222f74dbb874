"""Where Redis is and how many slots there are, for the programs of all peers."""

import os

HOST = os.environ["BENCH_REDIS_HOST"]
PORT = int(os.environ["BENCH_REDIS_PORT"])
CONCURRENCY = int(os.environ.get("BENCH_CONCURRENCY", "1"))
BROKER_URL = f"redis://{HOST}:{PORT}/0"
RESULT_URL = f"redis://{HOST}:{PORT}/1"
#: Seconds to wait for one task's result.
TIMEOUT_S = 30
