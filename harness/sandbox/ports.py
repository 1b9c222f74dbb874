"""TCP ports for servers of a run that must find theirs again after a restart."""

import random
import socket

HOST = "127.0.0.1"
#: Below the range outgoing connections get their ports from (32768 and up on Linux), so that none
#: of them takes ours between a stop and a restart.
PORTS = range(20_000, 32_000)


def free_port(host: str = HOST) -> int:
    """A port that is free at this moment."""
    with listen(host) as probe:
        port: int = probe.getsockname()[1]
    return port


def listen(host: str = HOST, port: int | None = None) -> socket.socket:
    """A listening socket; ``port`` None is a free one. Raises OSError where a given one is taken."""
    while True:
        chosen = random.choice(PORTS) if port is None else port
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, chosen))
            listener.listen(256)
        except OSError:
            listener.close()
            if port is not None:
                raise
            continue  # taken: try another
        listener.setblocking(False)
        return listener
