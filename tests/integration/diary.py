"""A handler that keeps a diary of what it begins, and what a test reads from it and from the counters."""

from collections import Counter
from pathlib import Path

from harness import asynq
from tests.integration.world import QUEUE, World

_HANDLER = """
import json, os, sys, time
diary = os.open({diary!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
print(json.dumps({{"status": "ready"}}), flush=True)
for line in sys.stdin:
    task_id = json.loads(line)["task_id"]
    os.write(diary, f"begin {{task_id}}\\n".encode())
    time.sleep({run_s})
    os.write(diary, f"end {{task_id}}\\n".encode())
    print(json.dumps({{"task_id": task_id, "result": os.getpid()}}), flush=True)
"""


class Diary:
    """What the task processes of one world did; serving it makes every task last ``run_s`` seconds."""

    def __init__(self, world: World, run_s: float = 0.001) -> None:
        self._path: Path = world.folder / "diary"
        self._path.touch()
        world.serve({"main.py": _HANDLER.format(diary=str(self._path), run_s=run_s)})

    def begun(self) -> Counter[str]:
        """How often each task was begun."""
        return self._count("begin ")

    def ended(self) -> Counter[str]:
        """How often each task was brought to its end."""
        return self._count("end ")

    def _count(self, kind: str) -> Counter[str]:
        lines = self._path.read_text().splitlines()
        return Counter(line.removeprefix(kind) for line in lines if line.startswith(kind))


def charged(world: World, task_ids: list[str]) -> int:
    """Retries spent, over all tasks."""
    with world.db.pipeline() as pipe:
        for task_id in task_ids:
            pipe.hget(asynq.task_key(QUEUE, task_id), "retried")
        return sum(int(retried or 0) for retried in pipe.execute())
