"""The harness's and the worker's idea of a task message, each held against the golden bytes."""

import pytest

from appliance.queue.message import Task, after_failure, parse
from harness.queue import wire
from tests.wire.cases import Golden, load

GOLDEN = load()
each = pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)


def worker_reads(message: bytes) -> Task:
    return parse("inference.high", [b"1", b"1", b"me", message, *[None] * 8])


def test_there_is_something_to_hold_them_against() -> None:
    assert len(GOLDEN) >= 14
    assert {name for golden in GOLDEN for name in golden.fields} >= {n for n, _ in wire.FIELDS.values()}


@each
def test_the_harness_reads_what_is_there(golden: Golden) -> None:
    assert wire.decode(golden.message) == golden.fields


@pytest.mark.parametrize("golden", [g for g in GOLDEN if g.canonical], ids=lambda golden: golden.name)
def test_the_harness_writes_these_very_bytes(golden: Golden) -> None:
    assert wire.encode(golden.fields) == golden.message


@each
def test_the_worker_reads_what_is_there(golden: Golden) -> None:
    task = worker_reads(golden.message)
    assert task.type == golden.fields.get("type", "")
    assert task.payload == golden.fields.get("payload", b"")
    assert task.max_retry == golden.fields.get("retry", 0)
    assert task.timeout_s == golden.fields.get("timeout")
    assert task.deadline_wall_s == golden.fields.get("deadline")
    assert task.retention_s == golden.fields.get("retention", 0)
    assert task.unique_key == golden.fields.get("unique_key", "")


@each
def test_the_workers_rewrite_changes_the_failure_and_nothing_else(golden: Golden) -> None:
    rewritten = after_failure(golden.message, retried=7, error_msg="again", failed_at_wall_s=1_700_000_500)
    failure = {"retried": 7, "error_msg": "again", "last_failed_at": 1_700_000_500}
    assert wire.decode(rewritten) == {**golden.fields, **failure}
