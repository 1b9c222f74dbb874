"""How a local runqy is reached unless told otherwise: what ``serve`` offers and ``enqueue`` uses."""

import os

HOST = "127.0.0.1"
PORT = 8081
#: One key for workers and clients, in nobody's way on a machine of one's own.
KEY = "dev-key"
#: The queue's name where there is one queue and nobody named it.
QUEUE = "inference"


def go_round_proxies(*hosts: str) -> None:
    """Have us and all we start reach this machine and ``hosts`` directly, whatever proxy is set."""
    for name in ("no_proxy", "NO_PROXY"):
        others = os.environ.get(name, "")
        os.environ[name] = ",".join(dict.fromkeys(filter(None, (others, "127.0.0.1", "localhost", *hosts))))


def url(host: str = HOST, port: int = PORT) -> str:
    """The server's URL."""
    return f"http://{host}:{port}"
