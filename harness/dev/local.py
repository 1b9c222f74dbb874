"""How a local runqy is reached unless told otherwise: what ``serve`` offers and ``enqueue`` uses."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"
PORT = 8081
#: One key for workers and clients: it protects nothing on a developer's machine.
KEY = "dev-key"
#: The queue's name where there is one queue and no name was given.
QUEUE = "inference"


def go_round_proxies(*hosts: str) -> None:
    """Have us and all we start reach this machine and ``hosts`` directly, whatever proxy is set."""
    for name in ("no_proxy", "NO_PROXY"):
        others = os.environ.get(name, "")
        os.environ[name] = ",".join(dict.fromkeys(filter(None, (others, "127.0.0.1", "localhost", *hosts))))


@contextmanager
def past_proxies() -> Iterator[None]:
    """Inside, as :func:`go_round_proxies`; afterwards the variables are what they were."""
    names = ("no_proxy", "NO_PROXY")
    before = {name: os.environ.get(name) for name in names}
    go_round_proxies()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def url(host: str = HOST, port: int = PORT) -> str:
    """The server's URL."""
    return f"http://{host}:{port}"
