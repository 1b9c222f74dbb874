"""Programs that cannot outlive the process that started them.

A child is started through a program that asks the kernel to kill it with its parent and then becomes what was
asked for, so nothing is left behind even when the parent is killed with SIGKILL. That keeps Python code out
of the moment between fork and exec, where threads make it unsafe.
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

# argv: [parent's pid, program, arguments …]. The parent may have died before prctl: then no process
# will ever tell us, and getppid() shows it.
_BECOME = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit(125)
os.execvpe(sys.argv[2], sys.argv[2:], os.environ)
"""
# The same, after util-linux' setpriv has asked the kernel: together a fifth of what a Python takes to start.
_SETPRIV = ("setpriv", "--pdeathsig", "KILL")
_CHECK = '[ "$PPID" = "$1" ] || exit 125; shift; exec "$@"'
#: What a shell adds to the environment of what it becomes.
_SHELLS = ("PWD", "OLDPWD")


def bound_to_us(command: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """``command`` such that it dies when this process (in truth: the thread that starts it) ends.

    ``environment`` is what the program will be started with, for the lookup on its PATH; None is
    our own. The pid that is started is the program's own. Raises FileNotFoundError where there is no
    such program: exec's own complaint would come from the child, too late to be understood.
    """
    program = command[0]
    environment = os.environ if environment is None else environment
    search = environment.get("PATH", os.defpath)
    found = shutil.which(program, path=search)
    if found is None:
        raise FileNotFoundError(f"there is no program {program!r} on PATH ({search})")
    return [*_becoming(environment), str(os.getpid()), found, *command[1:]]


def _becoming(environment: Mapping[str, str]) -> tuple[str, ...]:
    """What comes before a pid and a command: the quick way where it is one here."""
    # A shell drops variables whose names it does not like.
    if (quick := _quick()) and all(name.isidentifier() and name.isascii() for name in environment):
        drop = "".join(f"unset {name}; " for name in _SHELLS if name not in environment)
        return (*quick, "-c", drop + _CHECK, quick[-1])
    # -I and -S: nothing of the surrounding Python set-up is looked at, which also makes it quick.
    return (sys.executable, "-ISc", _BECOME)


@functools.cache
def _quick() -> tuple[str, ...]:
    """setpriv and a shell; empty where one of them is missing."""
    setpriv, shell = shutil.which(_SETPRIV[0]), shutil.which("sh")
    if setpriv and shell:
        asked = (setpriv, *_SETPRIV[1:])
        # Busybox has one that does not know of parents' deaths.
        if subprocess.run([*asked, "true"], check=False, capture_output=True).returncode == 0:
            return (*asked, shell)
    return ()
