"""``GET /queue/{id}`` and the lists of tasks: what is read out of Redis, and what cannot be."""

from typing import Any

from harness.conform.exchange import ADMIN, CLIENT, NONE, UNAUTHORIZED, WRONG, Ask, Exchange, GivenTask
from harness.conform.shape import Among, Matches, Open

_NEVER = "0001-01-01T00:00:00Z"
_SECOND = Matches(r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$")
#: Scores that have a fraction, and that have none.
_FRACTION_S, _WHOLE_S = 3_600.5, 3_600.0
_UNREADABLE = {"errors": ["asynq: INTERNAL_ERROR: unexpected value returned from Lua script"]}


def _get(task: str, key: str = NONE) -> Ask:
    return Ask("GET", f"/queue/{task}", key)


def _list(state: str, key: str = ADMIN) -> Ask:
    return Ask("GET", f"/api/queues/{{queue}}/tasks?limit=100000&state={state}", key)


def _result(name: str, result: str, shown: str) -> Exchange:
    return Exchange(
        f"a result that is {name}",
        _get("{id}"),
        200,
        {"Info": Open({"state": "completed", "Result": shown})},
        given=GivenTask("completed", {"result": result}),
    )


_INFO: dict[str, Any] = {
    "id": "{id}",
    "type": "{queue}",
    "payload": '{"n": 1}',
    "state": "retry",
    "queue": "{queue}",
    "max_retry": 3,
    "retried": 2,
    "LastErr": "of the message",
    "LastFailedAt": _SECOND,
    "Deadline": _NEVER,
    "Group": "",
    "NextProcessAt": _SECOND,
    "IsOrphaned": False,
    "CompletedAt": _NEVER,
    "Result": "",
}
_FAILED = {"retried": 2, "error_msg": "of the message", "last_failed_at": 1_700_000_000}

ONE = (
    Exchange("an unknown task", _get("conform-unknown"), 404, {"errors": ["task not found"]}),
    Exchange(
        "waiting for an unknown task", _get("conform-unknown?wait=true"), 404, {"errors": ["task not found"]}
    ),
    Exchange("a task named add", _get("add"), 404, {"errors": ["task not found"]}),
    Exchange("a task without a key", _get("{task}"), 200, {"Info": Open({"id": "{task}"})}),
    Exchange("a task with an unknown key", _get("{task}", WRONG), 200, {"Info": Open({"id": "{task}"})}),
    Exchange(
        "a task in retry, its errors and times",
        _get("{id}"),
        200,
        {"Info": _INFO},
        given=GivenTask("retry", {"error_msg": "of the hash", "retried": "1"}, _FAILED, _WHOLE_S),
    ),
    Exchange(
        "a task in retry whose score has a fraction",
        _get("{id}"),
        500,
        _UNREADABLE,
        given=GivenTask("retry", due_in_s=_FRACTION_S),
    ),
    Exchange(
        "waiting for a task in retry whose score has a fraction",
        _get("{id}?wait=true"),
        408,
        _UNREADABLE,
        given=GivenTask("retry", due_in_s=_FRACTION_S),
    ),
    Exchange(
        "a scheduled task whose score has a fraction",
        _get("{id}"),
        500,
        _UNREADABLE,
        given=GivenTask("scheduled", due_in_s=_FRACTION_S),
    ),
    Exchange(
        "a lookup whose task is gone",
        _get("{id}"),
        500,
        {"errors": ["asynq: task not found"]},
        given=GivenTask("pending", stored=False),
    ),
    Exchange(
        "waiting for a task that is gone",
        _get("{id}?wait=true"),
        408,
        {"errors": ["asynq: task not found"]},
        given=GivenTask("pending", stored=False),
    ),
    Exchange(
        "a task in a state that is none",
        _get("{id}"),
        500,
        {"errors": ['asynq: FAILED_PRECONDITION: FAILED_PRECONDITION: "zzz" is not supported task state']},
        given=GivenTask("retry", {"state": "zzz"}),
    ),
    Exchange(
        "waiting for a task that is over",
        _get("{id}?wait=true"),
        200,
        {"Info": Open({"state": "archived", "LastErr": "of the message"})},
        given=GivenTask("archived", message=_FAILED),
    ),
    Exchange(
        "waiting for a task that does not end",
        _get("{id}?wait=true"),
        408,
        {"errors": ["timeout waiting for task result"]},
        given=GivenTask("scheduled"),
        slow=True,
    ),
)

RESULTS = (
    _result("an object", '{"a": 1}', '{"a": 1}'),
    _result("null, which is base64", "null", "\ufffd\ufffde"),
    _result("a number of four digits, which is base64", "1234", "\ufffdm\ufffd"),
    _result("base64 between line breaks", "12\r\n34", "\ufffdm\ufffd"),
    _result("base64 with padding", "aGk=", "hi"),
    _result("base64 without its padding", "aGk", "aGk"),
    _result("null with a blank behind it", "null ", "null "),
    _result("missing", "", ""),
)

LISTS = (
    *(
        Exchange(
            f"the list of {state} tasks, a score in it with a fraction",
            _list(state),
            500,
            {
                "errors": [
                    Matches(
                        "^asynq: INTERNAL_ERROR: INTERNAL_ERROR: cast error: Lua script returned unexpected"
                    )
                ]
            },
            given=GivenTask(state, due_in_s=_FRACTION_S),
        )
        for state in ("scheduled", "retry", "archived", "completed")
    ),
    Exchange(
        "the list of tasks in retry",
        _list("retry"),
        200,
        {"tasks": Among(Open({"id": "{id}", "state": "retry", "last_err": "of the message", "timeout": ""}))},
        given=GivenTask("retry", message=_FAILED),
    ),
    Exchange(
        "the list of completed tasks",
        _list("completed"),
        200,
        {"tasks": Among(Open({"id": "{id}", "result": "null", "completed_at": str}))},
        given=GivenTask("completed", {"result": "null"}),
    ),
    Exchange(
        "the list of tasks in a state that is none", _list("zzz"), 400, {"errors": ["invalid state: zzz"]}
    ),
    Exchange(
        "the list of tasks of an unknown queue",
        Ask("GET", "/api/queues/conform-unknown/tasks", ADMIN),
        500,
        {"errors": ["asynq: queue not found"]},
    ),
    Exchange("the list of tasks with a client's key", _list("retry", CLIENT), 401, UNAUTHORIZED),
)

EXCHANGES = (*ONE, *RESULTS, *LISTS)
