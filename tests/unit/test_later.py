"""A module for later: there for who imports it, loaded for who asks it for something."""

import importlib
import sys
from pathlib import Path

import pytest

from appliance.later import at_first_use


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "first_use_here"
    folder.mkdir()
    (folder / "__init__.py").write_text("from first_use_here import heavy\n")
    (folder / "heavy.py").write_text("import sys\nsys.heavy_loads += 1\nanswer = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "heavy_loads", 0, raising=False)
    for name in ("first_use_here", "first_use_here.heavy"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "first_use_here"


def loads() -> int:
    return sys.heavy_loads  # type: ignore[attr-defined, no-any-return]


def test_its_import_loads_nothing_and_its_first_use_does_once(package: str) -> None:
    at_first_use(f"{package}.heavy")

    first, second = (importlib.import_module(f"{package}.heavy") for _ in range(2))
    assert importlib.import_module(package).heavy is first is second
    assert loads() == 0

    assert (first.answer, second.answer) == (42, 42)
    assert loads() == 1
    with pytest.raises(AttributeError):
        _ = first.question


def test_without_it_the_import_loads(package: str) -> None:
    importlib.import_module(package)
    assert loads() == 1


def test_a_module_that_is_not_there_is_still_not_there(package: str) -> None:
    at_first_use(f"{package}.missing")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{package}.missing")


def test_a_package_that_is_at_first_use_has_its_modules(package: str) -> None:
    at_first_use(package)
    assert importlib.import_module(f"{package}.heavy").answer == 42
