"""The engine and the image are found and built as the tests of the image do it."""

import pytest

from tests.image.conftest import engine, make  # noqa: F401  a fixture, used by name
from tests.image.engine import IMAGE, Engine


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:  # noqa: F811
    """The worker's image, as this checkout builds it."""
    make("image")
    return IMAGE
