import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from appliance.deploy import deployment
from harness.sandbox.redis import RedisServer
from tests.integration import deploying
from tests.integration import world as worlds
from tests.integration.deploying import Rig
from tests.integration.world import World


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One for all tests of a module that asks for it."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def db(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A client of it, emptied."""
    with redis_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with worlds.world(tmp_path) as fresh:
        yield fresh


@pytest.fixture(scope="session")
def pips_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment as a worker makes one where there is no uv."""
    folder = tmp_path_factory.mktemp("template") / "venv"
    command = [str(deployment._base_python()), "-P", "-m", "venv", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def copies(pips_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environments with pip are copies of that one."""
    deploying.with_copies_of(pips_environment, monkeypatch)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    with deploying.isolated(tmp_path, monkeypatch) as fresh:
        yield fresh
