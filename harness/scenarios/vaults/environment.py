"""Vault entries are in the task process's environment, as they are, and nowhere else."""

import hashlib
from typing import Any

import redis

from harness.queue import asynq
from harness.scenarios import expect
from harness.scenarios.scenario import Mutation, scenario
from harness.scenarios.scene import Scene

SECRETS = {"API_TOKEN": "canary-3f9b1c77 with spaces", "SIGNATURE": "canary-ünï-=%$'\"-91"}


def _leak(db: redis.Redis) -> None:
    db.set("asynq:workers:debug", SECRETS["API_TOKEN"])


def _digest(secret: str) -> dict[str, Any]:
    return {"present": True, "sha256": hashlib.sha256(secret.encode()).hexdigest()[:12]}


@scenario(
    budget_s=30,
    mutations=[
        Mutation("one missing", red="entries", registration={"vaults": {"SIGNATURE": None}}),
        Mutation("one altered", red="entries", registration={"vaults": {"API_TOKEN": "canary-3f9b1c77"}}),
        Mutation("one in Redis", red="Redis", sabotage=_leak),
    ],
    length="smoke",
)
def play(scene: Scene) -> None:
    # given two vaults
    vaults = {"first": {"API_TOKEN": SECRETS["API_TOKEN"]}, "second": {"SIGNATURE": SECRETS["SIGNATURE"]}}
    scene.handler("vault", vaults=vaults)
    worker = scene.worker()
    # when a task looks at its environment
    (seen,) = scene.results(scene.send({"names": [*SECRETS, "NOT_THERE"]}))
    # then the entries are there, and the values in no log and not in Redis
    expected = {
        **{name: _digest(secret) for name, secret in SECRETS.items()},
        "NOT_THERE": {"present": False},
    }
    expect.equal("entries", seen, expected)
    stored = asynq.get_everything(scene.db)
    expect.true("no secret is in Redis", not any(secret in stored for secret in SECRETS.values()))
    log = worker.log_text()
    expect.true("no secret is in the log", not any(secret in log for secret in SECRETS.values()))
