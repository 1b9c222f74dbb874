"""A snapshot looked up: tasks, where they are, lookups, workers. Pure.

Only keys of the right type are in it: one that is wrong is told once, by the rule about types.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from harness.queue import wire
from harness.queue.strict import layout
from harness.queue.strict.snapshot import Entry, Snapshot


class Found(NamedTuple):
    """What a rule objects to: the key, what is seen there, and what a strict tool does with it."""

    key: str
    seen: str
    then: str


class Name(NamedTuple):
    """Which task: ids are unique within a queue only."""

    queue: str
    id: str


@dataclass(frozen=True)
class Task:
    """A task's hash; ``message`` is None where there is none that can be read, ``unreadable`` says why."""

    name: Name
    key: str
    entry: Entry
    message: Mapping[str, Any] | None
    unreadable: str

    @property
    def fields(self) -> Mapping[str, bytes]:
        """The hash."""
        return self.entry.fields

    @property
    def state(self) -> str:
        """What it says of itself."""
        return self.text("state")

    @property
    def is_remains(self) -> bool:
        """Whether it has neither a message nor the form without one: what was written after a deletion."""
        return not {"msg", "type", "payload"} & self.fields.keys()

    def text(self, name: str) -> str:
        """A field, empty where there is none."""
        return self.fields.get(name, b"").decode(errors="backslashreplace")

    def number(self, name: str) -> int:
        """A field that is a whole number; 0 where it is none."""
        return whole(self.text(name)) or 0


class View:
    """What the rules look at."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.keys = snapshot.keys
        self.now_s = snapshot.now_s

    def each(self, *shapes: str) -> Iterator[tuple[str, Mapping[str, str], Entry]]:
        """Keys of these shapes, with the parts of their names."""
        for key, entry in self.keys.items():
            found = layout.of(key)
            if found and found[0].name in shapes and found[0].kind == entry.kind:
                yield key, found[1], entry

    @cached_property
    def queues(self) -> frozenset[str]:
        """Those that are registered."""
        return frozenset(queue for _, _, entry in self.each("queues") for queue in entry.items)

    @cached_property
    def tasks(self) -> Mapping[Name, Task]:
        """Every task's hash."""
        return {
            Name(parts["queue"], parts["id"]): _task(key, Name(parts["queue"], parts["id"]), entry)
            for key, parts, entry in self.each("task")
        }

    @cached_property
    def places(self) -> Mapping[Name, list[str]]:
        """Where each id stands; a place twice where it stands there twice."""
        found: defaultdict[Name, list[str]] = defaultdict(list)
        for place in layout.PLACES:
            for _, parts, entry in self.each(place):
                for task_id in (*entry.items, *entry.scores):
                    found[Name(parts["queue"], task_id)].append(place)
        return found

    def scores(self, *places: str) -> Iterator[tuple[str, Name, str]]:
        """Key, task and score (as text) of every entry of these sorted sets."""
        for key, parts, entry in self.each(*places):
            for task_id, score in entry.scores.items():
                yield key, Name(parts["queue"], task_id), score

    def score_s(self, place: str, name: Name) -> float | None:
        """A task's score."""
        entry = self.keys.get(f"asynq:{{{name.queue}}}:{place}")
        score = entry.scores.get(name.id) if entry else None
        return float(score) if score is not None else None


def whole(text: str) -> int | None:
    """The whole number a text is, to a reader as strict as Go's strconv.ParseInt."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() else None


def _task(key: str, name: Name, entry: Entry) -> Task:
    encoded = entry.fields.get("msg")
    if encoded is None:
        return Task(name, key, entry, None, "")
    try:
        return Task(name, key, entry, wire.decode(encoded), "")
    except wire.WireError as exc:
        return Task(name, key, entry, None, str(exc))
