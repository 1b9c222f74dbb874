"""A Redis whose password was changed: seen at once, said why, taken on when the server says the new one."""

import json
import signal
import urllib.error
import urllib.request
from typing import Any

from harness import wait
from harness.queue import asynq
from harness.queue.asynq import NewTask
from harness.sandbox import ports
from tests.integration.world import QUEUE, World


def _readyz(port: int) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as exc:
        return dict(json.load(exc))


def test_a_rotated_password_is_asked_about_at_once_and_taken_on_by_sighup(world: World) -> None:
    # given a worker that would ask about an absence only after an hour
    port = ports.free_port()
    world.serve_sleeper()
    worker = world.worker(RUNQY_HTTP_ADDR=f"127.0.0.1:{port}", RUNQY_REDIS_ASK_SERVER_AFTER="1h")
    world.running(worker)
    # when the password changes, and the server does not know it yet
    secret = "rotated-5a1e"
    world.db.config_set("requirepass", secret)
    world.db.client_kill_filter(_type="normal", skipme=False)
    asked = world.event(worker, "redis.not_moved")
    # then the worker has asked, and says what is wrong
    assert asked["redis"] == f"127.0.0.1:{world.redis.port}"
    why = wait.until(
        lambda: [one for one in _readyz(port)["reasons"] if "does not let user default" in one["text"]],
        60,
        "the reason at /readyz",
        worker.tail,
    )
    assert why[0]["code"] == "redis_unavailable"
    # when the server knows it, and the worker is told to ask again
    url = world.redis.url.replace("redis://", f"redis://:{secret}@")
    world.server.use_redis(url)
    worker.signal(signal.SIGHUP)
    # then work goes on
    assert world.event(worker, "redis.moved")["changed"] == "how it is reached (password, database or TLS)"
    with world.redis.client(secret) as db:
        (task_id,) = asynq.seed_pending(db, QUEUE, NewTask({}))
        wait.until(
            lambda: asynq.where_is(db, QUEUE, task_id) == "completed", 60, "a task to be done", worker.tail
        )
    wait.until(lambda: _readyz(port)["ready"], 60, "/readyz to say so", worker.tail)
    assert secret not in worker.tail()
