"""A runqy server for one machine: enough of the real one for workers and the SDK's client."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.server import services
from harness.server.api import Api
from harness.server.behaviour import Behaviour
from harness.server.config import QueueConfig
from harness.server.face import Handler
from harness.server.faults import Faults
from harness.server.git import Exports
from harness.server.keys import Keys
from harness.server.listener import Listener, Running
from harness.server.overview import Overview
from harness.server.routes.table import FAULTY
from harness.server.state import Complaint, Recorded, State


class FakeServer:
    """Serves HTTP on ``host:port`` (0: a free one, kept across restarts) from :meth:`start` to :meth:`stop`.

    ``redis_url`` is where tasks are written, and what workers are told unless ``redis_url_for_workers``
    says otherwise. What the server was asked stays known across restarts.
    """

    def __init__(
        self,
        redis_url: str,
        queues: Sequence[QueueConfig] = (),
        *,
        keys: Keys = Keys(),  # noqa: B008  frozen
        behaviour: Behaviour = Behaviour(),  # noqa: B008  frozen
        host: str = "127.0.0.1",
        port: int = 0,
        redis_url_for_workers: str | None = None,
    ) -> None:
        self.worker_key = keys.worker
        self.client_key = keys.client
        self.admin_key = keys.admin
        self._keys = keys
        self._behaviour = behaviour
        self._redis_url = redis_url
        self._redis_url_for_workers = redis_url_for_workers or redis_url
        self._state = State(queues, FAULTY)
        self._exports = Exports()
        self._host = host
        self._port = port
        self._running: Running | None = None

    def start(self) -> Self:
        """Listen; returns once connections are accepted. Raises OSError where the port is taken."""
        if self._running is None:
            built = services.build(
                self._state,
                self._behaviour,
                self._redis_url,
                self._redis_url_for_workers,
                self._keys.page,
            )
            listener = Listener((self._host, self._port), Handler, Api(built, self._keys), self._exports)
            self._port = listener.server_address[1]
            self._running = Running(listener)
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

    def use_redis(self, redis_url: str, redis_url_for_workers: str | None = None) -> None:
        """Write tasks to another Redis, and send workers there: as a server that was restarted for it."""
        running = self._running is not None
        self.stop()
        self._redis_url = redis_url
        self._redis_url_for_workers = redis_url_for_workers or redis_url
        if running:
            self.start()

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
        db = services.connect(self._redis_url)
        try:
            return Overview(db).heartbeat_problems()
        finally:
            db.close()
