"""The server's answer: every default, every bad value named, and no secret ever shown."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.control.contract import Mode, RedisEndpoint, Registration, SubQueue, parse_registration
from appliance.errors import RegistrationRejected

LEAST: dict[str, Any] = {
    "redis": {"addr": "redis.test:6380"},
    "queue": {"name": "inference"},
    "deployment": {"git_url": "https://git.test/r.git", "branch": "main", "startup_cmd": "python main.py"},
}


def answer(**changes: Any) -> dict[str, Any]:
    """The least that is valid; ``redis__db=1`` sets a field of a section, a value of ``...`` drops it."""
    made: dict[str, Any] = json.loads(json.dumps(LEAST))
    for path, value in changes.items():
        *sections, key = path.split("__")
        target = made
        for section in sections:
            target = target[section]
        if value is ...:
            del target[key]
        else:
            target[key] = value
    return made


def parsed(**changes: Any) -> Registration:
    return parse_registration("inference", answer(**changes))


def problems(**changes: Any) -> list[str]:
    with pytest.raises(RegistrationRejected) as refused:
        parsed(**changes)
    first, *lines = str(refused.value).split("\n  ")
    assert first == "the server's answer about queue inference cannot be used:"
    return lines


def test_what_may_be_missing_gets_its_documented_default() -> None:
    registration = parsed()

    assert registration.parent == "inference"
    assert registration.redis == RedisEndpoint("redis.test", 6380, "", 0, False)
    assert registration.sub_queues == (SubQueue("inference.default", 1),)
    assert registration.vaults == {}
    assert registration.git_token is None
    deployment = registration.deployment
    assert deployment.code_path is None
    assert deployment.mode is Mode.LONG_RUNNING
    assert deployment.startup_timeout_s == 60.0
    assert deployment.redis_storage is False
    assert deployment.requirements_file == "requirements.txt"


def test_a_sub_queue_that_is_listed_twice_counts_once_with_its_highest_priority_and_is_remarked_on() -> None:
    registration = parsed(
        sub_queues=[
            {"name": "inference.a", "priority": 2},
            {"name": "inference.b", "priority": 5},
            {"name": "inference.a", "priority": 9},
            {"name": "inference.a"},
        ]
    )

    assert registration.sub_queues == (SubQueue("inference.a", 9), SubQueue("inference.b", 5))
    assert set(registration.oddities) == {
        "inference.a is listed more than once; its highest priority, 9, counts"
    }


def test_everything_the_server_says_is_taken_over() -> None:
    registration = parsed(
        redis={"addr": "r:1", "password": "p", "db": 3, "use_tls": True},
        queue__priority=6,
        sub_queues=[{"name": "inference.low", "priority": 1}, {"name": "inference.high", "priority": 9}],
        deployment__code_path="sub/dir",
        deployment__mode="one_shot",
        deployment__startup_timeout_secs=300,
        deployment__redis_storage=True,
        deployment__requirements_file="gpu.txt",
        deployment__vaults=["keys"],
        vaults={"KEY": "value", "EMPTY": ""},
        git_token="token",
        of_a_later_version={"unknown": 1},
    )

    assert registration.redis == RedisEndpoint("r", 1, "p", 3, True)
    assert registration.sub_queues == (SubQueue("inference.high", 9), SubQueue("inference.low", 1))
    assert registration.deployment.code_path == "sub/dir"
    assert registration.deployment.mode is Mode.ONE_SHOT
    assert registration.deployment.startup_timeout_s == 300.0
    assert registration.deployment.redis_storage is True
    assert registration.deployment.requirements_file == "gpu.txt"
    assert registration.vaults == {"KEY": "value", "EMPTY": ""}
    assert registration.git_token == "token"


@pytest.mark.parametrize("empty", [None, "", 0, [], {}], ids=repr)
def test_a_go_servers_empty_value_counts_as_missing(empty: Any) -> None:
    kinds: dict[str, tuple[Any, ...]] = {
        "redis__password": (None, ""),
        "redis__db": (None, 0),
        "redis__use_tls": (None,),
        "sub_queues": (None, []),
        "deployment__code_path": (None, ""),
        "deployment__mode": (None, ""),
        "deployment__startup_timeout_secs": (None, 0),
        "deployment__redis_storage": (None,),
        "deployment__requirements_file": (None, ""),
        "vaults": (None, {}),
        "git_token": (None, ""),
    }
    for path, empties in kinds.items():
        if any(empty is known or (empty == known and type(empty) is type(known)) for known in empties):
            assert parsed(**{path: empty}) == parsed(), path


@pytest.mark.parametrize("path", ["redis__addr", "queue__name", "deployment__git_url", "deployment__branch",
                                  "deployment__startup_cmd"])  # fmt: skip
@pytest.mark.parametrize("empty", [..., None, ""], ids=["absent", "null", "empty"])
def test_a_required_field_that_is_missing_is_named(path: str, empty: Any) -> None:
    assert problems(**{path: empty}) == [f"{path.replace('__', '.')}: is missing"]


@pytest.mark.parametrize("section", ["redis", "queue", "deployment"])
@pytest.mark.parametrize("value", ["text", [1], 7, True])
def test_a_section_that_is_no_object_is_named(section: str, value: Any) -> None:
    assert problems(**{section: value})[0].startswith(f"{section}: must be an object, is ")


BAD = [
    ("redis__addr", 6379, "redis.addr: must be a string, is 6379"),
    ("redis__addr", "host:0", "redis.addr: must be host, host:port or [IPv6]:port, is 'host:0'"),
    ("redis__addr", "host:65536", "redis.addr: must be host, host:port or [IPv6]:port, is 'host:65536'"),
    ("redis__addr", "host:x", "redis.addr: must be host, host:port or [IPv6]:port, is 'host:x'"),
    ("redis__addr", "::1:6379", "redis.addr: must be host, host:port or [IPv6]:port, is '::1:6379'"),
    ("redis__addr", "redis://h:1", "redis.addr: must be host, host:port or [IPv6]:port, is 'redis://h:1'"),
    (
        "redis__addr",
        "redis..svc:1",
        "redis.addr: must be host, host:port or [IPv6]:port, is 'redis..svc:1'",
    ),
    ("redis__addr", "h" * 64, f"redis.addr: must be host, host:port or [IPv6]:port, is '{'h' * 64}'"),
    ("redis__addr", "h:1 ", "redis.addr: must be host, host:port or [IPv6]:port, is 'h:1 '"),
    ("redis__db", -1, "redis.db: must be a whole number from 0 to 2147483647, is -1"),
    ("redis__db", "1", "redis.db: must be a whole number from 0 to 2147483647, is '1'"),
    ("redis__db", True, "redis.db: must be a whole number from 0 to 2147483647, is True"),
    ("redis__use_tls", "yes", "redis.use_tls: must be true or false, is 'yes'"),
    ("redis__use_tls", 1, "redis.use_tls: must be true or false, is 1"),
    ("queue__name", "other", "queue.name: must be the queue asked for, inference, is 'other'"),
    ("queue__name", "inferences", "queue.name: must be the queue asked for, inference, is 'inferences'"),
    ("queue__priority", 1.5, "queue.priority: must be a whole number from -1000000000 to 1000000000, is 1.5"),
    ("sub_queues", "inference.a", "sub_queues: must be a list, is 'inference.a'"),
    ("sub_queues", [None], "sub_queues[0]: must be an object, is 'null'"),
    ("sub_queues", ["inference.a"], "sub_queues[0]: must be an object, is 'inference.a'"),
    ("sub_queues", [{}], "sub_queues[0].name: is missing"),
    ("sub_queues", [{"name": "a"}], "sub_queues[0].name: must begin with inference. and go on, is 'a'"),
    (
        "sub_queues",
        [{"name": "inference."}],
        "sub_queues[0].name: must begin with inference. and go on, is 'inference.'",
    ),
    (
        "sub_queues",
        [{"name": "inference.a", "priority": "9"}],
        "sub_queues[0].priority: must be a whole number from -1000000000 to 1000000000, is '9'",
    ),
    ("deployment__branch", 1, "deployment.branch: must be a string, is 1"),
    ("deployment__branch", "  ", "deployment.branch: must be visible text, is '  '"),
    ("deployment__code_path", ["a"], "deployment.code_path: must be a string, is a list"),
    ("deployment__code_path", "a\0b", r"deployment.code_path: must be visible text, is 'a\x00b'"),
    ("deployment__code_path", "\ud800", r"deployment.code_path: must be visible text, is '\ud800'"),
    ("deployment__startup_cmd", "   ", "deployment.startup_cmd: must be visible text, is '   '"),
    (
        "deployment__startup_cmd",
        "python --token=canary 'x",
        "deployment.startup_cmd: must be words as a shell splits them (No closing quotation), is a str",
    ),
    ("deployment__mode", "daemon", "deployment.mode: must be long_running or one_shot, is 'daemon'"),
    (
        "deployment__startup_timeout_secs",
        -1,
        "deployment.startup_timeout_secs: must be a positive number of seconds, at most 31622400, is -1",
    ),
    (
        "deployment__startup_timeout_secs",
        float("nan"),
        "deployment.startup_timeout_secs: must be a positive number of seconds, at most 31622400, is nan",
    ),
    (
        "deployment__startup_timeout_secs",
        10**400,
        "deployment.startup_timeout_secs: must be a positive number of seconds, at most 31622400, is 1000000",
    ),
    (
        "deployment__startup_timeout_secs",
        "60",
        "deployment.startup_timeout_secs: must be a positive number of seconds, at most 31622400, is '60'",
    ),
    ("deployment__redis_storage", "false", "deployment.redis_storage: must be true or false, is 'false'"),
    ("deployment__requirements_file", {}, "deployment.requirements_file: must be a string, is a dict"),
    ("redis__db", 10**400, "redis.db: must be a whole number from 0 to 2147483647, is 1000000"),
    (
        "queue__priority",
        10**400,
        "queue.priority: must be a whole number from -1000000000 to 1000000000, is",
    ),
    (
        "deployment__startup_cmd",
        "python " + "x" * 1_000_000,
        "deployment.startup_cmd: must have at most 32768 characters, has 1000007",
    ),
    ("deployment__startup_cmd", "python a\0b", "deployment.startup_cmd: must be visible text, is 'python a"),
    ("deployment__branch", "b" * 5000, "deployment.branch: must have at most 4096 characters, has 5000"),
    (
        "sub_queues",
        [{"name": f"inference.{n}"} for n in range(100_000)],
        "sub_queues: must be at most 10000, are 100000",
    ),
    ("vaults", {f"V{n}": "x" for n in range(1001)}, "vaults: must have at most 1000 entries, have 1001"),
    ("vaults", {"V" * 300: "canary"}, "vaults.'VVV"),
    ("vaults", {"A\x1b[2J\n": 1}, r"vaults.'A\x1b[2J\n': must be a string, is a int"),
]


@pytest.mark.parametrize(("path", "value", "problem"), BAD, ids=[f"{p}-{str(v)[:20]!a}" for p, v, _ in BAD])
def test_a_bad_value_is_refused_with_its_place_and_what_is_allowed(
    path: str, value: Any, problem: str
) -> None:
    (said,) = problems(**{path: value})

    assert said.startswith(problem)
    assert len(said) < 250


def test_of_many_problems_the_first_are_listed_and_the_others_counted() -> None:
    listed = problems(sub_queues=[{"name": f"other.{n}"} for n in range(9_000)])

    assert len(listed) == 21
    assert listed[-1] == "and 8980 more"


def test_every_problem_is_listed_at_once() -> None:
    listed = problems(redis__db="x", deployment__branch=..., deployment__mode="?", vaults=7, git_token=9)

    assert [line.partition(":")[0] for line in listed] == [
        "redis.db",
        "deployment.branch",
        "deployment.mode",
        "vaults",
        "git_token",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"redis__password": ["canary"]},
        {"redis__password": "canary\0"},
        {"redis__addr": "user:canary@host:1:2"},
        {"redis__addr": {"canary": "canary"}},
        {"deployment__git_url": "https://user:canary@host/\0"},
        {"deployment__git_url": ["canary"]},
        {"vaults": "canary"},
        {"vaults": ["canary"]},
        {"vaults": {"KEY": {"canary": "canary"}}},
        {"vaults": {"KEY": "canary\0"}},
        {"vaults": {"KEY": "canary\udc00"}},
        {"git_token": ["canary"]},
        {"git_token": "canary\0"},
    ],
    ids=ascii,
)
def test_a_bad_secret_is_refused_without_being_shown(changes: dict[str, Any]) -> None:
    assert len(problems(**changes)) == 1
    assert "canary" not in str(problems(**changes))


def test_a_secret_is_in_no_representation() -> None:
    registration = parsed(redis__password="canary1", vaults={"K": "canary2"}, git_token="canary3")

    assert "canary" not in repr(registration)


@pytest.mark.parametrize(
    ("addr", "host", "port"),
    [
        ("redis", "redis", 6379),
        ("10.0.0.1:1", "10.0.0.1", 1),
        ("[::1]", "::1", 6379),
        ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535),
        ("my_redis.internal:6380", "my_redis.internal", 6380),
        ("redis.svc.cluster.local.", "redis.svc.cluster.local.", 6379),
        ("h" * 63 + ".svc", "h" * 63 + ".svc", 6379),
    ],
)
def test_an_address_may_leave_out_the_port_and_be_ipv6(addr: str, host: str, port: int) -> None:
    redis = parsed(redis__addr=addr).redis

    assert (redis.host, redis.port) == (host, port)


def test_sub_queues_without_a_priority_have_their_parents_and_equals_are_in_order_of_name() -> None:
    listed = [{"name": "inference.b"}, {"name": "inference.a"}, {"name": "inference.c", "priority": 7}]

    found = parsed(queue__priority=5, sub_queues=listed).sub_queues

    assert found == (SubQueue("inference.c", 7), SubQueue("inference.a", 5), SubQueue("inference.b", 5))


def test_without_sub_queues_there_is_the_default_one_with_the_parents_priority() -> None:
    assert parsed(queue__priority=6, sub_queues=[]).sub_queues == (SubQueue("inference.default", 6),)


@pytest.mark.parametrize("garbage", [None, [], "text", 1, True, {}])
def test_what_is_no_contract_at_all_is_refused(garbage: Any) -> None:
    with pytest.raises(RegistrationRejected):
        parse_registration("inference", garbage)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
PLACES = ["redis", "redis__addr", "redis__db", "queue", "queue__name", "queue__priority", "sub_queues",
          "deployment", "deployment__mode", "deployment__startup_cmd", "deployment__startup_timeout_secs",
          "vaults", "git_token"]  # fmt: skip


@given(st.sampled_from(PLACES), JSON)
def test_whatever_json_stands_anywhere_it_is_understood_or_refused(path: str, value: Any) -> None:
    try:
        parsed(**{path: value})
    except RegistrationRejected:
        return
