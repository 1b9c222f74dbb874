"""Whoever reads the worker's log may stall, end or be missing: lines are lost, and no time."""

import os
import sys
from pathlib import Path

import pytest
import structlog

from appliance.config.settings import LogSettings
from appliance.observe import log
from appliance.observe.redaction import Redactor
from appliance.observe.stream import LogStream
from harness import wait
from tests.integration.world import World

#: Starts what follows with a log that is read by no one: a pipe whose other end is open, or is not, or none.
READER = """
import os, sys
how, *command = sys.argv[1:]
if how == "missing":
    os.close(2)
else:
    out, into = os.pipe()
    os.dup2(into, 2)
    os.set_inheritable(out, how == "stalls")
os.execv(command[0], command)
"""
#: Writes more for each task than a pipe holds.
CHATTY = """
import json, sys
print(json.dumps({"status": "ready"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    for _ in range(100):
        print("x" * 1_000, file=sys.stderr, flush=True)
    print(json.dumps({"task_id": request["task_id"], "result": None}), flush=True)
"""


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def read_all(descriptor: int, stream: LogStream, enough: int) -> bytes:
    read = b""
    while read.count(b"\n") < enough:
        read += os.read(descriptor, 1 << 16)
    assert stream.drain(10)
    return read


def test_a_reader_that_stalls_costs_lines_and_no_time(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    stream = LogStream(writer, most_waiting_bytes=100_000)
    lines = [f"{n:04} {'x' * 994}\n" for n in range(1_000)]
    for line in lines:
        stream.write(line)  # returns, or this test stands still
    assert not stream.drain(0)
    # A pipe holds 64 KiB; the one chunk that is being written counts as waiting.
    assert 0 < stream.lost < 1_000

    written = read_all(reader, stream, 1_000 - stream.lost).decode().splitlines(keepends=True)
    assert written == lines[: len(written)]


def test_lost_lines_are_said_once_when_it_goes_on(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    stream = LogStream(writer, most_waiting_bytes=100_000)
    log.configure(LogSettings(level="info", format="json"), Redactor(), stream)
    try:
        logger = structlog.get_logger()
        count = 0
        while stream.lost < 10:
            logger.info("worker.running", text="x" * 1_000)
            count += 1
        written = read_all(reader, stream, count - 10)
        logger.info("worker.running")
        logger.info("worker.running")
        written += read_all(reader, stream, 3)
    finally:
        structlog.reset_defaults()
    assert written.count(b"log.lines_lost") == 1
    assert b'"lines": 10' in written


@pytest.mark.parametrize(("place", "mode"), [("/dev/full", os.O_WRONLY), ("/dev/null", os.O_RDONLY)])
def test_what_cannot_be_written_is_counted_and_raises_nothing(place: str, mode: int) -> None:
    stream = LogStream(os.open(place, mode))
    stream.write("one\n")
    stream.write("two\n")
    assert stream.drain(10)
    assert stream.lost == 2


def test_a_descriptor_that_does_not_block_is_written_to_as_well(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    stream = LogStream(writer)
    for n in range(200):
        stream.write(f"{n:04} {'x' * 994}\n")
    assert read_all(reader, stream, 200).count(b"x\n") == 200
    assert stream.lost == 0


@pytest.mark.parametrize("how", ["stalls", "ends", "missing"])
def test_the_worker_goes_on_when_nobody_reads_its_log(world: World, tmp_path: Path, how: str) -> None:
    world.serve({"main.py": CHATTY})
    world.seed(50)
    command = (sys.executable, "-c", READER, how, sys.executable, "-m", "appliance")
    worker = world.worker(command)
    world.completed(50, worker)
    wait.until(world.heartbeats, 60, "a heartbeat")
    worker.terminate()
    assert worker.wait(60) == 0
