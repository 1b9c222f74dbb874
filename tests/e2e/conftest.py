"""The engine and the image are found and built as the tests of the image do it."""

from tests.image.conftest import engine, image  # noqa: F401  fixtures, used by name
