"""A Redis that does not answer is looked for where the server says; one that answers is never left."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from structlog.testing import capture_logs

from appliance.control.contract import RedisEndpoint
from appliance.errors import RegistrationUnavailable
from appliance.queue.place import RedisPlace, RedisPlaces
from appliance.relocation import Relocation

HERE = RedisEndpoint("here", 6379, "old", 0, False)
THERE = RedisEndpoint("there", 6380, "new", 0, False)


class World:
    """Two parent queues on one Redis, and what the server says of each."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.places = RedisPlaces()
        self.place = self.places.of(HERE)
        self.lanes: list[Any] = [
            SimpleNamespace(parent=parent, place=self.place, redis_available=False, redis_refused=False)
            for parent in ("a", "b")
        ]
        self.says: dict[str, RedisEndpoint | Exception] = {"a": THERE, "b": THERE}
        self.asked: list[str] = []
        self.moved: list[RedisPlace] = []
        tools: Any = SimpleNamespace(
            clock=SimpleNamespace(monotonic=lambda: self.now_s),
            rng=SimpleNamespace(uniform=lambda low, _: low),
            settings=SimpleNamespace(redis=SimpleNamespace(ask_server_after_s=30.0)),
            places=self.places,
        )
        self.relocation = Relocation(lambda: self.lanes, self._ask, self.moved.append, tools)

    def _ask(self, parent: str) -> Any:
        self.asked.append(parent)
        answer = self.says[parent]
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(redis=answer)

    def look(self, after_s: float = 0.0) -> list[str]:
        """Let time pass and look; returns the log events."""
        self.now_s += after_s
        with capture_logs() as logged:
            self.relocation.tick()
        return [event["event"] for event in logged]

    def each(self, change: Callable[[Any], None]) -> None:
        for lane in self.lanes:
            change(lane)


def test_where_it_went_is_taken_on_after_the_time_for_it() -> None:
    world = World()

    assert world.look() == world.look(29.9) == []
    assert world.look(0.1) == ["redis.asking_server", "redis.moved"]

    assert world.asked == ["a", "b"]
    assert (world.place.endpoint, world.moved) == (THERE, [world.place])
    assert world.places.of(HERE) is world.places.of(THERE) is world.place


def test_a_redis_that_answers_is_never_left() -> None:
    world = World()
    world.each(lambda lane: setattr(lane, "redis_available", True))

    world.look()
    world.relocation.hurry()
    world.look(1_000)

    assert world.asked == []


def test_a_redis_that_has_not_moved_is_asked_about_again() -> None:
    world = World()
    world.says = {"a": replace(HERE), "b": replace(HERE)}

    world.look()
    assert world.look(30) == ["redis.asking_server", "redis.not_moved"]
    assert world.look(59) == []
    assert world.look(1) == ["redis.asking_server", "redis.not_moved"]
    assert world.place.endpoint is HERE


def test_a_server_that_does_not_answer_either_is_asked_again() -> None:
    world = World()
    world.says["b"] = RegistrationUnavailable("no")

    world.look()
    assert world.look(30) == ["redis.asking_server", "redis.server_unavailable"]
    world.says["b"] = THERE
    assert world.look(60) == ["redis.asking_server", "redis.moved"]


def test_parents_that_shared_a_redis_and_no_longer_do_need_a_restart() -> None:
    world = World()
    world.says["b"] = HERE

    world.look()
    assert world.look(30) == ["redis.asking_server", "redis.parents_part"]
    assert world.place.endpoint is HERE
    assert world.moved == []
