"""``POST /worker/register``."""

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
from harness.conform.shape import ABSENT, Each, Matches, Open

_WORKER = {"queue": "{parent}", "hostname": "conform", "os": "linux", "version": "1"}
_ANSWER = Open(
    {
        "redis": {"addr": Matches(r".:\d+$"), "password": str, "db": int, "use_tls": bool},
        "queue": {"name": "{parent}", "priority": int},
        "sub_queues": Each({"name": Matches(r"^{parent}\."), "priority": int}),
        "deployment": Open(
            {
                "git_url": str,
                "branch": str,
                "startup_cmd": str,
                "startup_timeout_secs": int,
                "redis_storage": bool,
                "requirements_file": ABSENT,
            }
        ),
    }
)


def _ask(key: str, body: Any = None, **headers: str) -> Ask:
    return Ask("POST", "/worker/register", key, _WORKER if body is None else body, headers)


EXCHANGES = (
    Exchange("registering without a key", _ask(NONE), 401, UNAUTHORIZED),
    Exchange("registering with an unknown key", _ask(WRONG), 401, UNAUTHORIZED),
    Exchange("registering with a client's key", _ask(CLIENT), 403, FORBIDDEN),
    Exchange("registering with a worker's key", _ask(WORKER), 200, _ANSWER),
    Exchange("registering with the admin's key", _ask(ADMIN), 200, _ANSWER),
    Exchange(
        "a key behind a lower-case bearer",
        _ask(NONE, Authorization="bearer {admin_key}"),
        401,
        UNAUTHORIZED,
    ),
    Exchange("a key in X-API-Key", _ask(NONE, **{"X-API-Key": "{admin_key}"}), 200, _ANSWER),
    Exchange(
        "a right X-API-Key beside a wrong Authorization",
        _ask(WRONG, **{"X-API-Key": "{admin_key}"}),
        401,
        UNAUTHORIZED,
    ),
    Exchange(
        "registering for a sub-queue",
        _ask(ADMIN, {**_WORKER, "queue": "{queue}"}),
        200,
        Open(
            {
                "queue": {"name": "{queue}", "priority": int},
                "sub_queues": [{"name": "{queue}", "priority": int}],
            }
        ),
    ),
    Exchange(
        "registering for an unknown parent queue",
        _ask(ADMIN, {**_WORKER, "queue": "conform-unknown"}),
        404,
        {"error": "queue 'conform-unknown' not found (also tried 'conform-unknown.default')"},
    ),
    Exchange(
        "registering for an unknown sub-queue",
        _ask(ADMIN, {**_WORKER, "queue": "conform-unknown.x"}),
        404,
        {"error": "queue 'conform-unknown.x' not found"},
    ),
    Exchange("registering for no queue", _ask(ADMIN, {}), 400, {"error": "queue name is required"}),
    Exchange(
        "registering for a name that is none",
        _ask(ADMIN, {"queue": "../x"}),
        400,
        {"error": Matches("^invalid queue name")},
    ),
    Exchange(
        "a registration that is no JSON", _ask(ADMIN, b"{"), 400, {"error": Matches("^invalid request: ")}
    ),
    Exchange(
        "a registration with unknown fields and another content type",
        _ask(ADMIN, {"queue": "{parent}", "colour": "red"}, **{"Content-Type": "text/plain"}),
        200,
        _ANSWER,
    ),
)
