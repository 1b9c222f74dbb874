"""``runqy-harness serve``: a local runqy for the task code at hand, until it is ended."""

import contextlib
import errno
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from harness import wait
from harness.dev import local
from harness.failure import CommandFailed
from harness.sandbox.redis import ExternalRedis, RedisServer, RedisUnavailable
from harness.sandbox.repo import GitFailed, GitRepo
from harness.sandbox.source import Folder, Handler, Remote, Snapshot, Source, handler_repo
from harness.server.behaviour import Behaviour
from harness.server.config import QueueConfig
from harness.server.fake import FakeServer
from harness.server.keys import Keys

#: Seconds a Redis that was named may take to answer: it may be starting beside us.
REDIS_PATIENCE_S = 20.0
#: Seconds between two looks whether a signal has come.
_LOOK_S = 0.5


@dataclass(frozen=True)
class Place:
    """Where the server and Redis are, and the keys. ``redis_url`` None is a Redis of our own."""

    host: str
    port: int
    redis_url: str | None
    redis_host_for_workers: str | None
    worker_key: str = field(repr=False)
    client_key: str = field(repr=False)
    behaviour: Behaviour


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
        redis = reach_redis(place.redis_url, folder, stack)
        snapshots: dict[str, Snapshot] = {}
        server = FakeServer(
            redis.url,
            # A client that may enqueue here may also make it misbehave: it is a server for trying things out.
            keys=Keys(
                worker=place.worker_key,
                client=place.client_key,
                admin=place.client_key,
                # A key that everybody knows need not be typed.
                page="" if place.client_key == local.KEY else place.client_key,
            ),
            behaviour=replace(place.behaviour, before_register=partial(_renew, snapshots)),
            host=place.host,
            port=place.port,
            redis_url_for_workers=_for_workers(redis.url, place.redis_host_for_workers),
        )
        # All queues first: a worker that asks for one a moment too early would be refused for good.
        try:
            configs = [_configure(offer, folder, server, snapshots) for offer in offers]
        except GitFailed as exc:
            raise CommandFailed(str(exc)) from exc
        listen(server, place.host, place.port, stack)
        _say(_how_to_use(server, redis, place, configs, snapshots))
        while True:
            # Not signal.pause: a signal that comes just before it is acted on after the next one.
            time.sleep(_LOOK_S)


def reach_redis(url: str | None, folder: Path, stack: contextlib.ExitStack) -> RedisServer | ExternalRedis:
    """The Redis at ``url``, None is one of our own; raises :class:`~harness.failure.CommandFailed`."""
    if url is None:
        try:
            return stack.enter_context(RedisServer(folder / "redis"))
        except RedisUnavailable as exc:
            raise CommandFailed(str(exc)) from exc
    given = ExternalRedis(url)
    try:
        return wait.until(partial(stack.enter_context, given), REDIS_PATIENCE_S, "the Redis of --redis-url")
    except wait.TimedOut as exc:
        raise CommandFailed(str(exc)) from exc


def listen(server: FakeServer, host: str, port: int, stack: contextlib.ExitStack) -> None:
    """Start ``server``, made for ``host`` and ``port``; raises :class:`~harness.failure.CommandFailed`."""
    try:
        stack.enter_context(server)
    except OSError as exc:
        advice = "; --port 0 takes a free one" if exc.errno == errno.EADDRINUSE else ""
        raise CommandFailed(f"--host {host} --port {port}: {exc.strerror}{advice}") from exc


def _for_workers(url: str, address: str | None) -> str:
    """``url`` with another host, and port where ``address`` has one."""
    if address is None:
        return url
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    port = "" if ":" in address else f":{parts.port or 6379}"
    return urlunsplit(parts._replace(netloc=f"{credentials}{at}{address}{port}"))


def _configure(offer: Offer, folder: Path, server: FakeServer, snapshots: dict[str, Snapshot]) -> QueueConfig:
    git_url, branch = _code(offer, folder, server, snapshots)
    config = QueueConfig(name=offer.queue, git_url=git_url, branch=branch, **offer.settings)
    server.configure(config)
    return config


def _code(offer: Offer, folder: Path, server: FakeServer, snapshots: dict[str, Snapshot]) -> tuple[str, str]:
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
            repo = handler_repo(name, repository)
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
    settings = {
        "RUNQY_SERVER_URL": server.url,
        "RUNQY_API_KEY": place.worker_key,
        "RUNQY_QUEUES": names,
        **_past_proxies(place.host),
    }
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
    worker, harness = (program(name) for name in ("runqy-appliance", "runqy-harness"))
    # Tasks are sent to one of its sub-queues: a queue that names some has no default one.
    first = next(iter(configs[0].priorities()))
    where = "" if server.url == local.url() else f" --server {server.url}"
    key = "" if place.client_key == local.KEY else f" --key {shlex.quote(place.client_key)}"
    note = "" if _near(place) or place.redis_url else " (workers on other machines need --redis-url)"
    asks = "" if place.client_key == local.KEY else " (the client key is the password)"
    queues = [_describe(config, snapshots.get(config.name)) for config in configs]
    return "\n".join(
        (
            "A local runqy, for development and tests:",
            "",
            f"  server  {server.url}",
            *([f"  page    {server.url}/{asks}"] if _near(place) else []),
            f"  redis   {redis.host}:{redis.port}{note}",
            *queues,
            "",
            "Start a worker:",
            "",
            f"  {variables} {worker}",
            "",
            "Send it a task and see the result:",
            "",
            f'  {harness} enqueue{where}{key} --queue {first} --wait \'{{"hello": "world"}}\'',
            "",
            "Ctrl-C ends the server.",
        )
    )


def _past_proxies(host: str) -> dict[str, str]:
    """The variable by which a worker on this machine, and its git, reach us where a proxy is set."""
    if not any(name.lower() in {"http_proxy", "all_proxy"} and value for name, value in os.environ.items()):
        return {}
    # Where both are set, the lower-case one wins.
    name = "no_proxy" if os.environ.get("no_proxy") else "NO_PROXY"
    return {name: ",".join(dict.fromkeys(filter(None, (os.environ.get(name), local.HOST, host))))}


def program(name: str) -> str:
    """How it is called here: by its name where that is on PATH, else as the one beside us."""
    beside = Path(sys.executable).with_name(name)
    return name if shutil.which(name) or not beside.exists() else shlex.quote(str(beside))


def _describe(config: QueueConfig, snapshot: Snapshot | None) -> str:
    subs = ", ".join(f"{name} (priority {priority})" for name, priority in config.priorities().items())
    commit = f", task code at {snapshot.commit[:7]}" if snapshot else ""
    vaults = sorted(name for entries in config.vaults.values() for name in entries)
    return f"  queue   {config.name}: {subs}{commit}" + (f", vault {', '.join(vaults)}" if vaults else "")


def _say(text: str) -> None:
    # At once: these lines may be awaited through a pipe.
    print(text, flush=True)
