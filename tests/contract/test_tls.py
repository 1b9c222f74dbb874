"""Channels to a Redis with TLS: what is verified, what is shown, and what is said where either fails."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import gevent
import gevent.socket
import pytest
from gevent import monkey

from appliance.config.settings import RedisSettings
from appliance.control.contract import RedisEndpoint
from appliance.errors import QueueUnavailable
from appliance.event import Event
from appliance.queue import connection, subscription
from appliance.queue.connection import Channel
from appliance.queue.place import RedisPlace
from appliance.queue.subscription import Subscription
from harness.sandbox.certificates import Certificates, make_certificates
from harness.sandbox.redis import RedisServer
from tests.contract.conftest import endpoint_of

#: Has no greenlet go on meanwhile.
_SELECT = monkey.get_original("select", "select")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """What somebody else's CA signed for the same address."""
    return make_certificates(tmp_path_factory.mktemp("strangers"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), tls=certificates) as running:
        yield running


def reached(server: RedisServer, files: Certificates) -> RedisEndpoint:
    settings = RedisSettings(ca_file=files.ca, cert_file=files.cert, key_file=files.key)
    return replace(endpoint_of(server), use_tls=True, settings=settings)


def refusal(endpoint: RedisEndpoint) -> str:
    with pytest.raises(QueueUnavailable) as caught:
        Channel(endpoint, "test").call("PING")
    return str(caught.value)


def test_a_batch_larger_than_any_buffer_goes_both_ways(
    secure: RedisServer, certificates: Certificates
) -> None:
    value = b"x" * 3_000_000
    with closing(Channel(reached(secure, certificates), "test")) as channel:
        replies = channel.batch([("SET", "big", value), ("GET", "big"), ("DEL", "big")])

    assert replies == [b"OK", value, 1]


def test_a_certificate_for_another_host_is_not_trusted(
    secure: RedisServer, certificates: Certificates
) -> None:
    reason = refusal(replace(reached(secure, certificates), host="localhost"))

    assert "Hostname mismatch, certificate is not valid for 'localhost'" in reason


def test_a_ca_file_is_trusted_instead_of_the_systems_cas_not_beside_them(
    secure: RedisServer, certificates: Certificates, strangers: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))
    endpoint = reached(secure, certificates)
    of_system = replace(endpoint, settings=replace(endpoint.settings, ca_file=None))

    with closing(Channel(of_system, "test")) as channel:
        assert channel.call("PING") == b"PONG"
    other = replace(endpoint, settings=replace(endpoint.settings, ca_file=strangers.ca))
    assert "certificate is not trusted" in refusal(other)


@pytest.mark.parametrize("attempt", range(5))
def test_a_redis_that_wants_a_certificate_and_gets_none_is_said_to(
    secure: RedisServer, certificates: Certificates, attempt: int
) -> None:
    endpoint = reached(secure, certificates)

    reason = refusal(replace(endpoint, settings=RedisSettings(ca_file=certificates.ca)))

    assert "us without a certificate (RUNQY_REDIS_CERT_FILE is not set)" in reason


def test_a_redis_that_gets_a_certificate_of_another_ca_is_said_to_refuse_it(
    secure: RedisServer, certificates: Certificates, strangers: Certificates
) -> None:
    endpoint = reached(secure, strangers)

    reason = refusal(replace(endpoint, settings=replace(endpoint.settings, ca_file=certificates.ca)))

    assert f"the certificate in RUNQY_REDIS_CERT_FILE ({strangers.cert})" in reason


def test_a_redis_without_tls_is_told_from_one_that_is_away(
    server: RedisServer, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_S", 0.5)
    endpoint = reached(server, certificates)

    assert "TLS, which the server says it has, does not come about: The handshake" in refusal(endpoint)
    assert "refused" in refusal(replace(endpoint, port=1))


def test_renewed_certificates_count_from_the_next_connection_on(
    secure: RedisServer, certificates: Certificates, strangers: Certificates, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(strangers.ca.read_bytes())
    endpoint = reached(secure, certificates)
    channel = Channel(replace(endpoint, settings=replace(endpoint.settings, ca_file=ca)), "test")
    with pytest.raises(QueueUnavailable):
        channel.call("PING")

    ca.write_bytes(certificates.ca.read_bytes())

    with closing(channel):
        assert channel.call("PING") == b"PONG"


def test_a_quiet_subscription_stays_and_hears_what_comes(
    secure: RedisServer, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "QUIET_S", 0.1)
    listener = Subscription(RedisPlace(reached(secure, certificates)), "topic", "test")
    with closing(listener), closing(secure.client()) as db:
        heard = [listener.next() for _ in range(4)]
        assert heard == [None] * 4

        db.publish("topic", "task")

        assert "task" in [listener.next() for _ in range(3)]


@pytest.mark.parametrize("tls", [True, False])
def test_a_reply_that_comes_just_as_another_closes_the_connection_is_a_loss(
    secure: RedisServer, single: RedisServer, certificates: Certificates, tls: bool
) -> None:
    server, endpoint = (secure, reached(secure, certificates)) if tls else (single, endpoint_of(single))
    # The loop asks those that are ready together in an order of its own: one of two comes before the reply.
    before, after = os.pipe(), os.pipe()
    with closing(Channel(endpoint, "test")) as channel:
        channel.call("PING")
        closers = [gevent.spawn(_close_when_ready, reader, channel) for reader, _ in (before, after)]
        with _standing_still(server):
            waiting = gevent.spawn(channel.call, "PING")
            gevent.idle()
            os.write(before[1], b"x")
        replied, _, _ = _SELECT([channel._connection._sock.fileno()], [], [], 30)
        os.write(after[1], b"x")
        gevent.joinall([waiting, *closers], timeout=30)

        assert replied
        with pytest.raises(QueueUnavailable):
            waiting.get(block=False)
        assert channel.call("PING") == b"PONG"
    for end in (*before, *after):
        os.close(end)


@pytest.mark.parametrize("tls", [True, False])
def test_nothing_goes_out_on_a_connection_that_is_closed_while_it_is_made(
    secure: RedisServer, single: RedisServer, certificates: Certificates, tls: bool
) -> None:
    server, endpoint = (secure, reached(secure, certificates)) if tls else (single, endpoint_of(single))
    known = Event()

    def locate() -> tuple[str, int]:
        known.wait()
        return endpoint.host, endpoint.port

    with closing(server.client()) as db, closing(Channel(endpoint, "test", locate=locate)) as channel:
        waiting = gevent.spawn(channel.call, "SET", "late", "1")
        gevent.idle()

        channel.close()
        known.set()

        with pytest.raises(QueueUnavailable):
            waiting.get(timeout=30)
        assert channel.call("PING") == b"PONG"
        assert db.get("late") is None


@contextmanager
def _standing_still(server: RedisServer) -> Iterator[None]:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def _close_when_ready(reader: int, channel: Channel) -> None:
    # libev may say so for nothing (its manual: spurious readiness notifications).
    while not _SELECT([reader], [], [], 0)[0]:
        gevent.socket.wait_read(reader)
    channel.close()
