"""Repositories over HTTP, by git's own ``http-backend``, so that a worker elsewhere can clone them.

Shallow and partial clones need the smart protocol, which is why the files are not simply served.
A repository's path has a random part and is told to registered workers only: that is its protection.
"""

import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlencode

from harness.server.messages import Request, Response

PREFIX = "/git/"
TIMEOUT_S = 60


class Exports:
    """Which repositories there are, and the answers to git's requests for them."""

    def __init__(self) -> None:
        self._repositories: dict[str, Path] = {}

    def add(self, repository: Path) -> str:
        """Serve ``repository`` (bare, or a ``.git`` folder) from now on; returns the path of its URL."""
        name = f"{secrets.token_urlsafe(12)}.git"
        self._repositories[name] = repository.resolve()
        return PREFIX + name

    def answer(self, request: Request) -> Response:
        """Answer what git asks; 404 for a repository that is not exported, and for pushes."""
        name, _, inner = request.path.removeprefix(PREFIX).partition("/")
        repository = self._repositories.get(name)
        inner = unquote(inner)
        service = request.query.get("service", inner)
        if repository is None or ".." in inner.split("/") or "receive-pack" in service:
            return Response(404, b"no such repository\n", "text/plain")
        done = subprocess.run(
            ["git", "http-backend"],
            input=request.body,
            env=_cgi(request, repository, inner),
            capture_output=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        if done.returncode != 0:
            return Response(500, done.stderr, "text/plain")
        return _parsed(done.stdout)


def _cgi(request: Request, repository: Path, inner: str) -> Mapping[str, str]:
    """The CGI variables ``git http-backend`` documents, and nothing of our environment but where git is."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_PROJECT_ROOT": str(repository),
        "GIT_HTTP_EXPORT_ALL": "1",
        # The folder may belong to another user; it is only read.
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "REQUEST_METHOD": request.method,
        "PATH_INFO": f"/{inner}",
        "QUERY_STRING": urlencode(request.query),
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(request.body)),
        "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
        "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
    }


def _parsed(output: bytes) -> Response:
    head, _, body = output.partition(b"\r\n\r\n")
    headers = {
        name.strip(): value.strip()
        for name, _, value in (line.partition(":") for line in head.decode("latin-1").split("\r\n"))
    }
    status = int(headers.pop("Status", "200").split()[0])
    content_type = headers.pop("Content-Type", "application/octet-stream")
    return Response(status, body, content_type, headers)
