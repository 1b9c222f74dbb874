"""Channels that ask Redis Sentinels where Redis is: whom they ask, what they make of the answers."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.config.settings import RedisSettings
from appliance.control.contract import RedisEndpoint
from appliance.errors import QueueUnavailable
from appliance.queue.connection import Channel
from appliance.queue.opening import open_channel
from harness import wait
from harness.sandbox.certificates import make_certificates
from harness.sandbox.redis import RedisServer
from harness.sandbox.sentinel import MASTER, failed_over, sentinel

PASSWORD = "password-canary-72"


def watched_by(*addresses: str, password: str = "", use_tls: bool = False) -> RedisEndpoint:
    """An endpoint whose own address is nowhere, so that only the Sentinels' answers lead to Redis."""
    settings = RedisSettings(sentinels=addresses, sentinel_master=MASTER)
    return RedisEndpoint("127.0.0.1", 1, password, 0, use_tls, settings)


def address(server: RedisServer) -> str:
    return f"{server.host}:{server.port}"


@pytest.fixture(scope="module")
def watcher(single: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Sentinel that watches the Redis of all tests."""
    with sentinel(tmp_path_factory.mktemp("sentinel"), single) as running:
        yield running


def test_redis_is_where_the_sentinel_says(single: RedisServer, watcher: RedisServer) -> None:
    with (
        closing(open_channel(watched_by(address(watcher)), "test")) as channel,
        closing(single.client()) as db,
    ):
        channel.call("SET", "by", "sentinel")

        assert db.get("by") == b"sentinel"


def test_sentinels_that_are_away_or_know_nothing_are_passed_over(
    server: RedisServer, watcher: RedisServer
) -> None:
    places = ["127.0.0.1:1", address(server), address(watcher)]

    for first in range(3):
        with closing(open_channel(watched_by(*places[first:], *places[:first]), "test")) as channel:
            assert channel.call("PING") == b"PONG"


def test_where_none_knows_what_each_said_is_told(server: RedisServer, watcher: RedisServer) -> None:
    endpoint = watched_by("127.0.0.1:1", address(server), address(watcher))
    unknown = replace(endpoint, settings=replace(endpoint.settings, sentinel_master="other"))

    with pytest.raises(QueueUnavailable) as caught:
        open_channel(unknown, "test").call("PING")

    said = str(caught.value)
    assert "no Sentinel says where Redis is" in said
    assert "127.0.0.1:1" in said.partition(":")[2]
    assert "unknown command" in said
    assert f"{address(watcher)} knows no master other" in said


def test_a_sentinel_that_names_what_no_longer_is_the_master_is_not_the_next_to_be_asked(
    tmp_path: Path, single: RedisServer, watcher: RedisServer
) -> None:
    with ExitStack() as stack:
        demoted = stack.enter_context(RedisServer(tmp_path / "demoted"))
        stale = stack.enter_context(sentinel(tmp_path / "stale", demoted, down_after_ms=60_000))
        stack.enter_context(closing(demoted.client())).replicaof("127.0.0.1", 1)
        # The second is the first to be asked.
        channel = stack.enter_context(
            closing(open_channel(watched_by(address(watcher), address(stale)), "test"))
        )
        with pytest.raises(QueueUnavailable, match="read only replica"):
            channel.call("SET", "a", "b")

        assert channel.call("SET", "a", "b") == b"OK"


def test_after_a_failover_the_new_master_is_found(tmp_path: Path) -> None:
    with ExitStack() as stack:
        old, new = (stack.enter_context(RedisServer(tmp_path / name)) for name in ("old", "new"))
        watching = stack.enter_context(sentinel(tmp_path / "sentinel", old, replica=new))
        channel = stack.enter_context(closing(open_channel(watched_by(address(watching)), "test")))
        assert channel.call("SET", "on", "old") == b"OK"

        old.kill()
        failed_over(watching, new)

        assert wait.until(lambda: _answers(channel), 60, "the channel to find it") == b"OK"
        with closing(new.client()) as db:
            assert db.get("on") == b"new"


def test_a_sentinel_that_wants_a_password_gets_that_of_redis(tmp_path: Path) -> None:
    with ExitStack() as stack:
        guarded = stack.enter_context(RedisServer(tmp_path / "redis", password=PASSWORD))
        watching = stack.enter_context(sentinel(tmp_path / "sentinel", guarded, password=PASSWORD))
        endpoint = watched_by(address(watching), password=PASSWORD)

        with closing(open_channel(endpoint, "test")) as channel:
            assert channel.call("PING") == b"PONG"
        for other in ("wrong-canary-73", ""):
            with pytest.raises(QueueUnavailable, match="does not let user default") as caught:
                open_channel(replace(endpoint, password=other), "test").call("PING")
            assert "canary" not in str(caught.value)


def test_a_sentinel_with_a_user_and_a_password_of_its_own_gets_these(tmp_path: Path) -> None:
    with ExitStack() as stack:
        guarded = stack.enter_context(RedisServer(tmp_path / "redis", password=PASSWORD))
        watching = stack.enter_context(sentinel(tmp_path / "sentinel", guarded, password=PASSWORD))
        with closing(watching.client()) as client:
            client.execute_command("ACL", "SETUSER", "scout", "on", ">own-canary-74", "+@all")
            client.execute_command("ACL", "SETUSER", "default", "off")
        endpoint = watched_by(address(watching), password=PASSWORD)

        def reach(user: str | None, password: str | None) -> object:
            own = replace(endpoint.settings, sentinel_username=user, sentinel_password=password)
            with closing(open_channel(replace(endpoint, settings=own), "test")) as channel:
                return channel.call("PING")

        assert reach("scout", "own-canary-74") == b"PONG"
        with pytest.raises(QueueUnavailable, match=r"user scout \(RUNQY_REDIS_SENTINEL_USERNAME\)") as caught:
            reach("scout", "wrong-canary-73")
        assert f"the Sentinel {address(watching)} does not let" in str(caught.value)
        assert "canary" not in str(caught.value)
        # The password of Redis is none of theirs to see, where they have one of their own.
        with pytest.raises(QueueUnavailable, match="user default"):
            reach(None, "own-canary-74")


def test_sentinels_of_a_redis_with_tls_are_asked_over_tls(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "certificates")
    with ExitStack() as stack:
        secure = stack.enter_context(RedisServer(tmp_path / "redis", tls=certificates))
        watching = stack.enter_context(sentinel(tmp_path / "sentinel", secure, tls=certificates))
        endpoint = watched_by(address(watching), use_tls=True)
        files = {"ca_file": certificates.ca, "cert_file": certificates.cert, "key_file": certificates.key}

        with closing(
            open_channel(replace(endpoint, settings=replace(endpoint.settings, **files)), "test")
        ) as channel:
            assert channel.call("PING") == b"PONG"


def _answers(channel: Channel) -> object:
    try:
        return channel.call("SET", "on", "new")
    except QueueUnavailable:
        return None
