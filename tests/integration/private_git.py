"""A git host that wants to know who asks: repositories over HTTP behind a password, and behind a fake ssh."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from harness.sandbox.repo import GitRepo
from harness.server.api import Request
from harness.server.git import Exports


class PrivateHost:
    """Serves one repository, and its content in Git LFS, to who shows ``password``.

    ``asked`` are the logins that were tried, ``lfs`` what of Git LFS was asked for.

    With ``refuses`` every answer is that status. ``sends_to`` is another host, to which all are sent on:
    at once, or once they have logged in.
    """

    def __init__(self, repo: GitRepo, password: str) -> None:
        self._exports = Exports()
        self._path = self._exports.add(repo.folder)
        self._folder = repo.folder
        self.password = password
        self.refuses = 0
        self.sends_to, self.sends_at_once = "", False
        self.requests = 0
        self.asked: list[tuple[str, str]] = []
        self.lfs: list[str] = []
        self.port = 0

    def url(self, login: str = "") -> str:
        """With ``login`` (``user:password``) in it."""
        return f"http://{login and f'{login}@'}127.0.0.1:{self.port}{self._path}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Ask for a login where there is none, or a wrong one; else git's own answer."""
        self.requests += 1
        scheme, _, encoded = handler.headers.get("Authorization", "").partition(" ")
        if self.sends_to and (self.sends_at_once or encoded):
            handler.send_response_only(301)
            handler.send_header("Location", f"{self.sends_to}{handler.path}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        length = int(handler.headers.get("Content-Length", "0"))
        url, body = urlsplit(handler.path), handler.rfile.read(length)
        if scheme == "Basic":
            user, _, password = base64.b64decode(encoded).decode().partition(":")
            self.asked.append((user, password))
            if password == self.password and not self.refuses:
                if "/info/lfs/" in url.path:
                    self._answer_lfs(handler, url.path, body)
                    return
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
        self._refuse(handler)

    def _refuse(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response_only(self.refuses or 401)
        if not self.refuses:
            handler.send_header("WWW-Authenticate", 'Basic realm="git"')
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _answer_lfs(self, handler: BaseHTTPRequestHandler, path: str, body: bytes) -> None:
        """As Git LFS's "Batch API" and its "basic" transfer have it; contents come from this host as well."""
        self.lfs.append(f"{handler.command} {path.partition('/info/lfs/')[2]}")
        base = f"http://{handler.headers['Host']}{path.partition('/info/lfs/')[0]}/info/lfs"
        if path.endswith("/objects/batch"):
            objects = [
                {**each, "actions": {"download": {"href": f"{base}/content/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            answer = json.dumps({"transfer": "basic", "objects": objects}).encode()
            kind = "application/vnd.git-lfs+json"
        else:
            oid = path.rpartition("/")[2]
            answer = (self._folder / "lfs" / "objects" / oid[:2] / oid[2:4] / oid).read_bytes()
            kind = "application/octet-stream"
        handler.send_response_only(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)


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


def watched(git: Path, journal: Path) -> None:
    """Have ``git`` note of each command how many keys it was given (as files in memory)."""
    real = git.resolve()
    git.unlink()
    git.write_text(
        "#!/bin/sh\n"
        'for word in "$@"; do case "$word" in --*) ;; *) break;; esac; done\n'
        f"keys=0; for fd in /proc/$$/fd/*; do "
        'case "$(readlink $fd)" in *memfd:ssh-key*) keys=$((keys + 1));; esac; done\n'
        f'echo "$word $keys" >> {journal}\nexec {real} "$@"\n'
    )
    git.chmod(0o755)


def fake_ssh(program: Path, journal: Path) -> None:
    """An ``ssh`` that notes how it was called, and what its key file was like, and runs the command here."""
    program.unlink(missing_ok=True)
    program.write_text(
        "#!/bin/sh\n"
        f'for word in "$@"; do printf "%s\\n" "$word" >> {journal}; done\n'
        'while [ $# -gt 0 ]; do case "$1" in\n'
        f'-i) cp -p "$2" {journal}.key; shift;;\n'
        "-o|-p|-F) shift;;\n"
        "-*) ;;\n"
        "*) host=$1; shift; break;;\n"
        'esac; shift; done\nexec sh -c "$*"\n'
    )
    program.chmod(0o755)
