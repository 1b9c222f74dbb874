"""What the queue engine must do, in plain Python: told of every command that reached Redis and of the true
reply, it says what each task is now and objects to a reply that cannot be.

Written from the rules (one place at a time, fenced settlements, two budgets), not from the scripts. The test
knows the true replies because it loses them itself, see :class:`Line`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from appliance.errors import QueueUnavailable
from appliance.queue import scripts
from appliance.queue.connection import Channel, Command
from appliance.queue.scripts import Script
from harness.queue import asynq, wire
from tests.contract.conftest import PREFIX, QUEUE

#: Where a task is between a blocking move and its claim: in the list active, still said to be pending.
MOVED = "moved"
WAITING = ("scheduled", "retry")
ENDED = ("completed", "archived")


@dataclass(slots=True)
class Known:
    """One task as it has to be. ``lease`` is running, out, or none; ``settled_by_owner`` says whether the
    current attempt was ended by the worker that ran it."""

    place: str
    owner: str = ""
    attempt: int = 0
    retried: int = 0
    first_taken: str = ""
    lease: str = "none"
    due: bool = False
    settled_by_owner: bool = False

    def holds(self, owner: str, attempt: int) -> bool:
        return self.place == "active" and (self.owner, self.attempt) == (owner, attempt)


@dataclass(slots=True)
class Model:
    """All tasks of one queue. ``blemished`` are those that another program has put into two places at once;
    they may not be lost, more cannot be said of them. ``gone`` were deleted, ``over`` says when those had
    first been taken: no run of theirs may settle another task of that id."""

    tasks: dict[str, Known] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    over: set[tuple[str, str]] = field(default_factory=set)
    blemished: set[str] = field(default_factory=set)
    counters: Counter[str] = field(default_factory=Counter)
    paused: bool = False

    def clean(self, *places: str) -> list[str]:
        """Tasks in one of ``places``, or anywhere, that we know everything about."""
        return [
            task_id
            for task_id, task in self.tasks.items()
            if task_id not in self.blemished and (not places or task.place in places)
        ]

    def delete(self, task_id: str) -> None:
        """Its hash is no more."""
        self.over.add((task_id, self.tasks.pop(task_id).first_taken))
        self.gone.add(task_id)

    def observe(self, command: Command, reply: Any) -> None:
        """Take note of a command that was carried out; AssertionError if the reply cannot be."""
        name = _names(scripts.ALL).get(command[1]) if command[0] in {"EVALSHA", "EVAL"} else None
        if name is not None and not isinstance(reply, Exception):
            getattr(self, f"_{name}")([_text(argument) for argument in command[4:]], reply)

    # One method a script: its arguments, its reply ---------------------------------------------------

    def _take(self, arguments: list[str], reply: Any) -> None:
        owner, _, _, _, count = arguments
        if reply[0] == 2:
            assert reply[3:] == []
            return
        before = len(self.clean("pending"))
        claimed = self._claims(owner, reply, "pending")
        assert bool(reply[0]) is self.paused
        if self.paused:
            assert claimed == []
        elif not self.blemished:
            assert len(claimed) == min(int(count), before), "a take brings what there is"

    def _activate(self, arguments: list[str], reply: Any) -> None:
        owner, _, _, _, *arrived = arguments
        if reply[0] == 2:
            assert reply[3:] == []
            return
        if self.paused:
            assert reply[3:] == []
            self._put_back(arrived, MOVED)
            return
        mine = {task_id for task_id in arrived if task_id in self.clean(MOVED)}
        claimed = self._claims(owner, reply, MOVED)
        assert mine == set(claimed) - self.blemished

    def _complete(self, arguments: list[str], reply: Any) -> None:
        for task_id, owner, attempt, word in _rows(arguments[1:], 6, reply):
            if self._verdict(task_id, owner, attempt, word):
                self.counters["processed"] += 1
                self._settle(task_id, "completed")

    def _retry(self, arguments: list[str], reply: Any) -> None:
        for task_id, owner, attempt, word in _rows(arguments[1:], 8, reply):
            if self._verdict(task_id, owner, attempt, word, expired=arguments[0] == "1"):
                self._fail(task_id, "retry", recovered=arguments[0] == "1")
                self.tasks[task_id].retried += 1

    def _archive(self, arguments: list[str], reply: Any) -> None:
        for task_id, owner, attempt, word in _rows(arguments[1:], 7, reply):
            if self._verdict(task_id, owner, attempt, word, expired=arguments[0] == "1"):
                self._fail(task_id, "archived", recovered=arguments[0] == "1")

    def _return(self, arguments: list[str], reply: Any) -> None:
        for task_id, owner, attempt, word in _rows(arguments, 3, reply):
            if self._verdict(task_id, owner, attempt, word):
                self._settle(task_id, "pending")

    def _defer(self, arguments: list[str], reply: Any) -> None:
        for task_id, owner, attempt, word in _rows(arguments, 5, reply):
            if self._verdict(task_id, owner, attempt, word):
                self._settle(task_id, "retry")

    def _extend(self, arguments: list[str], reply: Any) -> None:
        for task_id, owner, attempt, word in _rows(arguments[1:], 3, reply):
            if self._verdict(task_id, owner, attempt, word):
                self.tasks[task_id].lease = "running"

    def _lapsed(self, _: list[str], reply: Any) -> None:
        found = {_text(entry[0]) for entry in reply}
        late = {task_id for task_id in self.clean() if self.tasks[task_id].lease == "out"}
        assert late == found - self.blemished

    def _forward(self, _: list[str], reply: Any) -> None:
        due = [task_id for task_id in self.clean(*WAITING) if self.tasks[task_id].due]
        assert reply[0] == len(due) or self.blemished
        for task_id in due:
            self.tasks[task_id].place, self.tasks[task_id].due = "pending", False

    def _stranded(self, _: list[str], reply: Any) -> None:
        found = {_text(entry) for entry in reply}
        assert set(self.clean(MOVED)) == found - self.blemished - self.gone

    def _reclaim(self, arguments: list[str], reply: Any) -> None:
        returned = self._put_back(arguments, MOVED)
        assert reply == len(returned) or self.blemished

    def _reconcile(self, arguments: list[str], reply: Any) -> None:
        owner, *known = arguments
        ours = [task_id for task_id in self.clean("active") if self.tasks[task_id].owner == owner]
        unknown = [task_id for task_id in ours if task_id not in known]
        assert set(unknown) == {_text(entry) for entry in reply} - self.blemished
        self._put_back(unknown, "active")

    def _purge(self, _: list[str], reply: Any) -> None:
        old = {task_id for task_id in self.clean(*ENDED) if self.tasks[task_id].due}
        purged = {_text(entry) for entry in reply[1]}
        assert old == purged - self.blemished - self.gone
        for task_id in purged & self.tasks.keys():
            assert self.tasks[task_id].place in ENDED or task_id in self.blemished
            self.delete(task_id)
        self.gone |= purged

    def _look_again(self, _: list[str], reply: Any) -> None:
        """Changes no task's place."""

    # What they share ---------------------------------------------------------------------------------

    def _claims(self, owner: str, reply: Any, place: str) -> list[str]:
        claimed = [_text(entry[0]) for entry in reply[3:]]
        for task_id, entry in zip(claimed, reply[3:], strict=True):
            assert task_id in self.tasks, f"{task_id} was deleted and is served all the same"
            task = self.tasks[task_id]
            if task_id not in self.blemished:
                assert task.place == place, f"{task_id} is {task.place} and is served all the same"
                assert _attempt(entry[1])[0] == task.attempt + 1
            number, first_taken = _attempt(entry[1])
            self.tasks[task_id] = Known("active", owner, number, task.retried, first_taken, lease="running")
        return claimed

    def _verdict(self, task_id: str, owner: str, attempt: str, word: str, *, expired: bool = False) -> bool:
        """Whether the fence let it pass; it must exactly when the attempt is this owner's and not over."""
        if task_id in self.blemished:
            assert word != "done" or (task_id, _attempt(attempt)[1]) not in self.over, f"{task_id} is another"
            return word == "done"
        task = self.tasks.get(task_id)
        if task is None:
            expected = "gone"
        elif task.holds(owner, _attempt(attempt)[0]):
            expected = "lost" if expired and task.lease != "out" else "done"
        else:
            same = (task.owner, task.attempt) == (owner, _attempt(attempt)[0])
            expected = "settled" if same and task.settled_by_owner else "lost"
        assert word == expected, f"{task_id}: {word}, where {expected} is right"
        return word == "done"

    def _fail(self, task_id: str, place: str, *, recovered: bool) -> None:
        self.counters["processed"] += 1
        self.counters["failed"] += 1
        self._settle(task_id, place, by_owner=not recovered)

    def _settle(self, task_id: str, place: str, *, by_owner: bool = True) -> None:
        task = self.tasks[task_id]
        task.place, task.lease, task.due, task.settled_by_owner = place, "none", False, by_owner

    def _put_back(self, task_ids: Sequence[str], place: str) -> list[str]:
        returned = [task_id for task_id in task_ids if task_id in self.clean(place)]
        for task_id in returned:
            self._settle(task_id, "pending", by_owner=False)
        return returned


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything that stands in Redis, read at one instant."""

    places: dict[str, list[str]]
    leases: dict[str, float]
    hashes: dict[str, dict[str, Any]]
    counters: dict[str, int]

    def of(self, task_id: str) -> list[str]:
        """The places a task is in, each as often as it is in it."""
        return [place for place, ids in self.places.items() for entry in ids if entry == task_id]


def look(channel: Channel, task_ids: Sequence[str]) -> Sight:
    """Read it all."""
    lists = [("LRANGE", f"{PREFIX}{place}", 0, -1) for place in ("pending", "active")]
    shelves = [("ZRANGE", f"{PREFIX}{place}", 0, -1, "WITHSCORES") for place in asynq.PLACES[2:]]
    fields = ("state", "owner", "attempt", "retried", "msg")
    commands: list[Command] = [
        ("MULTI",),
        *lists,
        *shelves,
        ("ZRANGE", f"{PREFIX}lease", 0, -1, "WITHSCORES"),
        ("MGET", f"{PREFIX}processed", f"{PREFIX}failed"),
        *(("HMGET", asynq.task_key(QUEUE, task_id), *fields) for task_id in task_ids),
        ("EXEC",),
    ]
    replies = channel.batch(commands)[-1]
    lease, counters, *hashes = replies[6:]
    scores = [score for shelf in replies[2:6] for score in shelf[1::2]]
    assert all(score.isdigit() for score in scores), (
        f"asynq's tools fail on a score that is no integer: {scores}"
    )
    ids = [*replies[:2], *(shelf[::2] for shelf in replies[2:6])]
    return Sight(
        {place: [_text(entry) for entry in found] for place, found in zip(asynq.PLACES, ids, strict=True)},
        {_text(entry): float(score) for entry, score in zip(lease[::2], lease[1::2], strict=True)},
        {
            task_id: dict(zip(fields, values, strict=True))
            for task_id, values in zip(task_ids, hashes, strict=True)
        },
        {name: int(value or 0) for name, value in zip(("processed", "failed"), counters, strict=True)},
    )


def compare(model: Model, sight: Sight) -> None:
    """The invariants: what stands in Redis is what the model says, and nothing is in two places or none."""
    for task_id, task in model.tasks.items():
        found = sight.of(task_id)
        if task_id in model.blemished:
            assert found, f"{task_id} is lost"
            continue
        listed = "active" if task.place == MOVED else task.place
        assert found == [listed], f"{task_id} is in {found}, and {task.place} is right"
        stored = sight.hashes[task_id]
        state = _text(stored["state"])
        assert task.place in {state, MOVED}, f"{task_id} is {task.place} and says {state}"
        assert (task_id in sight.leases) is (task.place == "active"), f"{task_id}: lease without work"
        assert int(stored["attempt"] or 0) == task.attempt
        if task.place == "active":
            assert _text(stored["owner"]) == task.owner
        assert int(stored["retried"] or 0) == task.retried
        assert wire.decode(stored["msg"]).get("retried", 0) == task.retried
    for task_id in model.gone:
        assert sight.hashes[task_id]["state"] is None, f"{task_id} was deleted and is there again"
    assert sight.counters == {name: model.counters[name] for name in ("processed", "failed")}


class Line:
    """A channel that breaks where the test says, with a witness who sees what Redis answered nevertheless.

    ``passes`` is how many more commands reach Redis; the one after them does not, and the worker hears
    nothing of the whole batch. None: the line is sound.
    """

    def __init__(self, channel: Channel, witness: Callable[[Command, Any], None]) -> None:
        self._channel = channel
        self._witness = witness
        self.passes: int | None = None

    def batch(self, commands: Sequence[Command]) -> list[Any]:
        through = len(commands) if self.passes is None else min(self.passes, len(commands))
        replies = self._channel.batch(commands[:through]) if through else []
        for command, reply in zip(commands, replies, strict=False):
            self._witness(command, reply)
        if self.passes is None:
            return replies
        self.passes -= through
        # Nothing is left: the answers to what did get through are lost with the line.
        if self.passes == 0:
            raise QueueUnavailable("the test cut the line")
        return replies


@lru_cache(maxsize=1)
def _names(all_scripts: tuple[Script, ...]) -> dict[Any, str]:
    return {known: script.name for script in all_scripts for known in (script.digest, script.source)}


def _rows(arguments: Sequence[str], width: int, reply: Any) -> list[tuple[str, str, str, str]]:
    """Id, owner, attempt and the answered word of each settlement."""
    starts = range(0, len(arguments), width)
    return [
        (arguments[at], arguments[at + 1], arguments[at + 2], _text(word))
        for at, word in zip(starts, reply, strict=True)
    ]


def _attempt(text: Any) -> tuple[int, str]:
    """Its number, and when its task was first taken, which tells tasks of one id apart."""
    number, _, first_taken = _text(text).partition("-")
    return int(number), first_taken


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
