"""Puts a program into its domain between fork and exec: rules are made before, two system calls remain.

So a confined start costs no extra process, and nothing that can block happens in the child. A program that
cannot be confined does not run.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from appliance.isolation import landlock, seccomp
from appliance.isolation.domain import Domain
from appliance.isolation.kept import Rulesets
from appliance.isolation.report import Kernel, Level, uses_landlock

#: To be called between fork and exec (``preexec_fn``).
Enter = Callable[[], None]
#: Makes what a start needs, and frees it once the program runs.
Confine = Callable[[], AbstractContextManager[Enter]]


def unconfined() -> AbstractContextManager[Enter]:
    """A :data:`Confine` that confines nothing."""
    return nullcontext(_nothing)


class Confinement:
    """Confines programs as ``level`` says, as far as ``kernel`` can."""

    def __init__(self, level: Level, kernel: Kernel) -> None:
        self.level = level
        self._rulesets = Rulesets(kernel.landlock_abi) if uses_landlock(level, kernel) else None
        self._filter = seccomp.Filter() if kernel.seccomp else None

    def confine(self, domain: Domain) -> AbstractContextManager[Enter]:
        """Hold the next program to ``domain``: ``with confine(...) as enter: Popen(..., preexec_fn=enter)``.

        Raises OSError where the kernel refuses; the program must not be started then. Paths that are gone by
        now, and entries made later in :func:`~appliance.isolation.domain.ways`, are in no grant.
        """
        if self.level is Level.OFF:
            return unconfined()
        return self._confine(domain)

    @contextmanager
    def _confine(self, domain: Domain) -> Iterator[Enter]:
        ruleset = self._rulesets.get(domain) if self._rulesets else None
        calls = self._filter

        def enter() -> None:
            if ruleset is not None:
                landlock.enter(ruleset)
            if calls is not None:
                calls.enter()

        try:
            yield enter
        finally:
            if ruleset is not None:
                os.close(ruleset)


def _nothing() -> None:
    """Enter no domain."""
