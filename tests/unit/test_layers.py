"""What modules say of themselves agrees with what import-linter holds them to."""

import ast
import re
import tomllib
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def _listed() -> set[str]:
    contracts = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (pure,) = [contract for contract in contracts if contract["name"].startswith("pure modules")]
    return set(pure["source_modules"])


def _says_pure(path: Path) -> bool:
    return bool(re.search(r"\bPure\b", ast.get_docstring(ast.parse(path.read_text())) or ""))


def test_the_modules_that_say_pure_are_those_that_may_do_no_input_or_output() -> None:
    modules = [path for path in (_ROOT / "appliance").rglob("*.py") if _says_pure(path)]

    assert {".".join(path.relative_to(_ROOT).with_suffix("").parts) for path in modules} == _listed()
