"""A program whose output is read by no one: its exit status, and what it says on stderr."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def closed_pipe(program: Sequence[str], folder: Path, env: Mapping[str, str]) -> tuple[int, bytes]:
    """Run ``program`` in ``folder`` with a pipe for its output whose reader has ended before it starts."""
    # A shell does all of it: a pipe made here could be inherited by what else is started.
    script = 'rm -f ended; mkfifo gone; (: < gone) & exec 3> gone; wait $!; "$@" >&3; echo $? > ended'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *program],
        cwd=folder,
        env=env,
        stderr=subprocess.PIPE,
        check=False,
        timeout=600,
    )
    return int((folder / "ended").read_text()), done.stderr
