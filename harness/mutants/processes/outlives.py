"""Goes on when the task process has died, which stays unseen: ``python mutant.py python main.py``."""

import signal
import subprocess
import sys


def main() -> int:
    subprocess.run(sys.argv[1:], check=False)
    signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
