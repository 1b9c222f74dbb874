"""What a soak calls growth."""

from collections.abc import Callable, Mapping

import pytest

from harness.soak.growth import ALLOWED, FEWEST, Look, judge


def looks(count: int = 40, grown: Mapping[str, Callable[[int], float]] | None = None) -> list[Look]:
    """Looks at a worker that holds as much as ever, but for what ``grown`` says of the n-th."""
    values = {**dict.fromkeys(ALLOWED, lambda _: 60.0), **(grown or {})}
    return [Look(float(n), {name: value(n) for name, value in values.items()}) for n in range(count)]


def growing(found: list[Look]) -> set[str]:
    return {change.name for change in judge(found) if change.growth}


def test_what_stays_is_no_growth() -> None:
    assert growing(looks()) == set()


def test_what_comes_at_the_beginning_is_no_growth() -> None:
    early = {"memory, MB": lambda n: 60.0 + min(n, 9), "descriptors": lambda n: 20.0 + min(n, 9)}
    assert growing(looks(grown=early)) == set()


def test_what_comes_and_goes_is_no_growth() -> None:
    busy = {"keys": lambda n: 300.0 + n * 37 % 50, "greenlets": lambda n: 20.0 + n % 3}
    assert growing(looks(grown=busy)) == set()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("memory, MB", lambda n: 60 + 0.5 * n),
        ("descriptors", lambda n: 20 + n // 4),
        ("greenlets", lambda n: 20 + n // 4),
        ("threads", lambda n: 2 + n // 4),
        ("keys", lambda n: 300 + 20 * n),
    ],
)
def test_what_grows_is_named(name: str, values: Callable[[int], float]) -> None:
    assert growing(looks(grown={name: values})) == {name}


def test_too_few_looks_say_nothing() -> None:
    with pytest.raises(ValueError, match="say nothing"):
        judge(looks(FEWEST - 1))
