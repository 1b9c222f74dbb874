"""Rules about keys as such: none but known ones, each of its type, each with the life it should have."""

from collections.abc import Iterator

from harness.queue.strict import layout
from harness.queue.strict.layout import Life
from harness.queue.strict.view import Found, View


def known(view: View) -> Iterator[Found]:
    """Nothing unknown under ``asynq:``."""
    for key, entry in view.keys.items():
        if layout.of(key) is None:
            yield Found(
                key,
                f"a {entry.kind} that is unknown",
                "no tool reads it, and no deletion of a queue finds it",
            )


def types(view: View) -> Iterator[Found]:
    """Each key is of its type."""
    for key, entry in view.keys.items():
        found = layout.of(key)
        if found and found[0].kind != entry.kind:
            yield Found(
                key,
                f"a {entry.kind}, expected a {found[0].kind}",
                "WRONGTYPE: every call that reads it is HTTP 500",
            )


def lifetimes(view: View) -> Iterator[Found]:
    """Each key lives as long as its kind may."""
    for key, entry in view.keys.items():
        found = layout.of(key)
        if found is None:
            continue
        life = found[0].life
        if life is Life.FOR_EVER and entry.ttl_s is not None:
            yield Found(
                key, f"it expires in {entry.ttl_s:g} s", "what is in it goes with it, tasks or counts"
            )
        if (life is Life.ENDS or isinstance(life, int)) and entry.ttl_s is None:
            yield Found(key, "it never expires", "it stays when what it belongs to has gone")
        # A life is written in whole seconds, and read a moment later.
        if isinstance(life, int) and entry.ttl_s is not None and entry.ttl_s > life:
            yield Found(
                key, f"it expires in {entry.ttl_s:g} s, expected {life} at most", "it outlives its use"
            )


def registered(view: View) -> Iterator[Found]:
    """Each queue that has a key is in ``asynq:queues``."""
    seen = {
        parts["queue"]
        for _, parts, _ in view.each(*(shape.name for shape in layout.SHAPES))
        if "queue" in parts
    }
    for queue in sorted(seen - view.queues):
        yield Found(
            "asynq:queues",
            f"{queue} is not in it",
            "the inspector knows no such queue → HTTP 500 for its tasks",
        )
