"""Everything the worker raises on purpose, as one tree.

    ApplianceError
    ├── ConfigurationError             ours to refuse, the operator's to mend
    ├── RegistrationError
    │   ├── RegistrationUnavailable    passing: worth another attempt
    │   └── RegistrationRejected       final: another attempt gets the same answer
    ├── DeploymentError
    │   ├── DeploymentUnavailable      passing: network, lock, a remote that hiccups
    │   ├── DeploymentRejected         final: no such branch, a requirement that cannot be met
    │   └── SlotInUse                  this folder must not change: another one is tried
    ├── CommandFailed                  a program we ran ended badly (deploy translates it)
    ├── StartupError                   the worker cannot begin: Redis, folder, port
    ├── StateUnusable                  the state folder does not take or give what it should
    │   ├── StateBroken                a file of it is nothing that a worker writes
    │   └── StateHangs                 its disk does not answer at all
    ├── RedeployRefused                what runs is kept: why the new one did not take its place
    ├── ProcessError
    │   ├── ProcessNotReady            a task was offered while the process cannot take one
    │   └── ProcessDegraded            restarts are used up and the worker was told to end then
    ├── QueueError
    │   ├── QueueUnavailable           passing: Redis is away, loading, or failing over
    │   │   └── QueueNodeUnavailable   passing: so is one node of a Redis Cluster, others may be well
    │   └── QueueRejected              final: Redis understood and said no
    └── TaskUndecodable                a stored task that cannot be decoded

Adapters translate what their library raises into these (``raise X from exc``), so that no
redis, HTTP or OS error type crosses a layer. This module imports nothing of the package.
"""


class ApplianceError(Exception):
    """Base of everything the worker raises on purpose."""


class ConfigurationError(ApplianceError):
    """Raised when settings are missing or wrong; carries every problem found, not the first.

    ``problems`` is a tuple of one-line strings, each naming the variable or file position,
    the value, and what is allowed. Secret values are never part of a problem. ``warnings`` are
    lines of the same kind about what was ignored: a misspelt name is often why another is missing.
    """

    def __init__(self, problems: tuple[str, ...], warnings: tuple[str, ...] = ()) -> None:
        self.problems = problems
        self.warnings = warnings
        super().__init__("\n".join(problems))


class RegistrationError(ApplianceError):
    """Base of failures to register with the runqy server."""


class RegistrationUnavailable(RegistrationError):
    """Raised when the server could not answer now (no connection, timeout, 408, 425, 429, 5xx).

    ``retry_after_s`` is the server's own wish in seconds, None where it had none.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class RegistrationRejected(RegistrationError):
    """Raised when the server's answer will not change by asking again (other 4xx, bad contract)."""


class DeploymentError(ApplianceError):
    """Base of failures to get task code and its environment onto this machine."""


class DeploymentUnavailable(DeploymentError):
    """Raised when deploying failed for a reason that can pass (network, remote, lock held)."""


class OutOfRoom(DeploymentUnavailable):
    """Raised when a disk is full, or memory ran out, while something was put in place."""


class DeploymentRejected(DeploymentError):
    """Raised when deploying the same thing again fails the same way."""


class RepositoryGone(DeploymentRejected):
    """Raised when the remote gives no code: repository or branch deleted or renamed, access refused."""


class SlotInUse(DeploymentError):
    """Raised when a process runs from what would have to change."""


class RedeployRefused(ApplianceError):
    """Raised when a running worker keeps what it has although it was asked to redeploy."""


class CommandFailed(ApplianceError):
    """Raised when a program we ran exits non-zero, cannot start, or outlives its time limit.

    ``command`` is safe to print, ``status`` its exit status (None: it never started or was
    killed at its limit), ``tail`` its last output lines, redacted.
    """

    def __init__(self, command: str, status: int | None, tail: tuple[str, ...]) -> None:
        self.command = command
        self.status = status
        self.tail = tail
        ended = "did not finish" if status is None else f"exited with status {status}"
        super().__init__("\n".join((f"{command} {ended}", *tail)))


class StartupError(ApplianceError):
    """Raised when the worker cannot begin its work for a reason outside registration and deployment."""


class ProtectionMissing(ApplianceError):
    """Raised when task code could reach what the settings say it must not."""


class StateUnusable(ApplianceError):
    """Raised when the state folder cannot be read or written: full, read-only, no locks, no permission."""


class StateBroken(StateUnusable):
    """Raised when a file of the state folder is nothing a worker writes: too large, or no file at all."""


class StateHangs(StateUnusable):
    """Raised when the state folder's disk does not answer for long; the thread that asked still waits."""


class ProcessError(ApplianceError):
    """Base of failures of the supervised task process."""


class ProcessNotReady(ProcessError):
    """Raised when a task is offered to a process that cannot take one; the task was not sent."""


class ProcessDegraded(ProcessError):
    """Raised when every task process is degraded and the settings say to end the worker then."""


class QueueError(ApplianceError):
    """Base of failures to talk to Redis about tasks."""


class QueueUnavailable(QueueError):
    """Raised when Redis cannot answer now: connection lost, timeout, LOADING, READONLY, MASTERDOWN."""


class QueueNodeUnavailable(QueueUnavailable):
    """Raised when the one node of a Redis Cluster that has the key cannot answer now; others may."""


class QueueRejected(QueueError):
    """Raised when Redis understood a command and refused it (NOPERM, WRONGTYPE, a script error)."""


class TaskUndecodable(ApplianceError):
    """Raised when a task's hash in Redis cannot be understood; the message says what is wrong."""
