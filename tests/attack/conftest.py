from collections.abc import Iterator

import pytest

from tests.attack.target import Target, target
from tests.integration.conftest import rig  # noqa: F401  a fixture, used by name


@pytest.fixture(scope="session")
def held() -> Iterator[Target]:
    """A worker as shipped. A test must leave it as it found it: all attacks share it."""
    with target() as running:
        yield running


@pytest.fixture(scope="session")
def mutant() -> Iterator[Target]:
    """The same with isolation off: what fails on the first has to succeed here, or it shows nothing."""
    with target(RUNQY_ISOLATION="off") as running:
        yield running
