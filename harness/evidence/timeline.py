"""What happened in a run, in order: the history that reports draw and checkers judge.

An event has a ``kind`` in the form ``subject.what``. Kinds and their fields, beside what a caller likes
to add:

| kind | source | fields |
|---|---|---|
| ``worker.started``, ``.exited`` | worker's name | ``.exited``: ``status`` (a signal's is negative) |
| ``worker.state`` | worker's name or id | ``status``, ``quiet``, ``healthy``, ``recovery``, on a change |
| ``diary.*`` | worker's name | a line of its handlers' diary, by its event: ``pid``, ``task_id`` … |
| ``fault.began``, ``.ended`` | ``faults`` | ``fault`` (its name), ``target``, parameters; ``id`` joins both |
| ``queue.depths`` | queue's name | one number per place of ``asynq.PLACES``, when one changed |
| ``restart.expected`` | ``scenario`` | ``restart`` (1 is the first), ``after_s``: what it should wait |
| ``scenario.result`` | ``scenario`` | ``passed`` |
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, order=True)
class Event:
    """One thing that happened. ``at_s`` is unix seconds; ``fields`` are JSON."""

    at_s: float
    source: str = field(compare=False)
    kind: str = field(compare=False)
    fields: Mapping[str, Any] = field(compare=False, default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The event as a JSON object."""
        return {"at_s": self.at_s, "source": self.source, "kind": self.kind, "fields": dict(self.fields)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What :meth:`as_json` gave. Raises KeyError where it is something else."""
        return cls(float(value["at_s"]), value["source"], value["kind"], value["fields"])


class Timeline:
    """Events as they come in, from any thread."""

    def __init__(self, clock: Callable[[], float] = time.time, events: Iterable[Event] = ()) -> None:
        """``clock`` gives unix seconds."""
        self._clock = clock
        self._events = list(events)
        self._lock = threading.Lock()

    def record(self, source: str, kind: str, /, *, at_s: float | None = None, **fields: Any) -> Event:
        """Add an event that happened now, or at ``at_s``."""
        event = Event(self._clock() if at_s is None else at_s, source, kind, fields)
        self.add(event)
        return event

    def add(self, *events: Event) -> None:
        """Add events from elsewhere."""
        with self._lock:
            self._events += events

    @property
    def events(self) -> tuple[Event, ...]:
        """All so far, the earliest first."""
        with self._lock:
            return tuple(sorted(self._events))

    def of(self, prefix: str, source: str | None = None) -> list[Event]:
        """Those whose kind is ``prefix`` or begins with it and a dot (``fault``: ``fault.began`` …)."""
        return [
            event
            for event in self.events
            if (event.kind == prefix or event.kind.startswith(f"{prefix}."))
            and source in {None, event.source}
        ]

    def as_json(self) -> list[dict[str, Any]]:
        """All events as JSON objects."""
        return [event.as_json() for event in self.events]

    @classmethod
    def from_json(cls, values: Iterable[Mapping[str, Any]]) -> Self:
        """What :meth:`as_json` gave."""
        return cls(events=[Event.from_json(value) for value in values])

    def write(self, path: Path) -> None:
        """Write the events, a JSON line each."""
        path.write_text("".join(json.dumps(value) + "\n" for value in self.as_json()))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what :meth:`write` wrote."""
        return cls.from_json(json.loads(line) for line in path.read_text().splitlines())
