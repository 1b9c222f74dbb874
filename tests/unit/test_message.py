"""Reading and rewriting tasks as they stand in Redis, held against the golden bytes."""

from typing import Any

import pytest

from appliance.errors import TaskUndecodable
from appliance.queue.message import Lease, Stamps, after_failure, parse


def claimed(
    message: bytes | None, legacy: list[bytes | None] | None = None, **fields: bytes | None
) -> list[Any]:
    names = (
        "retried",
        "pending_since",
        "ttl_completed",
        "ttl_archived",
        "pending_timeout",
        "active_timeout",
        "crashes",
    )
    return [b"t1", b"7", b"me", message, *(fields.get(name) for name in names), legacy]


#: type "t", payload "{}", id "t1", queue "q.a", retry 3, and a field 99 that nobody knows.
MESSAGE = b'\x0a\x01t\x12\x02{}\x1a\x02t1"\x03q.a\x28\x03\x9a\x06\x03new'


def test_a_message_is_read_with_what_fences_it() -> None:
    task = parse("q.a", claimed(MESSAGE))
    assert task.lease == Lease("q.a", "t1", "me", "7")
    assert (task.type, task.payload, task.max_retry, task.retried) == ("t", b"{}", 3, 0)
    assert (task.timeout_s, task.deadline_wall_s) == (None, None)


def test_stamps_are_read_and_absent_ones_are_told_from_zero() -> None:
    task = parse("q.a", claimed(MESSAGE, ttl_completed=b"0", active_timeout=b"2.5"))
    assert task.stamps == Stamps(ttl_completed_s=0, active_timeout_s=2.5)


@pytest.mark.parametrize("since", [b"1700000000500000000", b"1700000000.5"], ids=["asynq", "the Go worker"])
def test_pending_since_is_understood_in_nanoseconds_and_in_seconds(since: bytes) -> None:
    assert parse("q.a", claimed(MESSAGE, pending_since=since)).pending_since_wall_s == 1_700_000_000.5


def test_the_higher_of_the_two_counts_of_retries_rules() -> None:
    assert parse("q.a", claimed(MESSAGE, retried=b"2")).retried == 2


def test_a_rewritten_message_keeps_every_field_even_unknown_ones() -> None:
    rewritten = after_failure(MESSAGE, retried=1, error_msg="boom", failed_at_wall_s=1_700_000_000.9)
    assert rewritten.startswith(MESSAGE[:17])
    assert rewritten.endswith(b"\x9a\x06\x03new")
    task = parse("q.a", claimed(rewritten))
    assert (task.retried, task.max_retry, task.payload) == (1, 3, b"{}")


def test_a_legacy_hash_is_read_field_by_field() -> None:
    task = parse("q.a", claimed(None, [b"t", b"[1]", b"1", b"5", b"30", b"1700000000"]))
    assert (task.type, task.payload, task.retried, task.max_retry) == ("t", b"[1]", 1, 5)
    assert (task.timeout_s, task.deadline_wall_s, task.message) == (30, 1_700_000_000, None)


def test_a_legacy_hash_without_a_count_says_so() -> None:
    assert parse("q.a", claimed(None, [b"t", b"{}", None, None, None, None])).max_retry is None


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (claimed(b"\xff\xff\xff"), "no valid protobuf"),
        (claimed(None), "neither a message nor"),
        (claimed(MESSAGE, ttl_completed=b"soon"), "ttl_completed is b'soon'"),
        (claimed(MESSAGE, retried=b"x"), "retried is b'x'"),
    ],
)
def test_what_cannot_be_understood_says_why(entry: list[Any], complaint: str) -> None:
    with pytest.raises(TaskUndecodable, match=complaint):
        parse("q.a", entry)
