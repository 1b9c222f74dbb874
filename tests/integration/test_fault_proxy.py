"""Each network fault against a plain echo server: what it does to connections, measured, and that it ends."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import redis

from harness import wait
from harness.faults.bandwidth import Bandwidth
from harness.faults.cut_after import CutAfter
from harness.faults.half_open import HalfOpen
from harness.faults.jitter import Jitter
from harness.faults.latency import Latency
from harness.faults.link import Direction
from harness.faults.lose_reply import LoseReply
from harness.faults.proxy import FaultProxy
from harness.faults.refuse import Refuse
from harness.faults.reset import ResetConnections
from harness.faults.stall import Stall
from harness.sandbox.redis import RedisServer

REQUEST, REPLY = frozenset({Direction.REQUEST}), frozenset({Direction.REPLY})


class Echo(socketserver.ThreadingTCPServer):
    """Says what it hears, and remembers it."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        self.heard = b""
        super().__init__(("127.0.0.1", 0), _Answer)


class _Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        try:
            while data := self.request.recv(65_536):
                self.server.heard += data  # type: ignore[attr-defined]
                self.request.sendall(data)
        except OSError:
            return


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with FaultProxy(("127.0.0.1", echo.server_address[1]), seed=7) as running:
        yield running


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), 5)


def receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            break
        data += part
    return data


def ask(connection: socket.socket, data: bytes = b"ping") -> float:
    """Send and read it back; returns the seconds that took."""
    begun_s = time.monotonic()
    connection.sendall(data)
    assert receive(connection, len(data)) == data
    return time.monotonic() - begun_s


def test_without_a_fault_bytes_pass_unchanged_and_so_does_the_end_of_the_stream(proxy: FaultProxy) -> None:
    big = bytes(range(256)) * 20_000
    with connect(proxy) as connection:
        sender = threading.Thread(target=connection.sendall, args=(big,))
        sender.start()
        assert receive(connection, len(big)) == big
        sender.join()
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    wait.until(lambda: proxy.connections == 0, 60, "the connection to be forgotten")


@pytest.mark.parametrize(("directions", "times"), [(REQUEST, 1), (REPLY, 1), (REQUEST | REPLY, 2)])
def test_latency_is_added_in_its_directions_and_ends_with_the_fault(
    proxy: FaultProxy, directions: frozenset[Direction], times: int
) -> None:
    with connect(proxy) as connection:
        ask(connection)
        with proxy.holding(Latency(0.5, directions)):

            def as_much() -> bool:
                took_s = ask(connection)
                assert took_s >= 0.5 * times
                # Once more would be another direction. What a busy machine adds, it does not add always.
                return took_s < 0.5 * (times + 1)

            wait.until(as_much, 60, f"{times} × the latency", fatal=(AssertionError,))
        wait.until(lambda: ask(connection) < 0.5, 60, "no latency")


def test_latency_delays_a_stream_as_a_whole_and_does_not_thin_it(proxy: FaultProxy) -> None:
    with connect(proxy) as connection, proxy.holding(Latency(1.0, REPLY)):
        begun_s = time.monotonic()
        for _ in range(20):
            connection.sendall(b"x" * 1_000)
            time.sleep(0.005)
        receive(connection, 20_000)
        # One chunk after the other, each with its own latency, would take 20 s.
        assert 1.0 <= time.monotonic() - begun_s < 15


def test_jitter_differs_from_chunk_to_chunk_keeps_the_order_and_is_the_same_for_the_same_seed(
    echo: Echo, proxy: FaultProxy
) -> None:
    def trips(through: FaultProxy) -> list[float]:
        with connect(through) as connection:
            return [ask(connection, f"{n:04}".encode()) for n in range(8)]

    most_s = 0.3
    proxy.set(Jitter(most_s))
    first = trips(proxy)
    with FaultProxy(("127.0.0.1", echo.server_address[1]), seed=7) as again:
        again.set(Jitter(most_s))
        second = trips(again)

    assert max(first) - min(first) > most_s / 4
    # Both directions have it. Two trips of a seed differ by what the machine takes, not by chance.
    assert max(first) < 2 * most_s + 0.5
    assert second == pytest.approx(first, abs=most_s / 2)


def test_bandwidth_lets_so_many_bytes_a_second_pass(proxy: FaultProxy) -> None:
    with connect(proxy) as connection, proxy.holding(Bandwidth(100_000, REPLY)):
        # Both directions would take 2 s.
        assert 0.95 <= ask(connection, b"x" * 100_000) < 1.9


def test_a_reset_ends_idle_connections_at_once_and_new_ones_while_it_lasts(proxy: FaultProxy) -> None:
    with connect(proxy) as idle:
        ask(idle)
        proxy.set(ResetConnections())
        with pytest.raises(ConnectionResetError):
            idle.recv(1)
    with connect(proxy) as another, pytest.raises(ConnectionError):
        another.recv(1)
    proxy.clear()
    with connect(proxy) as healthy:
        ask(healthy)


def test_refused_connections_are_refused_and_open_ones_go_on(proxy: FaultProxy) -> None:
    with connect(proxy) as before:
        ask(before)
        with proxy.holding(Refuse()):
            with pytest.raises(ConnectionRefusedError):
                connect(proxy)
            ask(before)
        with connect(proxy) as after:
            ask(after)


def test_a_half_open_connection_swallows_and_stays_silent_when_the_fault_is_over(
    echo: Echo, proxy: FaultProxy
) -> None:
    with connect(proxy) as connection:
        ask(connection, b"before")
        with proxy.holding(HalfOpen()):
            connection.sendall(b"lost")
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                connection.recv(1)
        connection.sendall(b"lost too")
        with pytest.raises(TimeoutError):
            connection.recv(1)
        with connect(proxy) as another:
            ask(another, b"after")
    assert echo.heard == b"beforeafter"


@pytest.mark.parametrize(("directions", "heard"), [(REQUEST | REPLY, b""), (REPLY, b"late")])
def test_what_a_stall_holds_back_arrives_when_it_is_over(
    echo: Echo, proxy: FaultProxy, directions: frozenset[Direction], heard: bytes
) -> None:
    with connect(proxy) as connection:
        with proxy.holding(Stall(directions)):
            connection.sendall(b"late")
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                connection.recv(4)
            assert echo.heard == heard
        assert receive(connection, 4) == b"late"
    assert echo.heard == b"late"


def test_a_connection_is_cut_after_so_many_bytes(echo: Echo, proxy: FaultProxy) -> None:
    with connect(proxy) as connection, proxy.holding(CutAfter(10, REQUEST)):
        connection.sendall(b"0123456789abcdef")
        with pytest.raises(ConnectionResetError):
            receive(connection, 16)
    wait.until(lambda: echo.heard == b"0123456789", 60, "what came before the cut", lambda: str(echo.heard))


def test_a_lost_reply_means_the_request_was_carried_out_and_the_connection_is_gone(tmp_path) -> None:
    with (
        RedisServer(tmp_path) as server,
        FaultProxy(("127.0.0.1", server.port)) as proxy,
        closing(server.client()) as direct,
        closing(redis.Redis(port=proxy.port, retry=None)) as client,
    ):
        client.ping()
        with proxy.holding(LoseReply(match=b"INCR")):
            assert client.ping()
            with pytest.raises(redis.ConnectionError):
                client.incr("count")
            assert direct.get("count") == b"1"
        assert client.incr("count") == 2


def test_faults_act_one_after_the_other(proxy: FaultProxy) -> None:
    with connect(proxy) as connection, proxy.holding(Latency(0.1, REPLY), CutAfter(4, REPLY)):
        assert ask(connection, b"1234") >= 0.1
        connection.sendall(b"5")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_server_that_is_gone_means_a_reset_and_a_stop_ends_everything(echo: Echo) -> None:
    with FaultProxy(("127.0.0.1", echo.server_address[1])) as proxy:
        held = connect(proxy)
        ask(held)
        proxy.set(Stall(), Latency(60))
        held.sendall(b"never")
        begun_s = time.monotonic()
    assert time.monotonic() - begun_s < 30
    assert held.recv(1) == b""
    held.close()
    echo.shutdown()
    echo.server_close()
    with (
        FaultProxy(("127.0.0.1", echo.server_address[1])) as proxy,
        connect(proxy) as refused,
        pytest.raises(ConnectionResetError),
    ):
        refused.recv(1)
