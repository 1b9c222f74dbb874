"""One deployment at a time in a folder, across processes and containers that share it.

The lock is the kernel's (``flock``): it ends with its holder, however that ends. It is held while
deploying only; which folders processes run from, and must not change, is what
:mod:`~appliance.deploy.slots` knows.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from appliance.clock import Clock
from appliance.errors import DeploymentUnavailable

log = structlog.get_logger()

#: Seconds to wait for another worker's deployment: longer than a whole one may take.
LIMIT_S = 2 * 3600.0
#: Seconds between attempts at the lock, and between log lines about waiting for it.
POLL_S = 0.5
SAY_EVERY_S = 30.0
#: File systems without locks, some network ones, say so with these.
_UNSUPPORTED = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})


@contextmanager
def folder_lock(path: Path, clock: Clock, limit_s: float = LIMIT_S) -> Iterator[int]:
    """Hold the lock on the file ``path``, made if need be; yields its file descriptor.

    Raises :class:`~appliance.errors.DeploymentUnavailable` after ``limit_s`` seconds, OSError where
    the file cannot be made.
    """
    # Not removed at the end: another worker may wait on this very file already.
    fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        _take(fd, path, clock, limit_s)
        yield fd
    finally:
        os.close(fd)


def _take(fd: int, path: Path, clock: Clock, limit_s: float) -> None:
    started_s = clock.monotonic()
    said_s = started_s - SAY_EVERY_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            now_s = clock.monotonic()
        except OSError as exc:
            if exc.errno not in _UNSUPPORTED:
                raise
            log.warning("deploy.lock_unsupported", path=str(path), error=exc.strerror)
            return
        else:
            return
        if now_s - started_s >= limit_s:
            raise DeploymentUnavailable(
                f"another worker has been deploying for {limit_s:g} s (it holds {path}); "
                "give workers that cannot share a deployment their own RUNQY_DEPLOYMENT_DIR"
            )
        if now_s - said_s >= SAY_EVERY_S:
            said_s = now_s
            log.info("deploy.waiting_for_lock", path=str(path), waited_s=round(now_s - started_s))
        clock.sleep(POLL_S)
