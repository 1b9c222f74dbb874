"""What of a changed contract takes a restart."""

from dataclasses import replace

import pytest

from appliance.control.changes import left_for_restart, refusal
from appliance.control.contract import DeploymentSpec, Mode, RedisEndpoint, Registration, SubQueue

HIGH, LOW = SubQueue("q.high", 9), SubQueue("q.low", 1)
CODE = DeploymentSpec("https://example.com/r.git", "main", "python main.py")
OLD = Registration("q", RedisEndpoint("redis", 6379, "", 0, False), (HIGH, LOW), CODE)


@pytest.mark.parametrize(
    ("new", "problems"),
    [
        (OLD, ()),
        (replace(OLD, vaults={"A": "b"}, git_token="t"), ()),
        (replace(OLD, deployment=replace(CODE, branch="other", startup_cmd="python x.py")), ()),
        (replace(OLD, sub_queues=(HIGH,)), ("sub-queue q.low is gone",)),
        (replace(OLD, sub_queues=(HIGH, LOW, SubQueue("q.new", 1))), ("sub-queue q.new is new",)),
        (replace(OLD, sub_queues=(HIGH, replace(LOW, priority=5))), ("the priority of q.low is 5 now",)),
        (
            replace(OLD, redis=replace(OLD.redis, host="other")),
            ("Redis is at other:6379 now, or is reached in another way",),
        ),
        (replace(OLD, deployment=replace(CODE, redis_storage=True)), ("results are to be kept now",)),
    ],
)
def test_what_does_not_take_effect_is_named(new: Registration, problems: tuple[str, ...]) -> None:
    assert left_for_restart(OLD, OLD.sub_queues, new, new.sub_queues) == problems
    assert refusal(OLD, new) is None


def test_another_mode_is_refused() -> None:
    new = replace(OLD, deployment=replace(CODE, mode=Mode.ONE_SHOT))

    reason = refusal(OLD, new)

    assert reason == "the queue's mode is one_shot now, and was long_running: restart the worker for that"
