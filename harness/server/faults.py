"""How the server mistreats requests on purpose: what a fault may be, and the table of those that are on."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

#: When a connection is dropped instead of being answered: before the request's body is read, when it has
#: been read and nothing was done, or when all was done and only the answer is lost.
Drop = Literal["unread", "undone", "unanswered"]
GARBAGE = b'<html>{"redis": \xff'
#: Pieces in which a slow body goes out.
SLOW_PIECES = 20


def _must_be(name: str, value: Any, fits: bool, allowed: str) -> None:
    if not fits:
        raise ValueError(f"a fault's {name} is {value!r}: expected {allowed}")


def _whole(value: Any, least: int, most: int) -> bool:
    return value is None or (
        isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    )


def _seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


@dataclass(frozen=True)
class Fault:
    """What to do with a request; several things at once where that makes sense.

    ``delay_s`` comes first, then ``drop``. ``status`` (with ``headers``, such as ``Retry-After``) and
    ``garbage`` (200 and no JSON) answer instead of doing what was asked. Of whatever is answered the
    ``content_type`` can be another one, the body can be filled up to ``huge_bytes`` with blanks, go out over
    ``slow_s`` seconds, or end after ``truncate_bytes`` although more were promised.
    ``times`` requests are treated so, None: all, until it is cleared.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    garbage: bool = False
    delay_s: float = 0.0
    drop: Drop | None = None
    content_type: str | None = None
    huge_bytes: int | None = None
    slow_s: float = 0.0
    truncate_bytes: int | None = None
    times: int | None = None

    def __post_init__(self) -> None:
        _must_be("status", self.status, _whole(self.status, 200, 599), "200 to 599")
        headers = isinstance(self.headers, Mapping) and all(
            isinstance(text, str) and text.isprintable() for item in self.headers.items() for text in item
        )
        _must_be("headers", self.headers, headers, "an object of texts")
        _must_be("garbage", self.garbage, isinstance(self.garbage, bool), "true or false")
        _must_be("delay_s", self.delay_s, _seconds(self.delay_s), "seconds, 0 or more")
        drops = get_args(Drop)
        _must_be("drop", self.drop, self.drop is None or self.drop in drops, f"one of {', '.join(drops)}")
        text = self.content_type is None or (
            isinstance(self.content_type, str) and self.content_type.isprintable()
        )
        _must_be("content_type", self.content_type, text, "a text")
        huge = _whole(self.huge_bytes, 1, 1 << 30)
        _must_be("huge_bytes", self.huge_bytes, huge, "a whole number, 1 to 1 GiB")
        _must_be("slow_s", self.slow_s, _seconds(self.slow_s), "seconds, 0 or more")
        cut = _whole(self.truncate_bytes, 0, 1 << 30)
        _must_be("truncate_bytes", self.truncate_bytes, cut, "a whole number, 0 or more")
        _must_be("times", self.times, _whole(self.times, 1, 1 << 30), "a whole number, 1 or more")

    @property
    def answers(self) -> bool:
        """Whether the request is answered without doing what it asks for."""
        return self.garbage or self.status is not None


#: Treats requests as they deserve.
NOTHING = Fault()


class Faults:
    """The table of faults, by route as it is written in the API: ``/queue/{id}``, not ``/queue/17``.

    A route's faults take their turns in the order in which they were added. Safe to use from several
    threads.
    """

    def __init__(self, routes: Iterable[str]) -> None:
        self._routes = tuple(dict.fromkeys(routes))
        self._table: dict[str, list[Fault]] = {}
        self._lock = threading.Lock()

    def add(self, route: str, fault: Fault) -> None:
        """Mistreat ``route``, once the faults it has are used up.

        Raises ValueError for a route that is none, and for a fault that would do nothing.
        """
        self._check(route)
        if replace(fault, times=None) == NOTHING:
            raise ValueError("a fault that does nothing: expected one of status, garbage, delay_s, drop, …")
        with self._lock:
            self._table.setdefault(route, []).append(fault)

    def clear(self, route: str | None = None) -> None:
        """Behave again, there or everywhere. Raises ValueError for a route that is none."""
        if route is not None:
            self._check(route)
        with self._lock:
            for each in [route] if route is not None else list(self._table):
                self._table.pop(each, None)

    def take(self, route: str) -> Fault | None:
        """The fault for one request to ``route``; counts it."""
        with self._lock:
            faults = self._table.get(route)
            if not faults:
                return None
            fault = faults[0]
            if fault.times is not None:
                faults[:1] = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
            return fault

    def left(self) -> list[dict[str, Any]]:
        """What is still to come, each as it could be added over HTTP."""
        nothing = asdict(NOTHING)
        with self._lock:
            return [
                {
                    "path": route,
                    **{name: value for name, value in asdict(fault).items() if value != nothing[name]},
                }
                for route, faults in self._table.items()
                for fault in faults
            ]

    def _check(self, route: Any) -> None:
        if route not in self._routes:
            raise ValueError(f"path is {route!r}: expected one of {', '.join(self._routes)}")


def from_json(body: Mapping[str, Any]) -> Fault:
    """The fault that a request's body describes. Raises ValueError that names the field."""
    known: Sequence[str] = tuple(Fault.__dataclass_fields__)
    strangers = [name for name in body if name not in known]
    if strangers:
        raise ValueError(f"unknown field {strangers[0]!r}, known: path, {', '.join(known)}")
    return Fault(**body)
