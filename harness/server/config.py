"""What the server knows of a parent queue, and what it answers a worker that registers for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

#: The sub-queue a parent without any has.
DEFAULT_SUB_QUEUE = "default"


@dataclass(frozen=True)
class Limits:
    """What the newer server stamps on each task of a parent queue; 0 is for ever, or no time limit."""

    max_retry: int = 3
    ttl_completed_s: int = 86_400
    ttl_archived_s: int = 259_200
    pending_timeout_s: int = 0
    active_timeout_s: int = 0


@dataclass(frozen=True)
class QueueConfig:
    """A parent queue and its deployment.

    ``sub_queues`` maps names (``high`` or ``inference.high``) to priorities, higher is served first; without
    any the queue has ``{name}.default``. ``vaults`` maps a vault's name to its entries. ``git_url`` is
    any URL git understands, or what :meth:`harness.server.fake.FakeServer.export` gave.
    """

    name: str
    git_url: str
    startup_cmd: str = "python main.py"
    branch: str = "main"
    priority: int = 1
    sub_queues: Mapping[str, int] = field(default_factory=dict)
    code_path: str | None = None
    mode: str = "long_running"
    startup_timeout_secs: int = 60
    redis_storage: bool = True
    limits: Limits = Limits()
    vaults: Mapping[str, Mapping[str, str]] = field(repr=False, default_factory=dict)
    git_token: str | None = field(repr=False, default=None)

    def __post_init__(self) -> None:
        if not self.name or "." in self.name:
            raise ValueError(f"queue name {self.name!r}: expected a parent's, without a dot")
        if self.mode not in {"long_running", "one_shot"}:
            raise ValueError(f"mode {self.mode!r}: expected long_running or one_shot")

    def priorities(self) -> dict[str, int]:
        """Full names of the sub-queues by falling priority."""
        named = {self.full_name(sub): priority for sub, priority in self.sub_queues.items()}
        named = named or {self.full_name(DEFAULT_SUB_QUEUE): self.priority}
        return dict(sorted(named.items(), key=lambda item: -item[1]))

    def full_name(self, sub: str) -> str:
        """``inference.high`` for ``high`` and for itself."""
        return sub if sub.startswith(f"{self.name}.") else f"{self.name}.{sub}"


def registration(queue: QueueConfig, name: str, redis_url: str, git_url: str) -> dict[str, Any]:
    """The answer to a worker that registers for ``name``, the parent queue or one of its sub-queues.

    ``git_url`` is as the worker can reach it.
    """
    listed = queue.priorities()
    listed = {name: listed[name]} if name in listed else listed
    deployment: dict[str, Any] = {
        "git_url": git_url,
        "branch": queue.branch,
        "startup_cmd": queue.startup_cmd,
        "mode": queue.mode,
        "startup_timeout_secs": queue.startup_timeout_secs,
        "redis_storage": queue.redis_storage,
    }
    if queue.code_path is not None:
        deployment["code_path"] = queue.code_path
    answer: dict[str, Any] = {
        "redis": _redis_part(redis_url),
        "queue": {"name": name, "priority": next(iter(listed.values()))},
        "sub_queues": [{"name": each, "priority": priority} for each, priority in listed.items()],
        "deployment": deployment,
    }
    if queue.vaults:
        deployment["vaults"] = sorted(queue.vaults)
        answer["vaults"] = {
            name: value for entries in queue.vaults.values() for name, value in entries.items()
        }
    if queue.git_token is not None:
        answer["git_token"] = queue.git_token
    return answer


def _redis_part(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "addr": f"{parts.hostname}:{parts.port or 6379}",
        "password": unquote(parts.password or ""),
        "db": int(parts.path.strip("/") or 0),
        "use_tls": parts.scheme == "rediss",
    }
