"""What a handler is told by its environment, a vault's entries included; a value that makes no sense ends it.

The last line on stderr then says which variable it is, its value and what is allowed, and so does the worker.
"""

import os
import re
import signal
import sys


def whole(name, default, least=0):
    """A whole number, ``least`` or more."""
    text = os.environ.get(name, "")
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        _refuse(name, text, f"a whole number, {least} or more")
    return int(text)


def seconds(name, default):
    """Seconds, with a fraction perhaps."""
    text = os.environ.get(name, "")
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        _refuse(name, text, "seconds, such as 1.5")
    return float(text)


def choice(name, default, allowed):
    """One of the words ``allowed``."""
    text = os.environ.get(name, "") or default
    if text not in allowed:
        _refuse(name, text, f"one of {', '.join(allowed)}")
    return text


def death(name, default):
    """How to die: an exit status, or a signal by its name; returns what :func:`die` wants."""
    text = os.environ.get(name, "") or default
    if re.fullmatch(r"[0-9]{1,3}", text) and int(text) <= 255:
        return int(text)
    if text not in signal.Signals.__members__:
        _refuse(name, text, "an exit status from 0 to 255, or a signal such as SIGKILL")
    return signal.Signals[text]


def die(how):
    """End this process at once, without any cleaning up."""
    if isinstance(how, signal.Signals):
        if how not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(how, signal.SIG_DFL)
        os.kill(os.getpid(), how)
    os._exit(int(how))


def _refuse(name, text, expected):
    sys.exit(f"{name} is {text!r}: expected {expected}")
