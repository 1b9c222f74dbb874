"""Which queues a worker asks for, and which of the server's it listens on."""

from dataclasses import replace

import pytest

from appliance.control.contract import DeploymentSpec, RedisEndpoint, Registration, SubQueue
from appliance.control.selection import plan_queues, select
from appliance.errors import RegistrationRejected

HIGH, LOW = SubQueue("inference.high", 9), SubQueue("inference.low", 1)
REGISTRATION = Registration(
    "inference",
    RedisEndpoint("host", 6379, "", 0, False),
    (HIGH, LOW),
    DeploymentSpec("https://git.test/r.git", "main", "python main.py"),
)


@pytest.mark.parametrize(
    ("names", "plan"),
    [
        (["inference"], {"inference": None}),
        (["inference.high"], {"inference": frozenset({"inference.high"})}),
        (
            ["inference.high", "inference.low"],
            {"inference": frozenset({"inference.high", "inference.low"})},
        ),
        (["inference.high", "inference"], {"inference": None}),
        (["inference", "inference.high"], {"inference": None}),
        (["b.x", "a", "b.y"], {"b": frozenset({"b.x", "b.y"}), "a": None}),
        (["a.b.c"], {"a": frozenset({"a.b.c"})}),
        ([], {}),
    ],
    ids=str,
)
def test_a_parent_is_registered_once_and_its_own_name_means_all(
    names: list[str], plan: dict[str, frozenset[str] | None]
) -> None:
    assert plan_queues(names) == plan
    assert list(plan_queues(names)) == list(plan)


def test_the_parents_name_listens_on_all_of_the_servers_sub_queues() -> None:
    assert select(REGISTRATION, None) == ((HIGH, LOW), ())


def test_named_sub_queues_are_listened_on_by_falling_priority_and_no_others() -> None:
    assert select(REGISTRATION, frozenset({"inference.low", "inference.high"})) == ((HIGH, LOW), ())
    assert select(REGISTRATION, frozenset({"inference.low"})) == ((LOW,), ())


def test_a_sub_queue_that_the_server_does_not_know_is_a_warning_that_says_what_there_is() -> None:
    chosen, warnings = select(REGISTRATION, frozenset({"inference.high", "inference.hihg"}))

    assert chosen == (HIGH,)
    assert warnings == (
        "the server does not know inference.hihg; queue inference has inference.high, inference.low",
    )


def test_when_none_is_left_the_worker_does_not_start() -> None:
    with pytest.raises(RegistrationRejected, match=r"knows none of inference\.x, inference\.y; .*has infer"):
        select(REGISTRATION, frozenset({"inference.y", "inference.x"}))


def test_more_sub_queues_than_one_worker_can_serve_are_refused_with_what_helps() -> None:
    names = [f"inference.q{number}" for number in range(300)]
    registration = replace(REGISTRATION, sub_queues=tuple(SubQueue(name, 1) for name in names))

    with pytest.raises(RegistrationRejected, match=r"300 sub-queues.*at most 256; name in RUNQY_QUEUES"):
        select(registration, None)
    with pytest.raises(RegistrationRejected, match=r"knows none of inference.no; .* and 280 more$"):
        select(registration, frozenset(["inference.no"]))
    assert len(select(registration, frozenset(names[:256]))[0]) == 256
