"""A runqy server for one machine: enough of the real one for workers and the SDK's client."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.server.api import FAULTY, Api, Json
from harness.server.config import QueueConfig
from harness.server.face import Handler, Listener, Running
from harness.server.faults import Faults
from harness.server.git import Exports
from harness.server.state import Complaint, Recorded, State
from harness.server.store import Store

WORKER_KEY = "local-worker-key"
CLIENT_KEY = "local-client-key"
ADMIN_KEY = "local-admin-key"
LONG_POLL_S = 30.0


def _nothing(_: str) -> None:
    return None


def _as_it_is(answer: Json) -> Json:
    return answer


class FakeServer:
    """Serves HTTP on ``host:port`` (0: a free one, kept across restarts) from :meth:`start` to :meth:`stop`.

    ``redis_url`` is where tasks are written, and what workers are told unless ``redis_url_for_workers``
    says otherwise. ``before_register`` is called with the queue's name before a worker gets its answer, and
    ``alter_registration`` with the answer, to give what is sent instead.
    The keys' roles are ``worker``, ``client`` and ``admin`` (for ``/_harness/*``); one key may be several.
    ``more_keys`` maps other keys to one of these roles, or to any other, which may do nothing. What the
    server was asked stays known across restarts.
    """

    def __init__(
        self,
        redis_url: str,
        queues: Sequence[QueueConfig] = (),
        *,
        worker_key: str = WORKER_KEY,
        client_key: str = CLIENT_KEY,
        admin_key: str = ADMIN_KEY,
        more_keys: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        redis_url_for_workers: str | None = None,
        before_register: Callable[[str], None] = _nothing,
        alter_registration: Callable[[Json], Json] = _as_it_is,
        long_poll_s: float = LONG_POLL_S,
    ) -> None:
        self.worker_key = worker_key
        self.client_key = client_key
        self.admin_key = admin_key
        self._redis_url = redis_url
        self._redis_url_for_workers = redis_url_for_workers or redis_url
        keys = [("worker", worker_key), ("client", client_key), ("admin", admin_key)]
        keys += [(role, key) for key, role in (more_keys or {}).items()]
        self._state = State(queues, keys, FAULTY)
        self._exports = Exports()
        self._before_register = before_register
        self._alter_registration = alter_registration
        self._long_poll_s = long_poll_s
        self._host = host
        self._port = port
        self._running: Running | None = None

    def start(self) -> Self:
        """Listen; returns once connections are accepted. Raises OSError where the port is taken."""
        if self._running is None:
            store = Store(self._redis_url)
            api = Api(
                self._state,
                store,
                self._redis_url_for_workers,
                self._before_register,
                self._alter_registration,
                self._long_poll_s,
            )
            listener = Listener((self._host, self._port), Handler, self._state, api, self._exports)
            self._port = listener.server_address[1]
            self._running = Running(listener, store)
        return self

    def stop(self) -> None:
        """Close the door and every connection; long polls end. Idempotent."""
        if self._running is not None:
            self._running.stop()
            self._running = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The TCP port; known from the first start on, or from the beginning where it was given."""
        return self._port

    @property
    def url(self) -> str:
        """Where this machine reaches the server."""
        host = "127.0.0.1" if self._host in {"0.0.0.0", ""} else self._host
        return f"http://{host}:{self.port}"

    def configure(self, queue: QueueConfig) -> None:
        """Add ``queue``, or replace the one of its name."""
        self._state.configure(queue)

    def export(self, repository: Path) -> str:
        """Serve a git repository; what is returned is for :attr:`QueueConfig.git_url`."""
        return self._exports.add(repository)

    @property
    def faults(self) -> Faults:
        """How to mistreat requests."""
        return self._state.faults

    @property
    def requests(self) -> tuple[Recorded, ...]:
        """What was asked so far, without git's requests."""
        return self._state.requests

    def requests_to(self, path: str) -> tuple[Recorded, ...]:
        """Those to one path."""
        return tuple(request for request in self.requests if request.path == path)

    @property
    def complaints(self) -> tuple[Complaint, ...]:
        """What was sent that must not be sent."""
        return self._state.complaints

    def heartbeat_problems(self) -> list[str]:
        """What is wrong now with the heartbeats in Redis. Raises redis.RedisError."""
        store = Store(self._redis_url)
        try:
            return store.heartbeat_problems()
        finally:
            store.close()
