from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import world as worlds
from tests.integration.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with worlds.world(tmp_path) as fresh:
        yield fresh
