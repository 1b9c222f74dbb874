"""A redeployment, told with stand-ins: what is done, what is refused, and what is said of either."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from appliance import assembly
from appliance.contracts import Contract
from appliance.control.contract import DeploymentSpec, Mode, RedisEndpoint, Registration, SubQueue
from appliance.deploy.deployment import Deployed
from appliance.errors import DeploymentRejected
from appliance.lane import Running
from appliance.process.spec import ProcessSpec
from appliance.queue.place import RedisPlace
from appliance.redeploy import Redeployer

CODE = DeploymentSpec("https://example.com/r.git", "main", "python main.py")
REDIS = RedisEndpoint("redis", 6379, "", 0, use_tls=False)


def contract(mode: Mode = Mode.LONG_RUNNING, queues: tuple[str, ...] = ("q.a",)) -> Contract:
    served = tuple(SubQueue(name, 1) for name in queues)
    return Contract(Registration("q", REDIS, served, replace(CODE, mode=mode)), served)


def deployed(commit: str, folder: str) -> Deployed:
    code = Path(folder)
    return Deployed(code, code / ".venv", code / ".venv/bin/python", commit)


def running(contract: Contract, deployed: Deployed, _tools: object) -> Running:
    argv = (str(deployed.python), "main.py")
    return Running(contract, deployed, ProcessSpec(argv, deployed.code_dir, {}, 60.0))


class Lane:
    def __init__(self) -> None:
        self.parent = "q"
        self.running = running(contract(), deployed("one", "/code/q"), None)
        self.redeployed: dict[str, Any] = {}
        self.refusal: str | None = None
        self.preparations = 0
        self.place, self.redis_available = RedisPlace(contract().redis), True

    @contextmanager
    def preparing(self) -> Iterator[object]:
        yield object()
        self.preparations += 1

    def hand_over(self, after: Running) -> str | None:
        if self.refusal is None:
            self.running = after
        return self.refusal


class World:
    """A lane, what the server says now, and what the repository has now."""

    def __init__(self) -> None:
        self.lane, self.contract = Lane(), contract()
        self.found: Deployed | Exception = deployed("two", "/code/q.2")

    def deploy(self, *_: object, may_stay: bool) -> Deployed:
        assert not may_stay, "new code is what was asked for"
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def redeploy(self) -> list[Any]:
        tools: Any = SimpleNamespace(
            clock=SimpleNamespace(wall=lambda: 7.9),
            redactor=SimpleNamespace(text=lambda text: text.replace("s3cret", "****")),
        )
        redeployer = Redeployer(lambda: [], lambda _: self.contract, self, tools)  # type: ignore[arg-type]
        with structlog.testing.capture_logs() as logged:
            redeployer._redeploy(self.lane)  # type: ignore[arg-type]
        return logged


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(assembly, "running", running)
    return World()


def test_new_code_takes_over_and_says_what_it_was(world: World) -> None:
    logged = world.redeploy()

    assert world.lane.running.deployed.commit == "two"
    assert [event["event"] for event in logged] == ["redeploy.started", "redeploy.done"]
    assert world.lane.redeployed == {"at": 7, "outcome": "done", "commit": "two", "reason": "was one"}


def test_the_same_commit_in_another_folder_is_unchanged(world: World) -> None:
    world.found = deployed("one", "/code/q.2")
    before = world.lane.running

    logged = world.redeploy()

    assert (world.lane.running, logged[-1]["event"]) == (before, "redeploy.unchanged")


@pytest.mark.parametrize(
    ("refusal", "found", "reason"),
    [
        ("it did not become ready", deployed("two", "/code/q.2"), "commit two: it did not become ready"),
        (None, DeploymentRejected("no branch; the key is s3cret"), "no branch; the key is ****"),
        (None, ZeroDivisionError(), "a defect in the worker; the log has a traceback"),
    ],
    ids=["process", "deployment", "defect"],
)
def test_what_runs_is_kept_where_anything_goes_wrong(
    world: World, refusal: str | None, found: Any, reason: str
) -> None:
    world.lane.refusal, world.found = refusal, found
    before = world.lane.running

    logged = world.redeploy()

    assert world.lane.running is before
    assert logged[-1] == {
        "event": "redeploy.refused",
        "log_level": "error",
        "parent": "q",
        "running": "one",
        "reason": reason,
    }


def test_another_mode_is_refused_before_anything_is_deployed(world: World) -> None:
    world.contract = contract(mode=Mode.ONE_SHOT)

    assert "mode" in world.redeploy()[-1]["reason"]
    assert world.lane.preparations == 0


def test_what_takes_a_restart_is_said_and_stays_as_it_was(world: World) -> None:
    world.contract = contract(queues=("q.a", "q.b"))

    logged = world.redeploy()

    assert logged[1]["event"] == "redeploy.needs_restart"
    assert logged[1]["problem"] == "sub-queue q.b is new"
    assert world.lane.running.contract.priorities == {"q.a": 1}


def test_another_redis_needs_a_restart_only_where_the_one_there_is_answers(world: World) -> None:
    elsewhere = replace(world.contract.registration.redis, host="elsewhere")
    world.contract = replace(
        world.contract, registration=replace(world.contract.registration, redis=elsewhere)
    )

    assert "redeploy.needs_restart" in [event["event"] for event in world.redeploy()]
    world.lane.redis_available = False
    assert "redeploy.needs_restart" not in [event["event"] for event in world.redeploy()]
    world.lane.redis_available, world.lane.place = True, RedisPlace(elsewhere)
    assert "redeploy.needs_restart" not in [event["event"] for event in world.redeploy()]
