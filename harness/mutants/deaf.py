"""A worker that does not hear a signal: ``python -m harness.mutants.deaf TERM -- COMMAND``.

The signal reaches this program, the worker runs below it; it ends with this program, and this one with it.
"""

import os
import signal
import subprocess
import sys

from harness.sandbox import guard


def main() -> int:
    """Run the command until it ends; returns its exit status."""
    name, _, *command = sys.argv[1:]
    signal.signal(signal.Signals[f"SIG{name}"], signal.SIG_IGN)
    # In another session: what is meant for us alone shall reach us alone.
    return subprocess.run(
        guard.bound_to_us(command), env=os.environ, check=False, start_new_session=True, restore_signals=True
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
