from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.integration import deploying
from tests.integration import world as worlds
from tests.integration.deploying import Rig
from tests.integration.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with worlds.world(tmp_path) as fresh:
        yield fresh


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    with capture_logs() as events:
        fresh = Rig(tmp_path, events)
        deploying.isolate(fresh, monkeypatch)
        yield fresh
