"""A git host that wants to know who asks: repositories over HTTP behind a password, and behind a fake ssh."""

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from harness.repo import GitRepo
from harness.server.api import Request
from harness.server.git import Exports


class PrivateHost:
    """Serves one repository to who shows ``password``; ``asked`` are the logins that were tried."""

    def __init__(self, repo: GitRepo, password: str) -> None:
        self._exports = Exports()
        self._path = self._exports.add(repo.folder)
        self._password = password
        self.asked: list[tuple[str, str]] = []
        self.port = 0

    def url(self, login: str = "") -> str:
        """With ``login`` (``user:password``) in it."""
        return f"http://{login and f'{login}@'}127.0.0.1:{self.port}{self._path}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Ask for a login where there is none, or a wrong one; else git's own answer."""
        scheme, _, encoded = handler.headers.get("Authorization", "").partition(" ")
        length = int(handler.headers.get("Content-Length", "0"))
        url, body = urlsplit(handler.path), handler.rfile.read(length)
        if scheme == "Basic":
            user, _, password = base64.b64decode(encoded).decode().partition(":")
            self.asked.append((user, password))
            if password == self._password:
                headers = {name.lower(): value for name, value in handler.headers.items()}
                request = Request(handler.command, url.path, dict(parse_qsl(url.query)), headers, body)
                response = self._exports.answer(request)
                handler.send_response_only(response.status)
                for name, value in {**response.headers, "Content-Type": response.content_type}.items():
                    handler.send_header(name, value)
                handler.send_header("Content-Length", str(len(response.body)))
                handler.end_headers()
                handler.wfile.write(response.body)
                return
        handler.send_response_only(401)
        handler.send_header("WWW-Authenticate", 'Basic realm="git"')
        handler.send_header("Content-Length", "0")
        handler.end_headers()


@contextmanager
def private_host(repo: GitRepo, password: str) -> Iterator[PrivateHost]:
    """The host, listening until the end of the ``with``."""
    host = PrivateHost(repo, password)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            host.answer(self)

        do_POST = do_GET  # noqa: N815  the parent's names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        host.port = listener.server_address[1]
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield host
        finally:
            listener.shutdown()
            thread.join()


def fake_ssh(program: Path, journal: Path) -> None:
    """An ``ssh`` that notes how it was called, and what its key file was like, and runs the command here."""
    program.unlink(missing_ok=True)
    program.write_text(
        "#!/bin/sh\n"
        f'for word in "$@"; do printf "%s\\n" "$word" >> {journal}; done\n'
        'while [ $# -gt 0 ]; do case "$1" in\n'
        f'-i) cp -p "$2" {journal}.key; shift;;\n'
        "-o|-p) shift;;\n"
        "-*) ;;\n"
        "*) host=$1; shift; break;;\n"
        'esac; shift; done\nexec sh -c "$*"\n'
    )
    program.chmod(0o755)
