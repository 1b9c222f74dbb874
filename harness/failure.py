"""How a command of the harness ends when it does not end well."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

#: The exit status of a command line that makes no sense.
MISUNDERSTOOD = 2
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CommandFailed(Exception):
    """What was asked for could not be done; the message is a sentence for the person who asked."""


class Interrupted(BaseException):
    """A signal came that ends a command; not an Exception, so that no handler takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def on_interruption(handler: "Callable[[int, FrameType | None], object] | signal.Handlers") -> None:
    """Have the signals that end a command handled: Ctrl-C, an orchestrator's, a closed terminal's."""
    for number in _ENDINGS:
        # nohup's: a command that it runs survives its terminal.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def interrupt(number: int, _: object) -> None:
    """A handler for :func:`on_interruption`: raises :class:`Interrupted`, once."""
    # A second signal would interrupt nothing but the cleaning up.
    on_interruption(signal.SIG_IGN)
    raise Interrupted(number)


@contextlib.contextmanager
def handlers_kept() -> Iterator[Mapping[signal.Signals, Any]]:
    """Afterwards the signals that end a command are handled as before; gives how, by signal."""
    handlers = {number: signal.getsignal(number) for number in _ENDINGS}
    try:
        yield handlers
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """What is inside is done whole; a signal that comes meanwhile is handled then. For what takes moments."""
    if threading.current_thread() is not threading.main_thread():
        # Nowhere else does a handler raise anything.
        yield
        return
    came: list[int] = []
    try:
        with handlers_kept():
            on_interruption(lambda number, _: came.append(number))
            yield
    finally:
        if came:
            signal.raise_signal(came[0])
