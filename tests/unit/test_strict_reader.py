"""The strict reader: nothing to say of what is right, and each planted defect is found by its rule alone."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from harness.queue import wire
from harness.queue.strict.reader import RULES, check
from harness.queue.strict.snapshot import Entry, Snapshot

NOW_S = 1_800_000_000.5
DAY_S = 86_400
Q = "asynq:{inference.high}:"
BEAT = {
    "worker_id": "w",
    "started_at": "1800000000",
    "last_beat": "1800000000",
    "concurrency": "2",
    "queues": "map[inference.high:9 inference.low:1]",
    "status": "running",
    "healthy": "1",
    "protected": "false",
    "metrics": json.dumps({"cpu_percent": 1.5, "memory_used_bytes": 1, "memory_total_bytes": 2}),
    "recovery": json.dumps({"inference": {"state": "idle", "consecutive_fails": 0, "total_restarts": 0}}),
}
LINE = {"ts": 1_800_000_000_000, "src": "stdout", "text": "hello", "seq": 1}


def task(
    task_id: str, state: str, ttl_s: float | None = None, message: dict | None = None, **fields
) -> Entry:
    encoded = wire.encode(
        {"type": "t", "id": task_id, "queue": "inference.high", "retry": 3, **(message or {})}
    )
    return hash_of({"msg": encoded, "state": state, **fields}, ttl_s)


def hash_of(fields: Mapping[str, object], ttl_s: float | None = None) -> Entry:
    texts = {
        name: value if isinstance(value, bytes) else str(value).encode() for name, value in fields.items()
    }
    return Entry("hash", ttl_s, fields=texts)


def list_of(*items: str, ttl_s: float | None = None) -> Entry:
    return Entry("list", ttl_s, items=items)


def scored(**scores: object) -> Entry:
    return Entry("zset", scores={name: str(score) for name, score in scores.items()})


def string(text: object, ttl_s: float | None = None) -> Entry:
    return Entry("string", ttl_s, text=str(text).encode())


DONE = {"result": b'{"n": 1}', "completed_at": 1_799_999_990}
FAILED = {"retried": 1, "last_failed_at": 1_799_999_990, "error_msg": "boom"}
RIGHT: dict[str, Entry] = {
    "asynq:queues": Entry("set", items=("inference.high",)),
    f"{Q}pending": list_of("waits"),
    f"{Q}active": list_of("runs"),
    f"{Q}lease": scored(runs=1_800_000_030.25),
    f"{Q}scheduled": scored(later=1_800_000_100),
    f"{Q}retry": scored(again=1_800_000_010),
    f"{Q}completed": scored(done=1_800_086_391),
    f"{Q}archived": scored(failed=1_800_259_200, kept=1_799_999_999),
    f"{Q}t:waits": task(
        "waits", "pending", pending_since=1_799_999_999_000_000_000, unique_key=f"{Q}unique:t:1"
    ),
    f"{Q}t:runs": task("runs", "active", owner="w", attempt=2, active_timeout=0),
    f"{Q}t:later": task("later", "scheduled"),
    f"{Q}t:again": task("again", "retry", message=FAILED, **FAILED),
    f"{Q}t:done": task("done", "completed", DAY_S + 120, {"completed_at": DONE["completed_at"]}, **DONE),
    f"{Q}t:failed": task("failed", "archived", 3 * DAY_S + 120, FAILED, **FAILED),
    # Archived by hand: the time of that for a score, and no life yet.
    f"{Q}t:kept": task("kept", "archived"),
    # Stamped after it was deleted, and on its way out.
    f"{Q}t:deleted": hash_of({"ttl_completed": 60}, 60),
    f"{Q}unique:t:1": string("waits", 3_600),
    f"{Q}paused": string(1_799_999_999),
    f"{Q}processed": string(7),
    f"{Q}failed": string(2),
    f"{Q}processed:2027-01-15": string(7, 90 * DAY_S),
    f"{Q}failed:2027-01-15": string(2, 90 * DAY_S),
    "asynq:t:waits": hash_of({"queue": "inference.high"}, 30 * DAY_S),
    "asynq:t:runs": hash_of({"queue": "inference.high"}),
    "asynq:t:done": hash_of({"queue": "inference.high"}, DAY_S),
    "asynq:t:kept": hash_of({"queue": "inference.high"}),
    "asynq:t:gone": hash_of({"queue": "inference.high"}, 60),
    "asynq:workers": scored(w=1_800_001_800),
    "asynq:workers:w": hash_of(BEAT, 30),
    "asynq:workers:w:logs": list_of(json.dumps(LINE), ttl_s=30),
    "asynq:crashes:w": list_of("{}", ttl_s=DAY_S),
}


def fields(key: str, ttl: object = "as it was", **changes: object) -> dict[str, Entry]:
    """The right hash ``key`` with fields changed; None takes one out."""
    old = RIGHT[key]
    changed = {
        **old.fields,
        **hash_of({name: each for name, each in changes.items() if each is not None}).fields,
    }
    kept = {name: each for name, each in changed.items() if changes.get(name, "") is not None}
    return {key: Entry("hash", old.ttl_s if ttl == "as it was" else ttl, fields=kept)}


def life(key: str, ttl_s: float | None) -> dict[str, Entry]:
    return {key: replace(RIGHT[key], ttl_s=ttl_s)}


def message(key: str, **changes: object) -> dict[str, Entry]:
    old = wire.decode(RIGHT[key].fields["msg"])
    return fields(key, msg=wire.encode({**old, **changes}))


def metrics(**changes: object) -> dict[str, Entry]:
    return fields("asynq:workers:w", metrics=json.dumps({**json.loads(BEAT["metrics"]), **changes}))


#: Defect → the rule that finds it, and the keys that differ from RIGHT; None for one that is not there.
DEFECTS: dict[str, tuple[str, dict[str, Entry | None]]] = {
    "a key of an unknown kind": ("keys are known", {f"{Q}stats": string(1)}),
    "a day that is none": ("keys are known", {f"{Q}processed:2027-13-01": string(1, 60)}),
    "a global key that is unknown": ("keys are known", {"asynq:appliance": string(1)}),
    "a list where a sorted set belongs": (
        "keys are of their type",
        {f"{Q}lease": list_of("x"), f"{Q}active": None, f"{Q}t:runs": None, "asynq:t:runs": None},
    ),
    "crash dossiers in a hash": ("keys are of their type", {"asynq:crashes:w": hash_of({"1": "{}"}, 60)}),
    "a list that expires": ("keys live as long as they may", life(f"{Q}pending", 60)),
    "a total that expires": ("keys live as long as they may", life(f"{Q}processed", 90 * DAY_S)),
    "a day's counter for ever": ("keys live as long as they may", life(f"{Q}failed:2027-01-15", None)),
    "a day's counter for a year": (
        "keys live as long as they may",
        life(f"{Q}failed:2027-01-15", 365 * DAY_S),
    ),
    "a unique lock for ever": ("keys live as long as they may", life(f"{Q}unique:t:1", None)),
    "a heartbeat for ever": ("keys live as long as they may", life("asynq:workers:w", None)),
    "crash dossiers for ever": ("keys live as long as they may", life("asynq:crashes:w", None)),
    "log lines for a day": ("keys live as long as they may", life("asynq:workers:w:logs", DAY_S)),
    "a queue that is not registered": (
        "queues are registered",
        {"asynq:{inference.low}:processed": string(1)},
    ),
    "a fraction of a second in retry": ("scores are whole", {f"{Q}retry": scored(again="1800000010.5")}),
    "a fraction of a second in scheduled": (
        "scores are whole",
        {f"{Q}scheduled": scored(later="1800000010.25")},
    ),
    "a fraction of a second in completed": (
        "scores are whole",
        {f"{Q}completed": scored(done="1800000010.75")},
    ),
    "a fraction of a second in archived": (
        "scores are whole",
        {f"{Q}archived": scored(failed="1800000010.5", kept=1_799_999_999)},
    ),
    "a due time in milliseconds": ("scores are in seconds", {f"{Q}retry": scored(again=1_800_000_010_000)}),
    "a lease in nanoseconds": (
        "scores are in seconds",
        {f"{Q}lease": scored(runs=1_800_000_010_000_000_000)},
    ),
    "a worker remembered in milliseconds": (
        "scores are in seconds",
        {"asynq:workers": scored(w=1_800_001_800_000)},
    ),
    "an id without a hash": ("entries have a task", {f"{Q}pending": list_of("waits", "ghost")}),
    "an entry that outlived its hash": ("entries have a task", {f"{Q}t:failed": None}),
    "an id in two lists": ("a task is in one place", {f"{Q}pending": list_of("waits", "runs")}),
    "an id twice in a list": ("a task is in one place", {f"{Q}pending": list_of("waits", "waits")}),
    "a task that is nowhere": ("a task is somewhere", {f"{Q}scheduled": scored()}),
    "a state that is not the place": ("the state is the place", fields(f"{Q}t:again", state="scheduled")),
    "a lease of a task that waits": (
        "leases are of active tasks",
        {f"{Q}lease": scored(runs=1_800_000_030, waits=1)},
    ),
    "a lease of a task that is gone": (
        "leases are of active tasks",
        {f"{Q}lease": scored(runs=1_800_000_030, x=1)},
    ),
    "a task at work without a lease": ("active tasks have a lease", {f"{Q}lease": scored()}),
    "a message that is none": ("messages decode", fields(f"{Q}t:waits", msg=b"\xff\xff")),
    "a message with text that is no UTF-8": ("messages decode", fields(f"{Q}t:waits", msg=b"\x0a\x01\xff")),
    "a message of another task": ("messages name their task", message(f"{Q}t:waits", id="runs")),
    "a message of another queue": ("messages name their task", message(f"{Q}t:waits", queue="inference.low")),
    "a message that names none": ("messages name their task", message(f"{Q}t:waits", id="")),
    "a state that is none": ("states are known", fields(f"{Q}t:waits", state="ready")),
    "no state": ("states are known", fields(f"{Q}t:waits", state=None)),
    "a field that is unknown": ("fields are known", fields(f"{Q}t:waits", priority=1)),
    "a stamp with a fraction": ("numbers are whole", fields(f"{Q}t:waits", ttl_completed="60.5")),
    "a time with a fraction": ("numbers are whole", fields(f"{Q}t:runs", last_failed_at="1800000000.5")),
    "a stamp with a blank": ("numbers are whole", fields(f"{Q}t:waits", ttl_archived=" 60")),
    "waiting since, in seconds": (
        "pending_since is in nanoseconds",
        fields(f"{Q}t:waits", pending_since=1_800_000_000),
    ),
    "a retry that the message does not count": ("hash and message agree", fields(f"{Q}t:again", retried=2)),
    "a completion without a time": ("completed tasks say when", fields(f"{Q}t:done", completed_at=None)),
    "a completion that the message does not date": (
        "completed tasks say when",
        message(f"{Q}t:done", completed_at=0),
    ),
    "a result that is no JSON": ("results come back as sent", fields(f"{Q}t:done", result=b"{")),
    "a result that is base64": ("results come back as sent", fields(f"{Q}t:done", result=b"null")),
    "a hash with stamps alone": ("remains go away", life(f"{Q}t:deleted", None)),
    "a waiting task that expires": ("waiting tasks do not expire", life(f"{Q}t:waits", 60)),
    "a task to retry that expires": ("waiting tasks do not expire", life(f"{Q}t:again", 60)),
    "a hash that goes before its entry": (
        "a hash outlives its entry",
        life(f"{Q}t:done", DAY_S),
    ),
    "a lookup without a queue": ("lookups name a queue", {"asynq:t:gone": hash_of({"name": "x"}, 60)}),
    "a lookup of another queue": ("lookups name a queue", {"asynq:t:gone": hash_of({"queue": "x.y"}, 60)}),
    "a lookup for ever of a task that ends": (
        "lookups live as long as their task",
        life("asynq:t:done", None),
    ),
    "a lookup for ever of a task that is gone": (
        "lookups live as long as their task",
        life("asynq:t:gone", None),
    ),
    "a lookup that goes before its task": ("lookups live as long as their task", life("asynq:t:done", 60)),
    "a counter that is no number": ("counters are whole", {f"{Q}processed:2027-01-14": string("many", 60)}),
    "a counter below 0": ("counters are whole", {f"{Q}failed": string(-1)}),
    "more failures than runs": ("failed is within processed", {f"{Q}failed": string(8)}),
    "a status the server does not know": ("statuses are known", fields("asynq:workers:w", status="quiet")),
    "no status": ("statuses are known", fields("asynq:workers:w", status=None)),
    "a beat with a fraction": (
        "worker fields are readable",
        fields("asynq:workers:w", last_beat="1800000000.5"),
    ),
    "an id that is not the key's": ("worker fields are readable", fields("asynq:workers:w", worker_id="v")),
    "queues as JSON": ("worker fields are readable", fields("asynq:workers:w", queues='{"a": 1}')),
    "health in words": ("worker fields are readable", fields("asynq:workers:w", healthy="yes")),
    "memory with a fraction": ("worker JSON is readable", metrics(memory_used_bytes=1.5)),
    "a processor that is no number": ("worker JSON is readable", metrics(cpu_percent="1")),
    "a card without a name": ("worker JSON is readable", metrics(gpus=[{"index": 0}])),
    "metrics that are no JSON": ("worker JSON is readable", fields("asynq:workers:w", metrics="{'a': 1}")),
    "a recovery state that is unknown": (
        "worker JSON is readable",
        fields("asynq:workers:w", recovery=json.dumps({"inference": {"state": "sad"}})),
    ),
    "a stopped worker in the list": (
        "stopped workers are gone",
        fields("asynq:workers:w", 2, status="stopped"),
    ),
    "a stopped worker's hash that stays": (
        "stopped workers are gone",
        {**fields("asynq:workers:w", 30, status="stopped"), "asynq:workers": scored()},
    ),
    "a list of lines that is never trimmed": (
        "logs are bounded",
        {"asynq:workers:w:logs": list_of(*[json.dumps(LINE)] * 1_001, ttl_s=30)},
    ),
    "a line without a number": (
        "log lines are readable",
        {"asynq:workers:w:logs": list_of(json.dumps({**LINE, "seq": None}), ttl_s=30)},
    ),
    "a line that is no JSON": (
        "log lines are readable",
        {"asynq:workers:w:logs": list_of("hello", ttl_s=30)},
    ),
}


def rules_broken(changes: Mapping[str, Entry | None]) -> set[str]:
    keys = {key: entry for key, entry in {**RIGHT, **changes}.items() if entry is not None}
    return {finding.rule for finding in check(Snapshot(NOW_S, keys), but=())}


def test_nothing_is_said_of_a_layout_that_is_right() -> None:
    assert check(Snapshot(NOW_S, RIGHT), but=()) == []


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found_by_its_rule_alone(defect: str) -> None:
    rule, changes = DEFECTS[defect]
    assert rules_broken(changes) == {rule}


def test_every_rule_has_a_defect_that_it_finds() -> None:
    assert {rule for rule, _ in DEFECTS.values()} == set(RULES)


def test_a_finding_names_the_key_what_is_there_and_what_a_strict_tool_does_with_it() -> None:
    (finding,) = check(Snapshot(NOW_S, {**RIGHT, f"{Q}retry": scored(again="1800000010.5")}), but=())
    assert str(finding) == (
        "asynq:{inference.high}:retry: again has the score 1800000010.5; cast error: unexpected value "
        "returned from Lua script → HTTP 500 for the task and the list (rule: scores are whole)"
    )
