"""Why a task is not running, or that it is: one sentence from the facts. Pure."""

from collections.abc import Sequence

from appliance.commands.explain.facts import TaskFacts, WorkerFacts
from appliance.config.durations import format_duration


def why(facts: TaskFacts) -> str:
    """Return the sentence, without a full stop."""
    if not facts.place:
        return (
            f"its hash says {facts.state or 'nothing of its state'}, but it is in none of the queue's lists: "
            "no worker will find it; enqueue it again"
        )
    return {
        "pending": _pending,
        "active": _active,
        "scheduled": _scheduled,
        "retry": _retry,
        "completed": _completed,
        "archived": _archived,
    }[facts.place](facts)


def span(seconds: float) -> str:
    """A duration for people: whole seconds, in the notation of the settings."""
    whole_s = round(abs(seconds))
    return format_duration(float(whole_s)) if whole_s else "less than 1s"


def _pending(facts: TaskFacts) -> str:
    if facts.paused:
        return "the queue is paused: no worker takes its tasks until it is resumed"
    if not facts.serving:
        return f"no live worker serves {facts.queue}"
    if _waited_too_long(facts):
        limit = span(facts.pending_timeout_s or 0)
        return (
            f"it has waited longer than its pending timeout ({limit}): the next worker to take it archives it"
        )
    if facts.broken:
        # Without a hash there is nothing that could be archived.
        does = "archives it" if facts.state else "drops its entry"
        return f"it cannot be understood ({facts.broken}): the next worker to take it {does}"
    return _unwilling(facts) or _in_line(facts)


def _unwilling(facts: TaskFacts) -> str:
    """Why none of the workers that serve the queue takes anything; empty where one does."""
    if any(_takes(one) for one in facts.serving):
        return ""
    names = _names(facts.serving)
    if all(one.recovery == "degraded" for one in facts.serving):
        return f"only degraded workers serve {facts.queue}: {names} (their task process keeps crashing)"
    if all(one.quiet for one in facts.serving):
        return f"the workers that serve {facts.queue} are quiet (SIGTSTP) and take nothing: {names}"
    if all(one.status == "bootstrapping" for one in facts.serving):
        return f"the workers that serve {facts.queue} are still starting: {names}"
    states = ", ".join(f"{one.worker_id} is {_condition(one)}" for one in facts.serving)
    return f"no worker that serves {facts.queue} can take it: {states}"


def _in_line(facts: TaskFacts) -> str:
    slots = sum(one.concurrency or 0 for one in facts.serving if _takes(one))
    behind = "it is the next one of its queue" if facts.ahead == 0 else f"it waits behind {_ahead(facts)}"
    rivals = [f"{count} of {queue}" for queue, count in facts.first.items() if count]
    if rivals:
        behind += f"; {' and '.join(rivals)} go first, having the higher priority"
    return f"{behind}; {_count(len(facts.serving), 'worker')} with {_count(slots, 'slot')} serve the queue"


def _active(facts: TaskFacts) -> str:
    if facts.lease_until_wall_s is None:
        return f"it was taken and never claimed: it goes back to pending within seconds{_if_served(facts)}"
    left_s = facts.lease_until_wall_s - facts.now_wall_s
    holder = facts.holder
    if left_s <= 0:
        return (
            f"the lease of {facts.owner or 'its worker'} ran out {span(left_s)} ago: "
            f"{_recovered(facts)} within seconds{_if_served(facts)}"
        )
    if not facts.owner:
        return f"it is running, on a worker that does not sign its tasks; its lease has {span(left_s)} left"
    if holder is None or not holder.alive:
        return (
            f"its worker {facts.owner} is dead or cut off: when its lease expires in {span(left_s)}, "
            f"{_recovered(facts)}{_if_served(facts)}"
        )
    healthy = "" if holder.healthy else f", which is {_condition(holder)}"
    return f"it is running on {facts.owner}{healthy}; its lease has {span(left_s)} left and is prolonged"


def _scheduled(facts: TaskFacts) -> str:
    return f"it is scheduled: {_due(facts)}"


def _retry(facts: TaskFacts) -> str:
    if not facts.retried:
        # A failure is charged before it waits.
        return f"a worker could not run it and put it off, without spending a retry: {_due(facts)}"
    return f"it failed and waits for retry {facts.retried} of {facts.max_retry}: {_due(facts)}"


def _completed(facts: TaskFacts) -> str:
    when = _ago(facts, facts.completed_wall_s)
    return f"it has ended: completed{when}"


def _archived(facts: TaskFacts) -> str:
    spent = f"after {facts.retried} of {facts.max_retry} retries"
    return f"it has ended: failed for good{_ago(facts, facts.failed_wall_s)}, {spent}"


def _due(facts: TaskFacts) -> str:
    left_s = (facts.due_wall_s or 0) - facts.now_wall_s
    if left_s > 0:
        return f"it is due in {span(left_s)}"
    return f"it has been due for {span(left_s)} and becomes pending within seconds{_if_served(facts)}"


def _recovered(facts: TaskFacts) -> str:
    if facts.retried < facts.max_retry:
        return f"another worker puts it up for retry {facts.retried + 1} of {facts.max_retry}"
    return "another worker archives it, since it has no retry left"


def _if_served(facts: TaskFacts) -> str:
    return "" if facts.serving else f", once a worker serves {facts.queue}: none lives now"


def _waited_too_long(facts: TaskFacts) -> bool:
    limit_s, since_s = facts.pending_timeout_s, facts.pending_since_wall_s
    return bool(limit_s and since_s and facts.now_wall_s - since_s > limit_s)


def _takes(one: WorkerFacts) -> bool:
    return one.status == "running" and not one.quiet and one.recovery in ("idle", "")


def _condition(one: WorkerFacts) -> str:
    if one.recovery in ("degraded", "recovering"):
        return one.recovery
    if one.quiet:
        return "quiet"
    return one.status if one.status != "running" else "unhealthy"


def _ahead(facts: TaskFacts) -> str:
    if facts.ahead is None:
        return f"thousands of {facts.pending} tasks"
    return _count(facts.ahead, "task") + " of its queue"


def _ago(facts: TaskFacts, at_wall_s: float | None) -> str:
    return f" {span(facts.now_wall_s - at_wall_s)} ago" if at_wall_s else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _names(workers: Sequence[WorkerFacts]) -> str:
    return ", ".join(one.worker_id for one in workers)
