"""How a local runqy is reached unless told otherwise: what ``serve`` offers and ``enqueue`` uses."""

HOST = "127.0.0.1"
PORT = 8081
#: One key for workers and clients, in nobody's way on a machine of one's own.
KEY = "dev-key"
#: The queue's name where there is one queue and nobody named it.
QUEUE = "inference"


def url(host: str = HOST, port: int = PORT) -> str:
    """The server's URL."""
    return f"http://{host}:{port}"
