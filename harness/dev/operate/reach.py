"""Reaches the Redis of a runqy: by its URL, by asking the local server, or by registering as a worker does.

Registering changes nothing on the server: it answers with all that a worker needs, Redis included.
"""

import contextlib
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from harness.failure import CommandFailed
from harness.http_client import http_client

#: Seconds to connect, and to get an answer.
CONNECT_S, ANSWER_S = 5.0, 30.0
#: Where the local server says where its Redis is.
LOCAL_PATH = "/_harness/redis"


@dataclass(frozen=True)
class Where:
    """What was said of where Redis is; ``parent`` is a parent queue that ``worker_key`` may register for."""

    redis_url: str | None = field(repr=False)
    server: str
    key: str = field(repr=False)
    worker_key: str | None = field(repr=False)
    parent: str | None


@contextlib.contextmanager
def connected(where: Where) -> Iterator[Any]:
    """A client of that Redis, or of the cluster it is a node of; it answers in bytes.

    What Redis has to say against it, now or while it is used, is a
    :class:`~harness.failure.CommandFailed`, without a password.
    """
    url = where.redis_url or _ask(where)
    address = urlsplit(url).netloc.rpartition("@")[2] or "Redis"
    try:
        client = _client(url)
    # redis-py takes options out of the URL as they are: one that it does not know is a TypeError.
    except (redis.RedisError, ValueError, TypeError, OSError) as exc:
        raise CommandFailed(f"{address}: {_words(exc)}") from exc
    try:
        yield client
    except redis.RedisError as exc:
        raise CommandFailed(f"{address}: {_words(exc)}") from exc
    finally:
        client.close()


def _client(url: str) -> Any:
    options: dict[str, Any] = {"socket_connect_timeout": CONNECT_S, "socket_timeout": ANSWER_S}
    client: Any = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options)
    # A Redis that tells no facts to this user is taken for a single one.
    with contextlib.suppress(redis.ResponseError):
        if client.info("cluster").get("cluster_enabled"):
            client.close()
            client = redis.RedisCluster.from_url(url, **options)
    client.ping()
    return client


def _ask(where: Where) -> str:
    headers = {"Authorization": f"Bearer {where.key}"}
    with http_client(where.server, headers=headers, timeout=10) as client:
        answer = _call(client, "GET", LOCAL_PATH)
        if url := _url_in(answer):
            return url
        # Another server may have a page for every path.
        if answer.status_code not in {httpx.codes.OK, httpx.codes.NOT_FOUND}:
            raise CommandFailed(f"{where.server} answered {answer.status_code}: {answer.text[:500]}")
        if where.worker_key is None or where.parent is None:
            raise CommandFailed(
                f"{where.server} was not started by `serve`, and does not say where its Redis is: expected "
                "--redis-url URL, or --worker-key KEY with --parent NAME"
            )
        return _register(client, where)


def _url_in(answer: httpx.Response) -> str:
    """What the local server says; empty where another one answered."""
    try:
        return str(answer.json()["url"]) if answer.status_code == httpx.codes.OK else ""
    except (ValueError, KeyError, TypeError):
        return ""


def _register(client: httpx.Client, where: Where) -> str:
    body = {
        "queue": where.parent,
        "hostname": platform.node(),
        "os": platform.system().lower(),
        "version": "",
    }
    headers = {"Authorization": f"Bearer {where.worker_key}"}
    answer = _call(client, "POST", "/worker/register", json=body, headers=headers)
    if answer.status_code != httpx.codes.OK:
        raise CommandFailed(f"{where.server} answered {answer.status_code}: {answer.text[:500]}")
    try:
        found = answer.json()["redis"]
        scheme = "rediss" if found.get("use_tls") else "redis"
        password = f":{quote(found['password'], safe='')}@" if found.get("password") else ""
        return f"{scheme}://{password}{found['addr']}/{int(found.get('db') or 0)}"
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise CommandFailed(f"{where.server} registered no Redis: expected redis.addr in its answer") from exc


def _call(client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    try:
        return client.request(method, path, **options)
    except httpx.HTTPError as exc:
        raise CommandFailed(f"{client.base_url}: {exc or type(exc).__name__}") from exc


def _words(exc: Exception) -> str:
    return str(exc) or type(exc).__name__
