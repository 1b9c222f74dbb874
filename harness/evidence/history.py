"""What a run left behind, as plain values: what :mod:`harness.evidence.invariants` judges.

Times are unix seconds of this machine. What gathers a history translates into them: handlers' diaries
have the monotonic clock, which no fault touches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.queue.strict.reader import Finding

#: States that end a task.
ENDS = frozenset({"completed", "archived"})
#: Kinds of trouble that are not injected: a process without a processor, a Redis that did nothing.
STARVED, STOOD_STILL = "starved", "stood still"


@dataclass(frozen=True)
class Sent:
    """A task Redis acknowledged.

    ``must`` is the only end it may come to, empty where both are right; ``digest`` is what a right result
    says of the payload, empty where there is no result to compare. ``timeout_s`` 0 is none.
    """

    task_id: str
    queue: str
    behaviour: str
    at_s: float
    due_s: float
    retry: int
    timeout_s: float = 0.0
    must: str = ""
    digest: str = ""
    unique_key: str = ""


@dataclass(frozen=True)
class Run:
    """A handler at work on a task, by its own diary.

    ``ended_s`` None: it never came to its end; ``seen_s`` is when its process was last seen alive in it.
    ``outcome``: ``ok``, ``retry`` (failed, and wants another try), ``fail`` (for good), ``crash`` (ended its
    process), empty where it did not get so far.
    """

    run_id: str
    task_id: str
    worker: str
    pid: int
    began_s: float
    seen_s: float
    ended_s: float | None = None
    outcome: str = ""


@dataclass(frozen=True)
class Transition:
    """A task's change of state in Redis, in the order Redis made them.

    It was made after ``after_s`` and before ``before_s``. ``was`` is the state before (empty: there was no
    such task), ``state`` the one from then on (empty: the task was deleted). ``worker`` has the attempt
    (``""``: no worker, or one that does not say); ``lease_until_s`` is when the lease that was
    held before would have run out, None where there was none.
    """

    task_id: str
    queue: str
    was: str
    state: str
    after_s: float
    before_s: float
    worker: str = ""
    attempt: int = 0
    lease_until_s: float | None = None
    charged: bool = False
    retried: int = 0
    error: str = ""
    run_id: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Trouble:
    """A fault that was injected, or no processor to run on. ``target`` is a worker's name, or ``redis``.

    For ``lingers_s`` after its end it may still be felt: a time-out runs, a worker waits to try again.
    """

    kind: str
    target: str
    began_s: float
    ended_s: float
    lingers_s: float = 0.0


@dataclass(frozen=True)
class Life:
    """One worker from start to end. ``asked_s`` is when it was asked to end, None where it was not.

    ``killed`` where it was ended by us without being asked. ``left`` are processes it left behind.
    """

    worker: str
    began_s: float
    ended_s: float
    status: int
    asked_s: float | None = None
    killed: bool = False
    left: Sequence[int] = ()


@dataclass(frozen=True)
class Rules:
    """What the run promises: seconds of a lease, and from SIGTERM to the end."""

    lease_s: float
    drain_s: float
    #: Exit statuses with which a worker may end unasked while something it needs to start is in trouble.
    start_failures: frozenset[int] = frozenset({3, 4, 5})


@dataclass(frozen=True)
class History:
    """A whole run. ``places`` is where each task stood at the end; ``misplaced`` who was in none or several
    places in between, with which; ``unreadable`` what a strict tool of asynq's stumbles over at the end;
    ``texts`` is what was written anywhere, by where.
    """

    rules: Rules
    sent: Sequence[Sent] = ()
    runs: Sequence[Run] = ()
    transitions: Sequence[Transition] = ()
    troubles: Sequence[Trouble] = ()
    lives: Sequence[Life] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    misplaced: Sequence[tuple[str, str]] = ()
    unreadable: Sequence[Finding] = ()
    locks: frozenset[str] = frozenset()
    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(repr=False, default_factory=dict)
    texts: Mapping[str, bytes] = field(repr=False, default_factory=dict)
