"""Landlock, the kernel's own access control for programs without privileges: its three system calls.

Facts: the kernel's ``include/uapi/linux/landlock.h`` and ``Documentation/userspace-api/landlock.rst``.
There is no binding in the C library, and none is needed: numbers and structures are the same on every
architecture, and what is used here of a newer version is used only where the kernel has it.
"""

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from appliance.isolation.domain import Access

#: The versions (``ABI``) from which on the kernel has it; see :func:`version`.
RENAMES_ABI, TRUNCATE_ABI, SCOPES_ABI = 2, 3, 6

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

#: What says nothing of a path, but that this machine has no more to give just now.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
#: Removing and making of every kind.
_CHANGE_DIR = sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE = 1 << 13, 1 << 14
#: What a rule for a file, not a folder, may grant.
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1 << 0, 1 << 1

_GRANTS = {
    Access.NONE: 0,
    Access.LIST: _READ_DIR,
    Access.READ: _READ_DIR | _READ_FILE | _EXECUTE,
    Access.FULL: _READ_DIR | _READ_FILE | _EXECUTE | _WRITE_FILE | _CHANGE_DIR | _REFER | _TRUNCATE,
}

# Loaded before any fork: between fork and exec another thread's lock may be held for ever, so no imports.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class _Ruleset(ctypes.Structure):
    _fields_ = [
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    ]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [
        ("allowed_access", ctypes.c_uint64),
        ("parent_fd", ctypes.c_int32),
    ]


def version() -> int:
    """The kernel's version of Landlock, 0 where it has none, or it is switched off or kept from us."""
    if _LIBC is None:
        return 0
    return max(0, int(_LIBC.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION)))


def make(rules: Iterable[tuple[Path, Access]], *, abi: int, scoped: bool) -> int:
    """A set of rules as a descriptor, the caller's to close; raises OSError.

    A path that is gone by now is left out, as is one that the worker itself may not look at.
    """
    handled = _handled(abi)
    attributes = _Ruleset(handled, 0, _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if scoped else 0)
    size = 24 if abi >= SCOPES_ABI else 16 if abi >= 4 else 8
    descriptor = _call(_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), 0)
    try:
        for path, access in rules:
            _add(descriptor, path, _GRANTS[access] & handled)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def enter(descriptor: int) -> None:
    """Between fork and exec: this process, and all that it starts, is held to the rules for good."""
    if _LIBC is None:
        return
    if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs could not be set")
    _call(_RESTRICT_SELF, descriptor, 0)


def _add(descriptor: int, path: Path, grant: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno in EXHAUSTED:
            raise
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            grant &= _OF_FILES
        if grant:
            attributes = _PathBeneath(grant, place)
            _call(_ADD_RULE, descriptor, _PATH_BENEATH, ctypes.byref(attributes), 0)
    finally:
        os.close(place)


def _handled(abi: int) -> int:
    """The rights that need a grant. Not ``ioctl`` of devices or the network: nothing here closes them."""
    rights = _GRANTS[Access.FULL]
    if abi < RENAMES_ABI:
        rights &= ~_REFER
    if abi < TRUNCATE_ABI:
        rights &= ~_TRUNCATE
    return rights


def _call(number: int, *arguments: object) -> int:
    if _LIBC is None:
        raise OSError("Landlock is Linux's alone")
    result = int(_LIBC.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"Landlock: {os.strerror(error)}")
    return result
