"""What operators can tell a running worker by signals.

| signal           | the worker                                                                |
|------------------|---------------------------------------------------------------------------|
| SIGTERM, SIGINT  | drains and ends; a second one does not wait for running tasks             |
| SIGTSTP, SIGCONT | takes nothing new until SIGCONT; what runs goes on                        |
| SIGHUP           | redeploys: new code beside the running process, swapped in when it works  |
| SIGUSR1          | logs its state                                                            |

Handlers only enqueue; one greenlet acts on signals in the order in which they were received. While the
worker still imports, the kernel keeps them (``__main__`` blocks them until :meth:`Signals.listen`). It drops
a SIGTSTP that a SIGCONT follows, and keeps one of several of the same kind, as this greenlet would.
"""

import signal
from collections.abc import Callable, Mapping

import gevent
import structlog
from gevent.queue import SimpleQueue

log = structlog.get_logger()


class Signals:
    """See the module. ``actions`` maps a signal to a function, which must not wait for long."""

    def __init__(self, actions: Mapping[int, Callable[[], None]]) -> None:
        self._actions = actions
        self._received: SimpleQueue[int] = SimpleQueue()

    def listen(self) -> None:
        """Act on signals from now on, including those that the kernel has kept."""
        for number in self._actions:
            gevent.signal_handler(number, self._received.put, number)
        gevent.spawn(self._run)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._actions.keys())

    def _run(self) -> None:
        for number in self._received:
            name = signal.Signals(number).name
            log.debug("signal.received", signal=name)
            try:
                self._actions[number]()
            except Exception:
                log.exception("signal.failed", signal=name)
