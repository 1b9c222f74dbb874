"""The measures every class and module keeps, and the few that do not, each with its reason."""

import pytest

from tests.unit import house
from tests.unit.house import LIMITS, Measure, measures, modules, too_large

#: ``where`` → the measures it is over, and why that is right. An entry that is not needed any more fails.
EXCEPTIONS: dict[str, tuple[set[str], str]] = {
    "harness/scenarios/scene.py:Scene": (
        {"lines", "methods"},
        "the whole vocabulary of scenarios: what a scenario may say is to be found in one place",
    ),
    "harness/sandbox/runtimes/process.py:WorkerProcess": (
        {"methods"},
        "as many as the protocol of a worker has, beside its own start",
    ),
    "appliance/assembly.py": ({"imports"}, "the one place that knows all parts of a lane"),
}


def test_classes_signatures_and_imports_are_small() -> None:
    over = [each for each in too_large() if each.what not in EXCEPTIONS.get(each.where, (set(), ""))[0]]

    assert not over, "\n".join(
        f"{each.where}: {each.size} {each.what}, at most {LIMITS[each.what]}" for each in over
    )


def test_every_exception_is_needed() -> None:
    needed = {(each.where, each.what) for each in too_large()}
    listed = {(where, what) for where, (whats, _) in EXCEPTIONS.items() for what in whats}

    assert listed <= needed, f"small enough by now: {sorted(listed - needed)}"


def _class(body: str) -> str:
    return f"class Large:\n{body}"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (_class("    x = 1\n" * 201), "lines"),
        (_class("".join(f"    def m{n}(self): ...\n" for n in range(21))), "methods"),
        (
            _class("    def f(self):\n" + "".join(f"        self.a{n} = self.b = 0\n" for n in range(12))),
            "attributes",
        ),
        ("def f(a, b, c, d, e, f, *, g, h, i): ...", "parameters"),
        ("".join(f"import m{n}\nimport os\n" for n in range(23)), "imports"),
    ],
    ids=lambda value: value if value in LIMITS else "",
)
def test_each_measure_finds_what_is_too_large(text: str, what: str) -> None:
    found = [each for each in measures("m.py", text) if each.size > LIMITS[each.what]]

    assert [each.what for each in found] == [what]


def test_what_is_just_small_enough_is_not_found() -> None:
    methods = "".join(f"    def m{n}(self): self.a{n % 12} = 0\n" for n in range(20))

    found = list(measures("m.py", _class(methods)))

    assert Measure("m.py:Large", "methods", 20) in found
    assert Measure("m.py:Large", "attributes", 12) in found
    assert not [each for each in found if each.size > LIMITS[each.what]]


def test_programs_that_are_copied_are_not_measured() -> None:
    assert not [name for name, _ in modules() if name.startswith(house.ASIDE)]
