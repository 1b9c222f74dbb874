"""``runqy-harness queues``: how full they are, and whether anything is taken out of them."""

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from harness.dev.operate import ends
from harness.output import table, words
from harness.output.table import Column
from harness.output.terminal import Style, Terminal, json_line, one_line
from harness.queue.inspector import Inspector
from harness.queue.operations import NotPossible, Operations
from harness.queue.views import STATES

#: Seconds between two looks at a queue that drains.
LOOK_EVERY_S = 0.2
COLUMNS = (
    Column("QUEUE"),
    *(Column(state.upper(), right=True, words=f"{{}} {state}") for state in STATES),
    Column("PROCESSED", right=True, words="{} processed"),
    Column("FAILED", right=True, words="{} failed"),
    Column("WAITING", right=True, words="waiting {}"),
    Column("INTAKE", words="intake {}", style=lambda text: Style.WARNING if text == "paused" else None),
)


def expand(inspector: Inspector, names: Sequence[str]) -> list[str]:
    """The sub-queues that ``names`` mean: a parent queue means its sub-queues; without any, all there are.

    Raises :class:`~harness.dev.operate.ends.Unknown` for a name no task was ever sent to.
    """
    known = [queue.name for queue in inspector.queues()]
    if not names:
        return known
    found: dict[str, None] = {}
    for name in names:
        meant = [each for each in known if each == name or ("." not in name and each.startswith(f"{name}."))]
        if not meant:
            there = ", ".join(known) or "none"
            raise ends.Unknown(f"queue {name}: no task was ever sent to it; there are: {there}")
        found |= dict.fromkeys(meant)
    return list(found)


def list_(db: Any, names: Sequence[str], *, as_json: bool) -> int:
    """Print the queues, or those of ``names``."""
    inspector = Inspector(db)
    queues = [inspector.queue(name) for name in expand(inspector, names)]
    if as_json:
        for queue in queues:
            print(json_line(queue.as_json()))
        return ends.DONE
    rows = [
        (
            queue.name,
            *(str(queue.depths.get(state, 0)) for state in STATES),
            str(queue.processed),
            str(queue.failed),
            words.length(queue.waiting_s) if queue.waiting_s is not None else "",
            "paused" if queue.paused else "open",
        )
        for queue in queues
    ]
    table.write(Terminal(sys.stdout), COLUMNS, rows)
    return ends.DONE


def pause(db: Any, names: Sequence[str], *, as_json: bool) -> int:
    """Have nothing taken out of the queues."""
    return _each(db, names, Operations(db).pause, "paused", as_json=as_json)


def resume(db: Any, names: Sequence[str], *, as_json: bool) -> int:
    """Have tasks taken out of the queues again."""
    return _each(db, names, Operations(db).resume, "resumed", as_json=as_json)


def drain(db: Any, names: Sequence[str], wait_s: float, *, as_json: bool) -> int:
    """Pause the queues, and wait until what runs has ended; they stay paused."""
    inspector, operations = Inspector(db), Operations(db)
    queues = expand(inspector, names)
    for queue in queues:
        # The pause of another operator will do.
        with contextlib.suppress(NotPossible):
            operations.pause(queue)
    until_s = time.monotonic() + wait_s
    status = ends.DONE
    for queue in queues:
        while active := inspector.queue(queue).depths["active"]:
            if (left_s := until_s - time.monotonic()) <= 0:
                break
            time.sleep(min(LOOK_EVERY_S, left_s))
        status = max(status, ends.NOT_IN_TIME if active else ends.DONE)
        said = f"paused, {active} tasks still run" if active else "paused, and nothing runs"
        _say(queue, said, done=not active, as_json=as_json)
    return status


def _each(db: Any, names: Sequence[str], do: Callable[[str], None], done: str, *, as_json: bool) -> int:
    status = ends.DONE
    for queue in expand(Inspector(db), names):
        try:
            do(queue)
        except NotPossible as exc:
            status = ends.NOT_POSSIBLE
            _say(queue, str(exc), done=False, as_json=as_json)
        else:
            _say(queue, done, done=True, as_json=as_json)
    return status


def _say(queue: str, said: str, *, done: bool, as_json: bool) -> None:
    if as_json:
        print(json_line({"queue": queue, "done": done, "said": said}))
    elif done:
        print(one_line(f"{queue}  {said}"), flush=True)
    else:
        print(one_line(said if said.startswith("queue ") else f"{queue}  {said}"), file=sys.stderr)
