"""What comes in and what goes out over HTTP, without the connection."""

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json; charset=utf-8"


@dataclass(frozen=True)
class Request:
    """What came in. ``headers`` by lower-case name; ``query`` has the last value of each name.

    ``client`` is the address it came from.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    client: str = ""


@dataclass(frozen=True)
class Response:
    """What goes out. ``stream`` instead of a body is sent piece by piece, and ends the connection."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Generator[bytes, None, None] | None = None


class Refused(Exception):
    """The request is answered with an error; the texts are its reasons."""

    def __init__(self, status: int, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.status = status
        self.problems: Sequence[str] = problems


def json_response(status: int, value: Any) -> Response:
    """``value`` as JSON."""
    return Response(status, json.dumps(value).encode())


def errors(status: int, *problems: str) -> Response:
    """The form in which nearly every route says no."""
    return json_response(status, {"errors": list(problems)})


def error(status: int, *problems: str) -> Response:
    """The form in which registration says no, once it has accepted the key."""
    return json_response(status, {"error": "; ".join(problems)})
