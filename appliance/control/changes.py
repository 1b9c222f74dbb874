"""What of a queue's new contract a running worker can take on, and what takes a restart. Pure."""

from appliance.control.contract import Registration, SubQueue


def refusal(old: Registration, new: Registration) -> str | None:
    """Why the new contract cannot be deployed beside the old one at all, or None."""
    before, now = old.deployment.mode, new.deployment.mode
    if now is not before:
        return f"the queue's mode is {now.value} now, and was {before.value}: restart the worker for that"
    return None


def left_for_restart(
    old: Registration,
    old_queues: tuple[SubQueue, ...],
    new: Registration,
    new_queues: tuple[SubQueue, ...],
) -> tuple[str, ...]:
    """What changed beside the code and does not take effect before the worker is restarted."""
    found = []
    if _where(new) != _where(old):
        found.append(f"Redis is at {new.redis.host}:{new.redis.port} now, or is reached in another way")
    before, now = _priorities(old_queues), _priorities(new_queues)
    found += [f"sub-queue {name} is new" for name in sorted(now.keys() - before.keys())]
    found += [f"sub-queue {name} is gone" for name in sorted(before.keys() - now.keys())]
    found += [
        f"the priority of {name} is {now[name]} now"
        for name in sorted(now.keys() & before.keys())
        if now[name] != before[name]
    ]
    if new.deployment.redis_storage != old.deployment.redis_storage:
        kept = "kept" if new.deployment.redis_storage else "dropped"
        found.append(f"results are to be {kept} now")
    return tuple(found)


def _where(contract: Registration) -> tuple[str, int, str, int, bool]:
    redis = contract.redis
    return redis.host, redis.port, redis.password, redis.db, redis.use_tls


def _priorities(queues: tuple[SubQueue, ...]) -> dict[str, int]:
    return {queue.name: queue.priority for queue in queues}
