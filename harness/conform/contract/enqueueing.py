"""``POST /queue/add`` and ``POST /queue/add-batch``: answers, and what they leave in Redis."""

from typing import Any

from harness.conform.exchange import (
    ADMIN,
    CLIENT,
    FORBIDDEN,
    NONE,
    UNAUTHORIZED,
    WORKER,
    WRONG,
    Ask,
    Exchange,
)
from harness.conform.shape import ABSENT, ANYTHING, ByAge, Each, Matches, Open, Within
from harness.server.age import LOOKUP_TTL_S

_DAY_S = 86_400
_NEVER = "0001-01-01T00:00:00Z"
#: Tasks of a batch that are more than the server puts into the queue in one go.
_MANY = 120


def _info(payload: str) -> dict[str, Any]:
    return {
        "id": Matches("^[0-9a-f-]{36}$"),
        "type": "{queue}",
        "payload": payload,
        "state": "pending",
        "queue": "{queue}",
        "max_retry": int,
        "retried": 0,
        "LastErr": "",
        "LastFailedAt": _NEVER,
        "Deadline": _NEVER,
        "Group": "",
        "NextProcessAt": Matches(r"^20\d\d-"),
        "IsOrphaned": False,
        "CompletedAt": _NEVER,
        "Result": None,
    }


def _task(payload: Any, timeout_s: Any, active_timeout: Any) -> dict[str, Any]:
    """A new task; ``timeout_s`` stands in its message, ``active_timeout`` on the newer server in its hash."""
    return {
        "place": "pending",
        "message": Open(
            {
                "id": str,
                "type": "{queue}",
                "queue": "{queue}",
                "payload": payload,
                "retry": int,
                "timeout": timeout_s,
                "retention": ByAge(_DAY_S, int),
                "deadline": ABSENT,
            }
        ),
        "hash": ByAge(
            {"state": "pending", "pending_since": Matches(r"^\d{19}$")},
            {
                "state": "pending",
                "pending_since": Matches(r"^\d{19}$"),
                "ttl_completed": Matches(r"^\d+$"),
                "ttl_archived": Matches(r"^\d+$"),
                "pending_timeout": Matches(r"^\d+$"),
                "active_timeout": active_timeout,
            },
        ),
        "limits_agree": True,
        "lookup": "{queue}",
        "lookup_ttl_s": ByAge(-1, Within(LOOKUP_TTL_S - 60, LOOKUP_TTL_S)),
    }


def _add(key: str = ADMIN, **body: Any) -> Ask:
    return Ask("POST", "/queue/add", key, body)


def _raw(body: bytes, path: str = "add") -> Ask:
    return Ask("POST", f"/queue/{path}", ADMIN, body)


def _batch(key: str = ADMIN, **body: Any) -> Ask:
    return Ask("POST", "/queue/add-batch", key, body)


_ADDED = Open({"info": Open({"queue": "{queue}", "state": "pending"})})
_BATCHED = {"enqueued": 2, "failed": 0, "task_ids": Each(str)}
_UNKNOWN = {"errors": ["queue not found: conform-unknown.default"]}
_ORDER = Open(
    {
        "order": ByAge(
            ["task", "pending", "lookup"], ["task", "pending", "stamps", "lookup", "lookup lifetime"]
        )
    }
)

SINGLE = (
    Exchange(
        "a nested task",
        _add(queue="{queue}", timeout=17, data={"b": 1, "a": "x"}),
        200,
        {"info": _info("eyJhIjoieCIsImIiOjF9"), "data": {"b": 1, "a": "x"}},
        leaves=_task('{"a":"x","b":1}', 17, "17"),
        writes=_ORDER,
    ),
    Exchange(
        "a nested task with a type and other fields beside data",
        _add(queue="{queue}", timeout=17, data={}, type="other", more=1),
        200,
        _ADDED,
        leaves=_task("{}", 17, "17"),
    ),
    Exchange(
        "a flat task",
        _add(queue="{queue}", timeout=17, n=1, type="mine"),
        200,
        Open({"data": {"n": 1, "type": "mine"}}),
        leaves=_task('{"n":1,"type":"mine"}', 17, "17"),
    ),
    Exchange(
        "a task that names no time limit",
        _add(queue="{queue}", data={}),
        200,
        _ADDED,
        leaves=_task("{}", ByAge(1_800, ANYTHING), Matches(r"^\d+$")),
    ),
    Exchange(
        "a task with a negative time limit",
        _add(queue="{queue}", timeout=-5, data={}),
        200,
        _ADDED,
        leaves=_task("{}", ByAge(-5, Within(1, 10**9)), Matches(r"^\d+$")),
    ),
    Exchange(
        "numbers and signs in a single task",
        _raw(b'{"queue":"{queue}","timeout":9,"data":{"n":12345678901234567890,"f":1.0,"t":"<&>"}}'),
        200,
        _ADDED,
        leaves=_task('{"f":1,"n":12345678901234567000,"t":"\\u003c\\u0026\\u003e"}', 9, "9"),
    ),
    Exchange(
        "a single task whose data is a list",
        _raw(b'{"queue":"{queue}","timeout":9,"data":[1, 2.0]}'),
        200,
        _ADDED,
        leaves=_task("[1, 2.0]", 9, "9"),
    ),
    Exchange(
        "a single task whose data is null",
        _add(queue="{queue}", timeout=9, data=None),
        200,
        Open({"data": None}),
        leaves=_task("null", 9, "9"),
    ),
    Exchange(
        "a task without data or fields",
        _add(queue="{queue}", timeout=9),
        200,
        Open({"data": {}}),
        leaves=_task("{}", 9, "9"),
    ),
    Exchange("a task without a key", _add(NONE, queue="{queue}", data={}), 401, UNAUTHORIZED),
    Exchange("a task with an unknown key", _add(WRONG, queue="{queue}", data={}), 401, UNAUTHORIZED),
    Exchange("a task with a worker's key", _add(WORKER, queue="{queue}", data={}), 403, FORBIDDEN),
    Exchange("a task with a client's key", _add(CLIENT, queue="{queue}", data={}), 200, _ADDED),
    Exchange("a task for no queue", _add(data={}), 400, {"errors": ["queue is required"]}),
    Exchange(
        "a task whose queue is a number", _add(queue=5), 400, {"errors": [Matches("^invalid queue field: ")]}
    ),
    Exchange("a task for an unknown queue", _add(queue="conform-unknown", timeout="x"), 404, _UNKNOWN),
    Exchange(
        "a task whose time limit is a text",
        _add(queue="{queue}", timeout="9"),
        400,
        {"errors": [Matches("^invalid timeout field: ")]},
    ),
    Exchange("a task that is no JSON", _raw(b"{"), 400, {"errors": [str]}),
)

BATCH = (
    Exchange(
        "a batch with the wrapping of the SDK",
        _batch(queue="{queue}", timeout=17, jobs=[{"timeout": 9, "data": {"n": 1}}] * 2),
        200,
        _BATCHED,
        leaves=_task('{"timeout": 9, "data": {"n": 1}}', 17, "17"),
    ),
    Exchange(
        "a batch that names no time limit",
        _batch(queue="{queue}", jobs=[{}] * 2),
        200,
        _BATCHED,
        leaves=_task("{}", ByAge(30, ANYTHING), Matches(r"^\d+$")),
    ),
    Exchange(
        "a batch of jobs that are no objects",
        _raw(
            b'{"queue":"{queue}","timeout":9,"jobs":[12345678901234567.0 , 12345678901234567.0]}',
            "add-batch",
        ),
        200,
        _BATCHED,
        leaves=_task("12345678901234567.0", 9, "9"),
    ),
    Exchange(
        "a batch of more than a hundred tasks",
        _batch(queue="{queue}", timeout=9, jobs=[{}] * _MANY),
        200,
        Open({"enqueued": _MANY}),
        writes=Open({"tasks before the first lookup": 100}),
    ),
    Exchange("a batch without a key", _batch(NONE, queue="{queue}", jobs=[{}]), 401, UNAUTHORIZED),
    Exchange("a batch with a worker's key", _batch(WORKER, queue="{queue}", jobs=[{}]), 403, FORBIDDEN),
    Exchange(
        "an empty batch", _batch(queue="{queue}", jobs=[]), 400, {"errors": ["jobs array cannot be empty"]}
    ),
    Exchange("a batch without jobs", _batch(queue="{queue}"), 400, {"errors": [str]}),
    Exchange("a batch for an unknown queue", _batch(queue="conform-unknown", jobs=[{}]), 404, _UNKNOWN),
)

EXCHANGES = (*SINGLE, *BATCH)
