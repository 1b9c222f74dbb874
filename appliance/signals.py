"""What operators can tell a running worker by signals.

| signal           | the worker                                                        |
|------------------|-------------------------------------------------------------------|
| SIGTERM, SIGINT  | drains and ends; a second one does not wait for running tasks     |
| SIGTSTP, SIGCONT | takes nothing new until SIGCONT; what runs goes on                |
| SIGHUP           | deploys anew beside the running process, and swaps when it works  |
| SIGUSR1          | logs its state                                                    |

Handlers only enqueue; one greenlet acts on them, in the order in which they came. While the worker
still imports, the kernel keeps them (``__main__`` blocks them until :meth:`Signals.listen`): it drops a
SIGTSTP that a SIGCONT follows and keeps one of several of a kind, as we would.
"""

import signal
from collections.abc import Callable, Mapping

import gevent
import structlog
from gevent.queue import SimpleQueue

log = structlog.get_logger()


class Signals:
    """See the module. ``actions`` maps a signal to what is done about it, which must not wait for long."""

    def __init__(self, actions: Mapping[int, Callable[[], None]]) -> None:
        self._actions = actions
        self._came: SimpleQueue[int] = SimpleQueue()

    def listen(self) -> None:
        """Hear signals from now on, those included that were kept so far."""
        for number in self._actions:
            gevent.signal_handler(number, self._came.put, number)
        gevent.spawn(self._run)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._actions.keys())

    def _run(self) -> None:
        for number in self._came:
            name = signal.Signals(number).name
            log.debug("signal.came", signal=name)
            try:
                self._actions[number]()
            except Exception:
                log.exception("signal.failed", signal=name)
