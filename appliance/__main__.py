"""The program's entry: has the standard library patched for gevent, then hands over to the command line.

Only the worker itself needs gevent. Parsing the command line first is safe because
:mod:`appliance.cli` imports nothing that gevent patches, and lets the other commands start fast.
"""

import os
import signal
import sys
from pathlib import Path

from appliance import cli, patching
from appliance.exits import Exit

#: The commands that talk to Redis.
_ON_GEVENT = ("run", "crashes", "explain")
#: What structlog and httpx load where it happens to be installed, for consoles that a worker has none of: a
#: seventh of its start, and tracebacks that look different from place to place.
_NOT_FOR_US = ("click", "rich")
#: Signals that mean something to a worker, and would end or suspend a program that has not asked for them.
_DEFERRED = frozenset((signal.SIGTSTP, signal.SIGCONT, signal.SIGHUP, signal.SIGUSR1))


def _open_missing_streams() -> None:
    """Open what the program that started us has closed: the next socket would else be in the log's place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def main() -> int:
    """Run ``runqy-appliance`` with this process's arguments; returns the exit status."""
    _open_missing_streams()
    options = cli.parse(sys.argv[1:])
    if options.command == "run":
        # Importing the worker takes a while, and being stopped meanwhile is a stop like any other.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: os._exit(0))
        # The others would end or suspend us; the kernel keeps them until the worker listens.
        signal.pthread_sigmask(signal.SIG_BLOCK, _DEFERRED)
    if options.command in _ON_GEVENT:
        if problem := patching.patch():
            print(f"configuration: 1 problem\n  {problem}", file=sys.stderr, flush=True)
            # At once: the interpreter's own end goes through gevent, too, and fails once more.
            os._exit(Exit.CONFIGURATION)
        for name in _NOT_FOR_US:
            # An import of it fails from now on, as where it is not installed.
            sys.modules[name] = None  # type: ignore[assignment]
    return cli.execute(options, os.environ, Path.cwd())


if __name__ == "__main__":
    sys.exit(main())
