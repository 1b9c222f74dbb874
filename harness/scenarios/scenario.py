"""What a scenario is: one file, whose docstring's first line is the claim, and one function that plays it.

    \"\"\"A task is answered with its handler's result.\"\"\"

    @scenario(budget_s=20, mutations=[Mutation("wrong results", red="result", process="swap_results")])
    def play(scene: Scene) -> None:
        scene.handler("echo")
        scene.worker()
        ...

A scenario judges by Redis, by what the server was asked and by the handlers' diary, never by a worker's log.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import redis

if TYPE_CHECKING:
    from harness.scenarios.scene import Scene

#: In the order in which they are told.
GROUPS = (
    "configuration",
    "registration",
    "deployment",
    "tasks",
    "recovery",
    "vaults",
    "heartbeat",
    "shutdown",
    "redis",
    "several_workers",
    "hostile_output",
    "drills",
)
RUNTIMES = ("process", "docker")
#: Smoke scenarios are the handful for containers in the short form, long ones are in no short form.
Length = Literal["smoke", "normal", "long"]

_PACKAGE = "harness.scenarios."


@dataclass(frozen=True)
class Mutation:
    """A worker with a defect, which the scenario must catch: it shows that the scenario can fail.

    ``red`` is a regular expression that the failure's message must contain, so that it fails for this
    reason. The defect is made without touching the worker's code, by one or more of:

    ``env``: variables, which win over the scenario's own.
    ``registration``: a merge patch (RFC 7386) on what the server answers, as if the worker misread it.
    ``process``: a program of ``harness/mutants/processes`` between the worker and the task process.
    ``wrapper``: a module of ``harness.mutants`` and its arguments before the worker's command (process
    runtime only).
    ``sabotage``: is called with a Redis client again and again, and does what a wrong worker would.
    """

    name: str
    red: str
    env: Mapping[str, str] = field(default_factory=dict)
    registration: Mapping[str, Any] = field(default_factory=dict)
    process: str = ""
    wrapper: Sequence[str] = ()
    sabotage: Callable[[redis.Redis], object] | None = None


@dataclass(frozen=True)
class Scenario:
    """``name`` is ``group/file``; ``budget_s`` the most it may take, beside a worker's start, where
    nothing else runs."""

    name: str
    claim: str
    play: Callable[["Scene"], None]
    budget_s: float
    mutations: Sequence[Mutation]
    runtimes: Sequence[str]
    length: Length

    @property
    def group(self) -> str:
        """One of :data:`GROUPS`."""
        return self.name.partition("/")[0]


def scenario(
    *,
    budget_s: float,
    mutations: Sequence[Mutation],
    runtimes: Sequence[str] = RUNTIMES,
    length: Length = "normal",
) -> Callable[[Callable[["Scene"], None]], Scenario]:
    """Make the decorated function a scenario; its module's docstring begins with the claim."""

    def made(play: Callable[["Scene"], None]) -> Scenario:
        docstring = sys.modules[play.__module__].__doc__ or ""
        name = play.__module__.removeprefix(_PACKAGE).replace(".", "/")
        return Scenario(
            name, docstring.partition("\n")[0], play, budget_s, tuple(mutations), tuple(runtimes), length
        )

    return made
