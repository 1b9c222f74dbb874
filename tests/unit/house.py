"""How large classes, signatures and lists of imports are. Reads files, runs nothing."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("appliance", "harness")
#: Programs of their own, which are copied to where they run.
ASIDE = (
    "harness/handlers/",
    "harness/init/templates/",
    "harness/mutants/processes/",
    "harness/chaos/program/",
    "harness/bench/rig/programs/",
)

LIMITS = {"lines": 200, "attributes": 12, "methods": 20, "parameters": 8, "imports": 22}


@dataclass(frozen=True)
class Measure:
    """``where`` is ``path:name``, or a path for a module; ``what`` a key of :data:`LIMITS`."""

    where: str
    what: str
    size: int


def modules() -> Iterator[tuple[str, str]]:
    """Every module of ours: its path from the root, and its text."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(ASIDE):
                yield name, path.read_text()


def measures(name: str, text: str) -> Iterator[Measure]:
    """All measures of one module."""
    module, lines = ast.parse(text), text.splitlines()
    yield Measure(name, "imports", sum(_imported(each) for each in module.body))
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            yield from _of_class(f"{name}:{node.name}", node, lines)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield Measure(f"{name}:{node.name}", "parameters", _parameters(node))


def _of_class(where: str, node: ast.ClassDef, lines: list[str]) -> Iterator[Measure]:
    written = lines[node.lineno - 1 : node.end_lineno]
    yield Measure(where, "lines", sum(bool(line.strip()) for line in written))
    yield Measure(where, "methods", len(_methods(node)))
    yield Measure(where, "attributes", len(_attributes(node)))


def _methods(node: ast.ClassDef) -> list[str]:
    """Those that are called by name: what Python calls (``__init__``, ``__enter__``) is no vocabulary."""
    names = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
    return [name for name in names if not name.startswith("__")]


def _attributes(node: ast.ClassDef) -> set[str]:
    """What ``self`` is given anywhere in the class; a record's fields are its content, not state."""
    return {
        target.attr
        for each in ast.walk(node)
        if isinstance(each, (ast.Assign, ast.AnnAssign, ast.AugAssign))
        for whole in (each.targets if isinstance(each, ast.Assign) else [each.target])
        for target in ast.walk(whole)
        if isinstance(target, ast.Attribute)
        and isinstance(target.ctx, ast.Store)
        and isinstance(target.value, ast.Name)
        and target.value.id == "self"
    }


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = node.args
    named = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([each for each in named if each not in {"self", "cls"}])


def _imported(node: ast.stmt) -> int:
    """Modules a statement imports from, the standard library's aside: it is no coupling of ours."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return len([name for name in names if name.partition(".")[0] not in sys.stdlib_module_names])


def too_large() -> list[Measure]:
    """What is over its limit."""
    return [
        measure
        for name, text in modules()
        for measure in measures(name, text)
        if measure.size > LIMITS[measure.what]
    ]
