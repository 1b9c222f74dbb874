"""What a server sends without end neither holds up the worker nor is read to the end."""

import gevent
import httpx
import pytest

from appliance.clock import TURN_S
from appliance.control.fairness import TooMuch, _Backend, _Stream, bound


class Endless:
    """A connection that never makes its reader wait."""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return b"x" * max_bytes

    def start_tls(self, context: object) -> "Endless":
        return self


@pytest.mark.parametrize("proxy", [None, "http://127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_every_connection_of_a_client_is_bound(proxy: str | None) -> None:
    try:
        client = httpx.Client(trust_env=False, proxy=proxy)
    except ImportError:
        pytest.skip("httpx has no SOCKS here")
    with client:
        bound(client, 10)

        pools = [client._transport._pool, *(each._pool for each in client._mounts.values() if each)]  # type: ignore[attr-defined]
        assert all(isinstance(pool._network_backend, _Backend) for pool in pools)
        assert len(pools) == (2 if proxy else 1)


def test_others_get_their_turn_and_what_is_read_has_a_bound() -> None:
    turns = 0

    def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            # A timer: those are what a greenlet that only gives way can hold up.
            gevent.sleep(TURN_S)

    running = gevent.spawn(other)
    gevent.sleep(0)
    stream = _Stream(Endless(), 1_000).start_tls(None)
    try:
        assert sum(len(stream.read(10)) for _ in range(100)) == 1_000
        with pytest.raises(TooMuch):
            stream.read(10)
    finally:
        running.kill()

    assert turns >= 20
