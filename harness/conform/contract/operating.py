"""``GET /workers``, health, and paths that there are not."""

from typing import Any

from harness.conform.exchange import (
    ADMIN,
    CLIENT,
    FORBIDDEN,
    NONE,
    UNAUTHORIZED,
    WORKER,
    Ask,
    Exchange,
    GivenWorker,
)
from harness.conform.shape import ABSENT, Among, ByAge, Each, Matches, Open

_QUEUES = "map[{queue}:9]"
_BEAT = {
    "started_at": "1700000000",
    "concurrency": "4",
    "queues": _QUEUES,
    "status": "bootstrapping",
    "healthy": "0",
    "instance_id": "conform-1",
    "protected": "True",
}


def _worker(*, stale: bool, instance_id: Any = "conform-1", protected: bool = True) -> dict[str, Any]:
    return {
        "worker_id": "{id}",
        "started_at": 1_700_000_000,
        "last_beat": int,
        "concurrency": 4,
        "queues": _QUEUES,
        "status": "bootstrapping",
        "is_stale": stale,
        "instance_id": ByAge(ABSENT, instance_id),
        "protected": ByAge(ABSENT, protected),
    }


def _get(path: str, key: str = NONE) -> Ask:
    return Ask("GET", path, key)


WORKERS = (
    Exchange("the workers without a key", _get("/workers"), 401, UNAUTHORIZED),
    Exchange("the workers with a client's key", _get("/workers", CLIENT), 403, FORBIDDEN),
    Exchange("the workers with a worker's key", _get("/workers", WORKER), 403, FORBIDDEN),
    Exchange(
        "the workers",
        _get("/workers", ADMIN),
        200,
        {"workers": Among(_worker(stale=False)), "count": int},
        given=GivenWorker(_BEAT),
    ),
    Exchange(
        "the fields of every worker",
        _get("/workers", ADMIN),
        200,
        {"workers": Each(Open({"queues": str, "is_stale": bool, "healthy": ABSENT})), "count": int},
    ),
    Exchange(
        "a worker without a beat for half a minute",
        _get("/workers/{id}", ADMIN),
        200,
        _worker(stale=True),
        given=GivenWorker(_BEAT, beat_ago_s=40),
    ),
    Exchange(
        "a worker without an instance",
        _get("/workers/{id}", ADMIN),
        200,
        _worker(stale=False, instance_id=ABSENT, protected=False),
        given=GivenWorker({**_BEAT, "instance_id": "", "protected": "no"}),
    ),
    Exchange(
        "an unknown worker", _get("/workers/conform-unknown", ADMIN), 404, {"errors": ["Worker not found"]}
    ),
)

PATHS = (
    Exchange("health", _get("/health"), 200, {"status": "ok", "timestamp": str}),
    Exchange("health with Redis", _get("/healthz"), 200, {"status": "ok", "redis": True, "timestamp": str}),
    Exchange("a path there is not", _get("/conform-unknown"), 404, "404 page not found", "text/plain"),
    Exchange(
        "a method there is not",
        Ask("PUT", "/queue/add", ADMIN),
        404,
        Matches("404 page not found"),
        "text/plain",
    ),
)

EXCHANGES = (*WORKERS, *PATHS)
