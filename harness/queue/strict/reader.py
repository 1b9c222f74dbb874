"""The strict reader: could asynq's tools and the real server read every key there is?

Written from the protocol's description of Redis alone, and as strict as the strictest reader of it: asynq's
inspector, which gives up a whole answer for one value it does not expect. It shares nothing with the worker,
nor with what seeds Redis for tests.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.queue.strict import counters, ends, keys, places, snapshot, tasks, workers
from harness.queue.strict.snapshot import Snapshot
from harness.queue.strict.view import Found, View

RULES: Mapping[str, Callable[[View], Iterator[Found]]] = {
    "keys are known": keys.known,
    "keys are of their type": keys.types,
    "keys live as long as they may": keys.lifetimes,
    "queues are registered": keys.registered,
    "scores are whole": places.whole_scores,
    "scores are in seconds": places.scores_are_seconds,
    "entries have a task": places.entries_have_a_task,
    "a task is in one place": places.one_place,
    "a task is somewhere": places.somewhere,
    "the state is the place": places.state_is_the_place,
    "leases are of active tasks": places.leases_are_of_active,
    "active tasks have a lease": places.active_have_a_lease,
    "messages decode": tasks.messages_decode,
    "messages name their task": tasks.messages_name_their_task,
    "states are known": tasks.known_states,
    "fields are known": tasks.known_fields,
    "numbers are whole": tasks.whole_numbers,
    "pending_since is in nanoseconds": tasks.pending_since_in_nanoseconds,
    "hash and message agree": tasks.hash_and_message_agree,
    "completed tasks say when": tasks.completed_say_when,
    "results come back as sent": tasks.results_come_back_as_sent,
    "remains go away": ends.remains_end,
    "waiting tasks do not expire": ends.waiting_do_not_expire,
    "a hash outlives its entry": ends.a_hash_outlives_its_entry,
    "lookups name a queue": ends.lookups_name_a_queue,
    "lookups live as long as their task": ends.lookups_live_as_their_task,
    "counters are whole": counters.whole_counts,
    "failed is within processed": counters.failed_within_processed,
    "statuses are known": workers.known_statuses,
    "worker fields are readable": workers.readable_fields,
    "worker JSON is readable": workers.readable_json,
    "stopped workers are gone": workers.stopped_are_gone,
    "logs are bounded": workers.bounded_logs,
    "log lines are readable": workers.readable_lines,
}
#: Rules the worker breaks today, and what mends it; they are not asked until then.
KNOWN: Mapping[str, str] = {}
#: Seconds that what is on its way gets to arrive, where a worker is at work meanwhile: an id that a blocking
#: move has put into active has no lease for a moment, and a lookup is in another slot than its task.
ARRIVE_S = 2.0
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class Finding:
    """What a strict tool stumbles over: ``key`` and what is ``seen`` there, what happens ``then``."""

    rule: str
    key: str
    seen: str
    then: str

    def __str__(self) -> str:
        return f"{self.key}: {self.seen}; {self.then} (rule: {self.rule})"


def check(taken: Snapshot, *, but: Collection[str] = tuple(KNOWN)) -> list[Finding]:
    """Everything in a snapshot that breaks a rule, ``but`` for these rules."""
    view = View(taken)
    return [Finding(name, *found) for name, rule in RULES.items() if name not in but for found in rule(view)]


def read(db: Any, *, but: Collection[str] = tuple(KNOWN), arrive_s: float = ARRIVE_S) -> list[Finding]:
    """As :func:`check`, of what is in Redis now; ``db`` is a client that answers in bytes.

    What is wrong has to be so for ``arrive_s`` seconds.
    """
    until_s = time.monotonic() + arrive_s
    while findings := check(snapshot.take(db), but=but):
        if time.monotonic() >= until_s:
            break
        time.sleep(_LOOK_EVERY_S)
    return findings
