"""How fast the task process is without any worker: requests straight into its stdin, by plain Python."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from harness.sandbox import guard
from harness.sandbox.handlers import handler_source

_CHUNK = 1 << 16
#: As the worker writes it.
_REQUEST = {
    "task_id": "0" * 36,
    "type": "task",
    "payload": None,
    "retry_count": 0,
    "max_retry": 3,
    "queue": "bench.default",
}


def tasks_per_s(in_flight: int, requests: int, folder: Path) -> float:
    """Answers a second with ``in_flight`` requests in the pipes; the first tenth is not counted."""
    program = folder / "raw_noop.py"
    program.write_text(handler_source("raw_noop"))
    requests_out, requests_in = os.pipe()
    answers_out, answers_in = os.pipe()
    child = subprocess.Popen(
        guard.bound_to_us([sys.executable, str(program)]),
        stdin=requests_out,
        stdout=answers_in,
        # As the worker sets it.
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    os.close(requests_out)
    os.close(answers_in)
    try:
        return _drive(requests_in, answers_out, in_flight, requests)
    finally:
        child.kill()
        child.wait()
        os.close(requests_in)
        os.close(answers_out)


def _drive(to_child: int, from_child: int, in_flight: int, requests: int) -> float:
    line = json.dumps(_REQUEST).encode() + b"\n"
    _read_lines(from_child)  # it is ready
    os.write(to_child, line * in_flight)
    warm = _answered(to_child, from_child, line, requests // 10)
    began_s = time.perf_counter()
    counted = _answered(to_child, from_child, line, requests - warm)
    return counted / (time.perf_counter() - began_s)


def _answered(to_child: int, from_child: int, line: bytes, least: int) -> int:
    """Send a request for each answer until at least so many came; returns how many did."""
    answered = 0
    while answered < least:
        came = _read_lines(from_child)
        answered += came
        os.write(to_child, line * came)
    return answered


def _read_lines(descriptor: int) -> int:
    chunk = os.read(descriptor, _CHUNK)
    if not chunk:
        raise EOFError("the task process ended")
    return chunk.count(b"\n")
