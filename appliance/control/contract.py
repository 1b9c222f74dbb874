"""What the server promises at registration, checked once and frozen.

Source: the runqy server's public answer to ``POST /worker/register``. Unknown fields are
ignored, optional ones get the server's documented defaults, and a missing or ill-typed
required one is a :class:`~appliance.errors.RegistrationRejected` that lists every problem.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Mode(StrEnum):
    """How the task process is run."""

    LONG_RUNNING = "long_running"
    ONE_SHOT = "one_shot"


@dataclass(frozen=True)
class RedisEndpoint:
    """Where the queue's Redis is."""

    host: str
    port: int
    password: str = field(repr=False)
    db: int
    use_tls: bool


@dataclass(frozen=True)
class SubQueue:
    """One queue to serve: its full name (``inference.high``) and its priority (more is first)."""

    name: str
    priority: int


@dataclass(frozen=True)
class DeploymentSpec:
    """What code to run and how; ``code_path`` is relative to the repository, None for its root."""

    git_url: str
    branch: str
    startup_cmd: str
    code_path: str | None = None
    mode: Mode = Mode.LONG_RUNNING
    startup_timeout_s: float = 60.0
    redis_storage: bool = False
    requirements_file: str = "requirements.txt"


@dataclass(frozen=True)
class Registration:
    """One parent queue's contract. ``sub_queues`` is never empty and is sorted by falling priority."""

    parent: str
    redis: RedisEndpoint
    sub_queues: tuple[SubQueue, ...]
    deployment: DeploymentSpec
    vaults: Mapping[str, str] = field(repr=False, default_factory=dict)
    git_token: str | None = field(repr=False, default=None)
