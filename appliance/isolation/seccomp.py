"""A filter for the few system calls that reach another process of the same user past every other protection.

Landlock closes signals, ``ptrace`` and ``/proc``, but knows nothing of resource limits: any program may set
those of every other program of its user, and end it that way (no CPU time, no more open files). The filter
refuses, with EPERM, to *set* limits of another process (reading them goes on), and to change the one limit
that marks the descendants of a task process (:mod:`appliance.process.kin`).

Written here, and not with libseccomp: that is a library of the system's that is not everywhere, and the whole
program is thirty instructions. Facts: the kernel's ``include/uapi/linux/{seccomp,filter,audit}.h``.
"""

import ctypes
import os
import platform
import struct
import sys

from appliance.values import value_class

#: ``RLIMIT_RTTIME``, the same on every architecture.
MARK = 15

_PR_SET_NO_NEW_PRIVS, _PR_GET_SECCOMP, _PR_SET_SECCOMP, _MODE_FILTER = 38, 21, 22, 2

_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 1  # SECCOMP_RET_ERRNO with EPERM
_LOAD, _JUMP, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16


@value_class
class Calls:
    """One architecture as the kernel names it, with the numbers of the calls that are looked at."""

    architecture: int
    prlimit64: int
    setrlimit: int


#: By :func:`platform.machine`; the second is that of 32-bit programs, which such a machine runs as well.
_ARCHITECTURES = {
    "x86_64": (Calls(0xC000003E, 302, 160), Calls(0x40000003, 340, 75)),
    "aarch64": (Calls(0xC00000B7, 261, 164), Calls(0x40000028, 369, 75)),
}
#: Numbers from here on are those of x32, a third set of numbers on x86-64 that no distribution uses.
_X32 = 0x40000000

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class _Program(ctypes.Structure):
    _fields_ = [
        ("length", ctypes.c_ushort),
        ("instructions", ctypes.c_char_p),
    ]


def available() -> bool:
    """Whether the kernel takes filters, on an architecture whose calls are known here."""
    if _LIBC is None or platform.machine() not in _ARCHITECTURES:
        return False
    return int(_LIBC.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0)) >= 0


class Filter:
    """The filter for this machine."""

    def __init__(self) -> None:
        self._architectures = _ARCHITECTURES[platform.machine()]

    def enter(self) -> None:
        """Between fork and exec: this process, and all that it starts, is held to the filter for good."""
        if _LIBC is None:
            return
        code = program(*self._architectures, own_pid=os.getpid())
        filters = _Program(len(code) // 8, code)
        if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "no_new_privs could not be set")
        if _LIBC.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filters), 0, 0):
            error = ctypes.get_errno()
            raise OSError(error, f"seccomp: {os.strerror(error)}")


def program(*architectures: Calls, own_pid: int) -> bytes:
    """The filter for these architectures in the kernel's form: eight bytes for each instruction.

    ``own_pid`` is that of the process which enters it: some programs name themselves by it.
    """
    code = [_Step(_LOAD, _ARCHITECTURE_AT)]
    for calls in architectures:
        part = _for_one(calls, own_pid)
        code += [_Step(_JUMP_EQUAL, calls.architecture, 0, len(part)), *part]
    # An architecture that this machine does not have.
    code.append(_Step(_RETURN, _ALLOW))
    return b"".join(struct.pack("=HBBI", step.code, step.yes, step.no, step.value) for step in code)


@value_class
class _Step:
    """One instruction; ``yes`` and ``no`` are how many to skip by the result of a comparison."""

    code: int
    value: int
    yes: int = 0
    no: int = 0


def _for_one(calls: Calls, own_pid: int) -> list[_Step]:
    """Ends in a verdict on every way."""
    allow, refuse = _Step(_RETURN, _ALLOW), _Step(_RETURN, _REFUSE)
    # prlimit64(pid, resource, new, old): the limit that marks, and any of another process (0 is oneself).
    prlimit64 = [
        # No new limit: it only reads. Both halves of a pointer.
        _argument(2),
        _Step(_JUMP_EQUAL, 0, 0, 2),
        _argument(2, upper=True),
        _Step(_JUMP_EQUAL, 0, 6, 0),
        _argument(1),
        _Step(_JUMP_EQUAL, MARK, 3, 0),
        _argument(0),
        _Step(_JUMP_EQUAL, 0, 2, 0),
        _Step(_JUMP_EQUAL, own_pid, 1, 0),
        refuse,
        allow,
    ]
    setrlimit = [_argument(0), _Step(_JUMP_EQUAL, MARK, 0, 1), refuse, allow]
    return [
        _Step(_LOAD, _NUMBER_AT),
        *([_Step(_JUMP_AT_LEAST, _X32, 0, 1), refuse] if calls.architecture == 0xC000003E else []),
        _Step(_JUMP_EQUAL, calls.prlimit64, 0, len(prlimit64)),
        *prlimit64,
        _Step(_JUMP_EQUAL, calls.setrlimit, 0, len(setrlimit)),
        *setrlimit,
        allow,
    ]


def _argument(number: int, *, upper: bool = False) -> _Step:
    """Load half of an argument; the machines here put the lower half first."""
    return _Step(_LOAD, _ARGUMENTS_AT + 8 * number + (4 if upper else 0))
