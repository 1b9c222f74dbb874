"""Values: what two of them have in common, what is shown of one, and who holds that it does not change."""

import copy
import pickle
import subprocess
import sys
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from appliance.values import value_class


@value_class
class Place:
    host: str
    port: int = 80
    password: str = field(default="", repr=False)
    seen: list[str] = field(default_factory=list, compare=False)
    weight: int = field(default=0, hash=False)


@value_class(slots=True)
class Small:
    """With slots."""

    number: int
    text: str = ""


@value_class
class Elsewhere:
    host: str
    port: int = 80


@value_class
class Near(Place):
    floor: int = 0


@value_class
class Nothing:
    """Without fields."""


@dataclass(frozen=True)
class Theirs:
    host: str
    port: int = 80


def test_equal_are_two_of_one_class_with_equal_fields() -> None:
    assert Place("a") == Place("a")
    assert Place("a") != Place("b")
    assert Place("a", 80) != Elsewhere("a", 80)
    assert Place("a") != Near("a")
    assert Near("a") == Near("a") != Near("a", floor=1)
    assert Small(1) == Small(1) != Small(2)
    assert Nothing() == Nothing()
    assert Place("a").__eq__("a") is NotImplemented


def test_fields_are_left_out_of_the_comparison_and_the_hash_as_they_say() -> None:
    assert Place("a", seen=["x"]) == Place("a")
    assert Place("a", weight=1) != Place("a")
    assert hash(Place("a", weight=1)) == hash(Place("a", seen=["x"]))
    assert hash(Place("a", password="x")) != hash(Place("a"))
    assert hash(Elsewhere("a", 81)) == hash(Theirs("a", 81))
    assert {Small(1): "one", Nothing(): "none"}[Small(1)] == "one"
    assert hash(Nothing()) == hash(Nothing())
    with pytest.raises(TypeError, match="unhashable"):
        hash(Small([]))  # type: ignore[arg-type]


def test_a_field_that_is_not_to_be_shown_is_not_shown() -> None:
    value = Place("a", password="s3cret")

    assert repr(value) == "Place(host='a', port=80, seen=[], weight=0)"
    assert repr(Elsewhere("a")).replace("Elsewhere", "Theirs") == repr(Theirs("a"))
    assert repr(Nothing()) == "Nothing()"
    assert "s3cret" not in repr(Near("a", password="s3cret"))


def test_what_a_class_defines_itself_is_kept() -> None:
    @value_class
    class Named:  # noqa: PLW1641  that it need not is the point
        name: str

        def __repr__(self) -> str:
            return "mine"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Named)

    assert repr(Named("a")) == "mine"
    assert Named("a") == Named("b")
    assert hash(Named("a")) == hash(Named("a"))


def test_the_standard_library_takes_it_for_a_dataclass() -> None:
    assert is_dataclass(Small)
    assert replace(Small(1), text="x") == Small(1, "x")
    assert asdict(Small(1)) == {"number": 1, "text": ""}
    assert [one.name for one in fields(Small)] == ["number", "text"]
    assert copy.copy(Small(1)) == copy.deepcopy(Small(1)) == pickle.loads(pickle.dumps(Small(1)))
    value: Any = Small(1, "x")
    match value:
        case Small(number, text):
            assert (number, text) == (1, "x")
        case _:
            pytest.fail("no match")


def test_slots_leave_no_room_for_more() -> None:
    assert not hasattr(Small(1), "__dict__")


def test_the_type_checker_reports_a_change_of_a_field(tmp_path: Path) -> None:
    program = tmp_path / "changes.py"
    program.write_text(
        "from appliance.values import value_class\n\n\n"
        "@value_class\nclass A:\n    a: int\n\n\n"
        "@value_class(slots=True)\nclass B:\n    b: int\n\n\n"
        "one, other = A(1), B(1)\n"
        "one.a = 2\n"
        "other.b = 2\n"
        "A('x')\n"
    )
    mypy = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(program)]
    root = Path(__file__).parents[2]

    found = subprocess.run(mypy, cwd=root, capture_output=True, text=True, check=False, timeout=600)

    told = [line.partition("changes.py:")[2] for line in found.stdout.splitlines()]
    assert told == [
        '15: error: Property "a" defined in "A" is read-only  [misc]',
        '16: error: Property "b" defined in "B" is read-only  [misc]',
        '17: error: Argument 1 to "A" has incompatible type "str"; expected "int"  [arg-type]',
    ]
