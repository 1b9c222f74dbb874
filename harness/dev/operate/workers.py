"""``runqy-harness workers``: who works, on what, and how its task processes recover."""

import sys
import time
from typing import Any

from harness.dev.operate import ends
from harness.output import table, words
from harness.output.table import Column
from harness.output.terminal import Style, Terminal, json_line, one_line
from harness.queue.inspector import Inspector, NotThere
from harness.queue.views import WorkerView

_STYLES = {"running": Style.GOOD, "stale": Style.BAD, "not healthy": Style.BAD, "quiet": Style.WARNING}
_RECOVERY_STYLES = {"recovering": Style.WARNING, "degraded": Style.BAD}
COLUMNS = (
    Column("WORKER"),
    Column("STATUS", style=_STYLES.get),
    Column("RECOVERY", style=lambda text: _RECOVERY_STYLES.get(text.partition(" ")[0])),
    Column("RESTARTS", right=True, words="{} restarts"),
    Column("SLOTS", right=True, words="{} slots"),
    Column("BEAT", words="beat {}"),
    Column("QUEUES"),
)
#: From the best to the worst.
_STATES = ("idle", "recovering", "degraded")
#: An amount of memory or of processors' time that is none, but a number that another program wrote there.
_TOO_MUCH = 2**63


def list_(db: Any, *, as_json: bool) -> int:
    """Print the workers."""
    workers, now_s = Inspector(db).workers(), time.time()
    if as_json:
        for worker in workers:
            print(json_line(worker.as_json()))
        return ends.DONE
    rows = [
        (
            worker.id,
            _status(worker),
            _recovery(worker),
            str(sum(_count(state.get("total_restarts")) for state in worker.recovery.values())),
            "" if worker.concurrency is None else str(worker.concurrency),
            words.when(worker.last_beat_s, now_s),
            ",".join(worker.queues),
        )
        for worker in workers
    ]
    table.write(Terminal(sys.stdout), COLUMNS, rows)
    return ends.DONE


def show(db: Any, worker_id: str, *, as_json: bool) -> int:
    """Print all there is of one worker."""
    inspector = Inspector(db)
    try:
        worker = inspector.worker(worker_id)
    except NotThere as exc:
        raise ends.Unknown(str(exc)) from exc
    if as_json:
        print(json_line(worker.as_json()))
        return ends.DONE
    terminal, now_s = Terminal(sys.stdout), time.time()
    status = _status(worker)
    style = _STYLES.get(status)
    metrics = worker.metrics
    facts = [
        ("worker", worker.id),
        ("status", terminal.paint(style, status) if style else one_line(status)),
        ("started", words.when(worker.started_at_s, now_s)),
        ("beat", words.when(worker.last_beat_s, now_s)),
        ("slots", "" if worker.concurrency is None else str(worker.concurrency)),
        ("queues", ", ".join(f"{name} (priority {rank})" for name, rank in worker.queues.items())),
        ("cpu", _number(metrics.get("cpu_percent"), "{:.0f} %", 1)),
        ("memory", _number(metrics.get("memory_used_bytes"), "{:.1f} GiB", 2**30)),
    ]
    for name, text in facts:
        if text:
            # What is painted is ours; where it is not, its line is clean already.
            terminal.line(f"{name:<10}{text if name == 'status' else one_line(text)}")
    for parent, state in worker.recovery.items():
        fails, restarts = _count(state.get("consecutive_fails")), _count(state.get("total_restarts"))
        terminal.line(
            one_line(
                f"{'recovery':<10}{parent}: {state.get('state')}, {restarts} restarts, "
                f"{fails} consecutive failures"
            )
        )
    lines = inspector.output(worker_id=worker_id)[-20:]
    if lines:
        terminal.line(terminal.strong("\nlast output"))
        for line in lines:
            terminal.line(one_line(line.text))
    return ends.DONE


def _status(worker: WorkerView) -> str:
    if worker.stale:
        return "stale"
    if worker.status != "running":
        return worker.status
    return "quiet" if worker.quiet else "running" if worker.healthy else "not healthy"


def _recovery(worker: WorkerView) -> str:
    """The worst state of its parent queues."""
    states = [str(state.get("state", "")) for state in worker.recovery.values()]
    ranked = [state for state in _STATES if state in states]
    return ranked[-1] if ranked else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _number(value: Any, shown: str, unit: float) -> str:
    is_amount = isinstance(value, int | float) and 0 <= value < _TOO_MUCH
    return shown.format(value / unit) if is_amount else ""
