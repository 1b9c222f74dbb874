"""The one error a command of the harness ends with."""


class CommandFailed(Exception):
    """What was asked for could not be done; the message is a sentence for the person who asked."""
