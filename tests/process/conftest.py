"""A bench for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Stopped at the end, whatever the test did, and held against what every runner promises."""
    bench = Bench(tmp_path)
    yield bench
    bench.stop()
