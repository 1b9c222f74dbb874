"""``runqy-harness serve``: a local runqy for the task code at hand, until somebody ends it."""

import contextlib
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from harness import local, wait
from harness.failure import CommandFailed
from harness.redis import ExternalRedis, RedisServer, RedisUnavailable
from harness.repo import GitFailed, GitRepo
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer
from harness.source import Folder, Handler, Remote, Snapshot, Source, handler_repo

#: Seconds a Redis that somebody else runs may take to answer: it may be starting beside us.
REDIS_PATIENCE_S = 20.0


@dataclass(frozen=True)
class Place:
    """Where the server and Redis are, and the keys. ``redis_url`` None is a Redis of our own."""

    host: str
    port: int
    redis_url: str | None
    redis_host_for_workers: str | None
    worker_key: str = field(repr=False)
    client_key: str = field(repr=False)


@dataclass(frozen=True)
class Offer:
    """A queue, its task code, and the rest of its :class:`~harness.server.config.QueueConfig`."""

    queue: str
    source: Source
    branch: str | None
    settings: Mapping[str, Any] = field(repr=False)


def run(place: Place, offers: Sequence[Offer]) -> int:
    """Serve until the process is interrupted. Raises :class:`~harness.failure.CommandFailed`."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="runqy-harness-")))
        redis = _reach_redis(place, folder, stack)
        snapshots: dict[str, Snapshot] = {}
        server = FakeServer(
            redis.url,
            worker_key=place.worker_key,
            client_key=place.client_key,
            # Whoever may enqueue here may also make it misbehave: it is a server for trying things out.
            admin_key=place.client_key,
            host=place.host,
            port=place.port,
            redis_url_for_workers=_for_workers(redis.url, place.redis_host_for_workers),
            before_register=partial(_renew, snapshots),
        )
        # All queues first: a worker that asks for one a moment too early would be refused for good.
        try:
            configs = [_configure(offer, place, folder, server, snapshots) for offer in offers]
        except GitFailed as exc:
            raise CommandFailed(str(exc)) from exc
        try:
            stack.enter_context(server)
        except OSError as exc:
            taken = f"--host {place.host} --port {place.port}: {exc.strerror}; --port 0 takes a free one"
            raise CommandFailed(taken) from exc
        _say(_how_to_use(server, redis, place, configs, snapshots))
        while True:
            signal.pause()


def _reach_redis(place: Place, folder: Path, stack: contextlib.ExitStack) -> RedisServer | ExternalRedis:
    if place.redis_url is None:
        try:
            return stack.enter_context(RedisServer(folder / "redis"))
        except RedisUnavailable as exc:
            raise CommandFailed(str(exc)) from exc
    given = ExternalRedis(place.redis_url)
    try:
        return wait.until(partial(stack.enter_context, given), REDIS_PATIENCE_S, "the Redis of --redis-url")
    except wait.TimedOut as exc:
        raise CommandFailed(str(exc)) from exc


def _for_workers(url: str, address: str | None) -> str:
    """``url`` with another host, and port where ``address`` has one."""
    if address is None:
        return url
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    port = "" if ":" in address else f":{parts.port or 6379}"
    return urlunsplit(parts._replace(netloc=f"{credentials}{at}{address}{port}"))


def _configure(
    offer: Offer, place: Place, folder: Path, server: FakeServer, snapshots: dict[str, Snapshot]
) -> QueueConfig:
    git_url, branch = _code(offer, place, folder, server, snapshots)
    config = QueueConfig(name=offer.queue, git_url=git_url, branch=branch, **offer.settings)
    server.configure(config)
    return config


def _code(
    offer: Offer, place: Place, folder: Path, server: FakeServer, snapshots: dict[str, Snapshot]
) -> tuple[str, str]:
    """The URL and the branch to clone."""
    repository = folder / "repositories" / f"{offer.queue}.git"
    repo: GitRepo
    match offer.source:
        case Remote(url):
            return url, offer.branch or "main"
        case Folder(path):
            snapshots[offer.queue] = Snapshot(path, repository)
            repo = snapshots[offer.queue].repo
        case Handler(name):
            # A file of ours is of no use to workers that may be on other machines.
            repo = handler_repo(name, repository, folder / "wheels" if _near(place) else None)
    return server.export(repo.folder), repo.branch


def _near(place: Place) -> bool:
    """Whether only this machine reaches us."""
    return place.host in {local.HOST, "localhost"}


def _renew(snapshots: Mapping[str, Snapshot], queue: str) -> None:
    """Tell of a worker, and give it the folder as it is now, or as it was where that is impossible."""
    snapshot = snapshots.get(queue)
    if snapshot is None:
        _say(f"a worker registers for {queue}")
        return
    try:
        news = " (new: the folder changed)" if snapshot.renew() else ""
    except GitFailed as exc:
        news = " (as it was before)"
        print(f"{queue}: the folder could not be committed: {exc}", file=sys.stderr, flush=True)
    _say(f"a worker registers for {queue}: task code at {snapshot.commit[:7]}{news}")


def _how_to_use(
    server: FakeServer,
    redis: RedisServer | ExternalRedis,
    place: Place,
    configs: Sequence[QueueConfig],
    snapshots: Mapping[str, Snapshot],
) -> str:
    names = ",".join(config.name for config in configs)
    variables = f"RUNQY_SERVER_URL={server.url} RUNQY_API_KEY={place.worker_key} RUNQY_QUEUES={names}"
    where = "" if server.url == local.url() else f" --server {server.url}"
    key = "" if place.client_key == local.KEY else f" --key {place.client_key}"
    note = "" if _near(place) or place.redis_url else " (workers on other machines need --redis-url)"
    queues = [_describe(config, snapshots.get(config.name)) for config in configs]
    return "\n".join(
        (
            "A local runqy, for development and tests:",
            "",
            f"  server  {server.url}",
            f"  redis   {redis.host}:{redis.port}{note}",
            *queues,
            "",
            "Start a worker:",
            "",
            f"  {variables} runqy-appliance",
            "",
            "Send it a task and see the result:",
            "",
            f'  runqy-harness enqueue{where}{key} --queue {configs[0].name} --wait \'{{"hello": "world"}}\'',
            "",
            "Ctrl-C ends the server.",
        )
    )


def _describe(config: QueueConfig, snapshot: Snapshot | None) -> str:
    subs = ", ".join(f"{name} (priority {priority})" for name, priority in config.priorities().items())
    commit = f", task code at {snapshot.commit[:7]}" if snapshot else ""
    vaults = sorted(name for entries in config.vaults.values() for name in entries)
    return f"  queue   {config.name}: {subs}{commit}" + (f", vault {', '.join(vaults)}" if vaults else "")


def _say(text: str) -> None:
    # At once: whoever waits for these lines may read them through a pipe.
    print(text, flush=True)
