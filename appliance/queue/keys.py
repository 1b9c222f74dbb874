"""Names of everything in Redis: asynq's layout, as runqy's server and clients use it. Pure.

All keys of one queue begin with :func:`prefix`, whose braces are a Redis Cluster hash tag, so that
they share a slot and one script may touch them. A literal key anywhere else is a mistake.
"""

#: Set of queue names.
QUEUES = "asynq:queues"
#: Pub/sub channel; a message is the id of a task to cancel.
CANCEL = "asynq:cancel"
#: Sorted set of worker ids by the time (unix seconds) until which they are remembered.
WORKERS = "asynq:workers"


def prefix(queue: str) -> str:
    """What every key of ``queue`` begins with."""
    return f"asynq:{{{queue}}}:"


def pending(queue: str) -> str:
    """List of ids waiting to be taken; clients push left, workers take from the right."""
    return prefix(queue) + "pending"


def active(queue: str) -> str:
    """List of ids being worked on."""
    return prefix(queue) + "active"


def task(queue: str, task_id: bytes) -> bytes:
    """Hash that is the task."""
    return prefix(queue).encode() + b"t:" + task_id


def lookup(task_id: bytes) -> bytes:
    """Hash that says which queue a task is in; written by the server, in another slot."""
    return b"asynq:t:" + task_id


def worker(worker_id: str) -> str:
    """Hash a worker describes itself in, see the heartbeat."""
    return f"asynq:workers:{worker_id}"


def worker_logs(worker_id: str) -> str:
    """List of the newest lines a worker's task process printed; the server reads it by position."""
    return f"asynq:workers:{worker_id}:logs"


def worker_crashes(worker_id: str) -> str:
    """List of the newest crash dossiers of a worker; ``*`` for a pattern that finds every worker's.

    It outlives the worker by days, hence not under ``asynq:workers:``: what is there counts as a worker.
    """
    return f"asynq:crashes:{worker_id}"
