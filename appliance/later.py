"""Modules that others import and we do not use: loaded when something in them is asked for, mostly never."""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any


class _Later(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module, and loads it at its first use.

    Not importlib's LazyLoader: its modules are loaded by a second import, which asks for their ``__spec__``.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = None
        if fullname == self._name:
            spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            self._loader = spec.loader
            spec.loader = self
        return spec

    def exec_module(self, module: Any) -> None:
        def first_asked(attribute: str) -> Any:
            del module.__getattr__
            self._loader.exec_module(module)
            return getattr(module, attribute)

        module.__getattr__ = first_asked


def at_first_use(name: str) -> None:
    """Have a module loaded by its first use and not by its import, where that is still to come."""
    sys.meta_path.insert(0, _Later(name))
