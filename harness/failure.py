"""How a command of the harness ends when it does not end well."""

import signal


class CommandFailed(Exception):
    """What was asked for could not be done; the message is a sentence for the person who asked."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM came; not an Exception, so that nobody on the way up takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
