"""A folder and a Redis for one measurement alone, and what the machine is like beforehand."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.bench.rig import machine
from harness.failure import CommandFailed
from harness.sandbox.redis import RedisServer, RedisUnavailable


@dataclass(frozen=True)
class Room:
    """Where a measurement is made. ``machine`` are its facts, by what they are called."""

    folder: Path
    server: RedisServer
    machine: Mapping[str, str]


@contextlib.contextmanager
def room() -> Iterator[Room]:
    """Raises :class:`~harness.failure.CommandFailed` where there is no Redis to be had."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="runqy-bench-")))
        try:
            server = stack.enter_context(RedisServer(folder / "redis"))
        except RedisUnavailable as exc:
            raise CommandFailed(str(exc)) from exc
        with contextlib.closing(server.client()) as db:
            facts = machine.facts(db)
        yield Room(folder, server, facts)
