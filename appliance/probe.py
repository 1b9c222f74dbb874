"""``runqy-appliance health`` and ``status``: ask the worker beside them how it is, over its HTTP face.

Orchestrators start this every few seconds, so it imports next to nothing and speaks HTTP by hand.
"""

import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any

#: Seconds for the whole answer; a worker whose event loop is blocked gives none.
ANSWER_S = 3.0
#: Listening there means everywhere, and a connection goes to one's own machine.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  looked up, not listened on


class NoAnswer(Exception):
    """Nobody listens there, or what answers is no worker; the text says which."""


def ask(addr: str, path: str) -> tuple[int, dict[str, Any]]:
    """GET ``path`` from the worker that listens on ``addr`` (``host:port``): the status and the JSON object.

    Raises :class:`NoAnswer`.
    """
    host, _, port = addr.rpartition(":")
    host = host.strip("[]")
    host = _EVERYWHERE.get(host, host)
    try:
        with socket.create_connection((host, int(port)), ANSWER_S) as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\r\n".encode()
            )
            chunks = []
            while chunk := connection.recv(65_536):
                chunks.append(chunk)
    except TimeoutError:
        raise NoAnswer(f"no answer from {host}:{port} within {ANSWER_S:g} s") from None
    except OSError as exc:
        raise NoAnswer(f"nobody answers at {host}:{port}: {exc.strerror or exc}") from exc
    head, _, body = b"".join(chunks).partition(b"\r\n\r\n")
    try:
        status, answer = int(head.split(b" ", 2)[1]), json.loads(body)
    except (IndexError, ValueError):
        answer = None
    if not isinstance(answer, dict):
        raise NoAnswer(f"what answers at {host}:{port} is no worker")
    return status, answer


def check(addr: str, *, live: bool) -> tuple[bool, str]:
    """Whether the worker is ready (or ``live``), and one line that says why not."""
    try:
        status, answer = ask(addr, "/livez" if live else "/readyz")
    except NoAnswer as exc:
        return False, str(exc)
    if status == 200:
        return True, "live" if live else "ready"
    if live:
        return False, "not live: " + "; ".join(map(str, answer.get("stuck", [])))
    return False, "not ready: " + "; ".join(str(reason.get("text")) for reason in answer.get("reasons", []))


def tell(status: Mapping[str, Any]) -> str:
    """The answer of ``/status`` for people, several lines."""
    worker = status["worker"]
    lines = [
        f"{worker['id']}: {'ready' if status['ready'] else 'not ready'}, {worker['status']}, "
        f"up for {worker['uptime_s']:.0f} s, version {worker['version']}"
    ]
    lines += [f"  {text}" for text in (*(reason["text"] for reason in status["reasons"]), *status["stuck"])]
    for lane in status["lanes"]:
        lines += ["", *_tell_lane(lane)]
    if status["timeline"]:
        lines += ["", "lately:"]
    lines += [
        f"  {moment['at']}  {moment['parent']}: {moment['what'].replace('_', ' ')}  {moment['text']}".rstrip()
        for moment in status["timeline"][-10:]
    ]
    # What a task's id holds is its sender's affair; a terminal's controls are not.
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)


def _tell_lane(lane: Mapping[str, Any]) -> Iterator[str]:
    slots, recovery = lane["slots"], lane["recovery"]
    yield (
        f"{lane['parent']}: {lane['state']}, {slots['in_use']} of {slots['total']} slots in use, "
        f"{recovery['total_restarts']} restarts, commit {(lane['commit'] or 'none')[:10]}"
    )
    for queue in lane["queues"]:
        depth = queue["depth"]
        counts = (
            ", ".join(f"{depth[kind]} {kind}" for kind in ("pending", "active", "scheduled", "retry"))
            if depth
            else "Redis does not say how many tasks wait"
        )
        paused = ", paused" if depth and depth["paused"] else ""
        yield f"  {queue['name']} (priority {queue['priority']}): {counts}{paused}"
    for task in lane["tasks"]:
        retried = f", retried {task['retried']}" if task["retried"] else ""
        yield f"  running {task['id']} of {task['queue']} for {task['age_s']:.1f} s{retried}"
