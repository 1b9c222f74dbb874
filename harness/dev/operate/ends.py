"""How the commands that look at queues and change them end: their exit statuses, and what stops them."""

from harness.failure import CommandFailed

DONE = 0
#: Redis or the server could not be asked.
UNREACHABLE = 1
#: The state of a task or queue does not allow it.
NOT_POSSIBLE = 3
#: There is no such task, queue or worker.
UNKNOWN = 4
#: What was waited for did not come in time.
NOT_IN_TIME = 5
#: The question was answered with no.
DECLINED = 6

STATUSES = (
    f"Exit status: {DONE} done; {UNREACHABLE} Redis or the server could not be asked; 2 the command line "
    f"makes no sense; {NOT_POSSIBLE} the state of a task or queue does not allow it; {UNKNOWN} no such task, "
    f"queue or worker; {NOT_IN_TIME} not over in time; {DECLINED} the question was answered with no."
)


class Unknown(CommandFailed):
    """There is no such task, queue or worker."""


class Declined(CommandFailed):
    """The person said no."""
