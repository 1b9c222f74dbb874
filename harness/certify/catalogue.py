"""The checks, in the order in which they are made."""

from collections.abc import Callable, Mapping

from harness.certify import answering, enduring, manners, starting
from harness.certify.bench import Bench
from harness.certify.finding import Finding

Check = Callable[[Bench], Finding]

#: Without these the others have nothing to look at; they are always made.
FIRST: Mapping[str, Check] = {
    "deploys": starting.deploys,
    "starts": starting.starts,
    "result": answering.result,
}
#: `stdout` and `vaults` judge all that the ones before them made it print.
OTHERS: Mapping[str, Check] = {
    "together": answering.together,
    "many": answering.many,
    "odd": answering.odd,
    "big": answering.big,
    "killed": enduring.killed,
    "frozen": enduring.frozen,
    "stopped-at-work": enduring.stopped_at_work,
    "stopped-idle": enduring.stopped_idle,
    "stdout": manners.stdout,
    "vaults": manners.vaults,
}
ALL: Mapping[str, Check] = {**FIRST, **OTHERS}
