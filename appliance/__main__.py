"""The program's entry: patches the standard library for gevent, then hands over to the command line.

Only the worker itself needs gevent. Parsing the command line first is safe because
:mod:`appliance.cli` imports nothing that gevent patches, and lets the other commands start fast.
"""

import os
import signal
import sys
from pathlib import Path

from appliance import cli

#: The commands that talk to Redis.
_ON_GEVENT = ("run", "crashes", "explain")
#: Signals that mean something to a worker, and would end or suspend a program that has not asked for them.
_DEFERRED = frozenset((signal.SIGTSTP, signal.SIGCONT, signal.SIGHUP, signal.SIGUSR1))


def main() -> int:
    """Run ``runqy-appliance`` with this process's arguments; returns the exit status."""
    invocation = cli.parse(sys.argv[1:])
    if invocation.command == "run":
        # Importing the worker takes a while, and being stopped meanwhile is a stop like any other.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: os._exit(0))
        # The others would end or suspend us; the kernel keeps them until the worker listens.
        signal.pthread_sigmask(signal.SIG_BLOCK, _DEFERRED)
    if invocation.command in _ON_GEVENT:
        from gevent import monkey  # noqa: PLC0415

        monkey.patch_all()
    return cli.execute(invocation, os.environ, Path.cwd())


if __name__ == "__main__":
    sys.exit(main())
