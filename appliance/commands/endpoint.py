"""The HTTP endpoint of a worker on this machine, for the commands that ask it: where it is, and one GET.

Orchestrators run these every few seconds, so this imports next to nothing and speaks HTTP by hand.
"""

import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from appliance.commands.options import Options
from appliance.config.kinds.base import quoted
from appliance.config.kinds.places import ListenAddress
from appliance.errors import ConfigurationError
from appliance.shape import Shape, misfit

#: Seconds for the whole answer; a worker whose event loop is blocked gives none.
ANSWER_S = 3.0
#: More than any worker has to say.
LARGEST_ANSWER_BYTES = 16 * 1024 * 1024
#: Listening there means everywhere, and a connection goes to one's own machine.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  looked up, not listened on


class NoAnswer(Exception):
    """Nothing listens there, or what answers is not a worker; the text says which."""


def ask(addr: str, path: str, shape: Shape) -> tuple[int, dict[str, Any]]:
    """GET ``path`` from the worker that listens on ``addr`` (``host:port``): the status and the JSON object.

    Raises :class:`NoAnswer`, also where the answer has another ``shape``: any program may listen there.
    """
    host, _, port = addr.rpartition(":")
    host = host.strip("[]")
    host = _EVERYWHERE.get(host, host)
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\r\n"
    end_s = time.monotonic() + ANSWER_S
    received = bytearray()
    try:
        with socket.create_connection((host, int(port)), ANSWER_S) as connection:
            connection.sendall(request.encode())
            # The bounds are for programs that are no workers, and never come to an end.
            while len(received) < LARGEST_ANSWER_BYTES:
                connection.settimeout(max(end_s - time.monotonic(), 0.001))
                chunk = connection.recv(65_536)
                if not chunk:
                    break
                received += chunk
    except TimeoutError:
        raise NoAnswer(f"no answer from {host}:{port} within {ANSWER_S:g} s") from None
    except OSError as exc:
        raise NoAnswer(f"nothing answers at {host}:{port}: {exc.strerror or exc}") from exc
    head, _, body = received.partition(b"\r\n\r\n")
    try:
        status, answer = int(head.split(b" ", 2)[1]), json.loads(body)
    except (IndexError, ValueError, RecursionError):
        raise NoAnswer(f"what answers at {host}:{port} is not a worker") from None
    if problem := misfit(answer, shape, "its answer"):
        raise NoAnswer(f"what answers at {host}:{port} is not a worker of this version: {problem}")
    return status, answer


def address(options: Options, environ: Mapping[str, str], cwd: Path) -> str:
    """Where the worker serves, from the one setting that says so: a probe must be fast.

    Raises :class:`~appliance.errors.ConfigurationError` where it is not set, or not valid.
    """
    kind, raw, named = ListenAddress(), environ.get("RUNQY_HTTP_ADDR", ""), ""
    if raw:
        named = f"RUNQY_HTTP_ADDR={quoted(raw)}"
    elif options.config_file or (cwd / "config.yml").exists():
        from appliance.config.sources import from_file  # noqa: PLC0415  it imports YAML

        findings = from_file(options.config_file, cwd, environ)
        if not findings.complete:
            raise ConfigurationError(tuple(findings.problems))
        if found := findings.found.get("http.addr"):
            raw, named = str(found.raw), found.named
    if not raw:
        raise ConfigurationError(("RUNQY_HTTP_ADDR: is not set: the worker serves nothing to ask",))
    try:
        return kind.parse(raw)
    except ValueError as exc:
        why = f" ({exc})" if str(exc) else ""
        raise ConfigurationError((f"{named}: must be {kind.allowed}{why}",)) from exc
