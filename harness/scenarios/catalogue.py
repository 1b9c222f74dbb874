"""All scenarios there are: every module below a group that has a ``play``."""

import importlib
import pkgutil
from collections.abc import Sequence
from importlib import resources

from harness.scenarios.scenario import GROUPS, Scenario


class NoSuchScenario(Exception):
    """A group or a name that nothing has; the message says which there are."""


def every() -> list[Scenario]:
    """All scenarios, by group and name."""
    found = []
    for group in GROUPS:
        folder = str(resources.files("harness.scenarios").joinpath(group))
        for module in sorted(entry.name for entry in pkgutil.iter_modules([folder])):
            found.append(importlib.import_module(f"harness.scenarios.{group}.{module}").play)
    return found


def chosen(scenarios: Sequence[Scenario], only: Sequence[str]) -> list[Scenario]:
    """Those whose group or name is in ``only``; all where that is empty. Raises :class:`NoSuchScenario`."""
    for wanted in only:
        if not any(wanted in {each.group, each.name} for each in scenarios):
            names = ", ".join(each.name for each in scenarios)
            raise NoSuchScenario(f"{wanted!r}: expected a group or one of {names}")
    return [each for each in scenarios if not only or {each.group, each.name} & set(only)]
