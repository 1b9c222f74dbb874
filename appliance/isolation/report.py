"""Which protections the level asks for, which the kernel has, and so which are in force. Pure."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from types import MappingProxyType

from appliance.isolation.landlock import RENAMES_ABI, SCOPES_ABI, TRUNCATE_ABI
from appliance.values import value_class


class Level(StrEnum):
    """How much of the machine task code may reach; see ``RUNQY_ISOLATION``."""

    AUTO = "auto"
    STRICT = "strict"
    REQUIRE = "require"
    OFF = "off"


class Protection(StrEnum):
    """What task code is kept from."""

    #: Reading and writing files that are the worker's own.
    FILES = "files"
    #: Emptying such a file by its name, which is a right for itself.
    TRUNCATION = "truncation"
    #: Looking into other processes: memory, environment, descriptors, ``ptrace``.
    PROCESSES = "processes"
    #: Signalling the worker and everything else it did not start itself.
    SIGNALS = "signals"
    #: Connecting to abstract sockets of other processes.
    SOCKETS = "sockets"
    #: Setting resource limits of other processes.
    LIMITS = "limits"
    #: Looking into the worker, on a kernel without any of the above.
    WORKER = "worker"
    #: Reading the worker's secrets in the environment of the process with the id 1.
    INIT = "init"
    #: Outliving the process that started it.
    DESCENDANTS = "descendants"


@value_class
class Kernel:
    """What there is: Landlock's version (0: none), and whether filters of system calls can be set."""

    landlock_abi: int = 0
    seccomp: bool = False


@value_class
class Report:
    """What is in force at ``level``; ``lacking`` says of the others why not."""

    level: Level
    lacking: Mapping[Protection, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def in_force(self) -> tuple[Protection, ...]:
        """The protections that hold."""
        return tuple(each for each in Protection if each not in self.lacking)


def uses_landlock(level: Level, kernel: Kernel) -> bool:
    """Whether task code gets a domain.

    The first version refuses to rename from one folder to another, whatever is granted: auto does without,
    since what task code does legitimately has to go on.
    """
    if level is Level.OFF:
        return False
    return kernel.landlock_abi >= (1 if level is Level.STRICT else RENAMES_ABI)


def report(level: Level, kernel: Kernel, found: Mapping[Protection, str]) -> Report:
    """``found`` is what else stands against a protection, and why."""
    if level is Level.OFF:
        off: dict[Protection, str] = dict.fromkeys(Protection, "RUNQY_ISOLATION=off")
        del off[Protection.DESCENDANTS]
        return Report(level, {**off, **found})
    lacking = dict(found)
    if not uses_landlock(level, kernel):
        reason = _without_landlock(kernel)
        lacking |= dict.fromkeys(
            (Protection.FILES, Protection.TRUNCATION, Protection.PROCESSES, Protection.SIGNALS), reason
        )
        lacking[Protection.SOCKETS] = reason
    else:
        if kernel.landlock_abi < TRUNCATE_ABI:
            lacking[Protection.TRUNCATION] = "the kernel is older than 6.2"
        if kernel.landlock_abi < SCOPES_ABI:
            lacking |= dict.fromkeys(
                (Protection.SIGNALS, Protection.SOCKETS), "the kernel is older than 6.12"
            )
    if not kernel.seccomp:
        lacking[Protection.LIMITS] = "no seccomp filter can be set here"
    return Report(level, lacking)


def _without_landlock(kernel: Kernel) -> str:
    if kernel.landlock_abi:
        return "Landlock of a kernel older than 5.19 would keep task code from renaming files"
    return "the kernel has no Landlock, or it is switched off (lsm=, a container engine's filter)"
