"""What a load run comes to, as text."""

from collections.abc import Sequence

from harness.dev.live.tell import took
from harness.dev.load.advice import advise
from harness.dev.load.figures import Measured
from harness.output.terminal import Terminal, wrapped

_MIB = 1 << 20
#: Columns of a sentence that can be read.
_WIDEST = 110
_COLUMNS = ("mean", "p50", "p90", "p95", "p99", "max")


def tell(measured: Measured, terminal: Terminal) -> None:
    """Write it."""
    for line in _head(measured, terminal):
        terminal.line(line)
    if times := measured.times():
        terminal.line()
        terminal.line(terminal.aside(f"  {'':6}" + "".join(f"{column:>10}" for column in _COLUMNS)))
        for kind, values in times.items():
            cells = "".join(f"{took(values[column]):>10}" for column in _COLUMNS)
            terminal.line(f"  {kind:6}{cells}")
    terminal.line()
    for name, text in _facts(measured):
        terminal.line(f"  {terminal.aside(f'{name:<9}')} {text}")
    advice = advise(measured)
    if advice is None:
        return
    terminal.line()
    workers = f"{advice.workers} worker{'' if advice.workers == 1 else 's'}"
    terminal.line(terminal.strong(f"  For this load: {workers} with RUNQY_CONCURRENCY={advice.concurrency}"))
    for reason in advice.reasons:
        first, *others = wrapped(reason, min(terminal.width, _WIDEST) - 5)
        terminal.line(f"  · {first}")
        for line in others:
            terminal.line(f"    {line}")


def _head(measured: Measured, terminal: Terminal) -> Sequence[str]:
    asked = measured.asked
    well = measured.kept_up and not (measured.failed or measured.unfinished)
    mark = terminal.good("✓") if well else terminal.bad("✗")
    what = "kept up with" if measured.kept_up else "did not keep up with"
    if measured.kept_up and not well:
        what = "kept up, but did not complete every task of"
    on = f"{asked.workers} worker{'' if asked.workers == 1 else 's'}, {asked.concurrency} at a time each"
    lines = [
        terminal.strong(f"{mark} {what} {asked.rate:g} tasks a second for {took(asked.duration_s)} ({on})")
    ]
    if not measured.kept_up:
        lines.append(
            f"  {measured.left:,} of {measured.sent:,} tasks were not over when the last one was sent"
        )
    return lines


def _facts(measured: Measured) -> Sequence[tuple[str, str]]:
    counts = [f"{measured.sent:,} sent", f"{len(measured.completed):,} completed"]
    for number, what in (
        (measured.failed, "failed for good"),
        (measured.unfinished, "not over"),
        (measured.retries, "runs retried"),
        (measured.crashes, "crashes of a task process"),
    ):
        counts += [f"{number:,} {what}"] if number else []
    rate = f"{measured.done_per_s:.1f} tasks a second done, {measured.sent_per_s:.1f} sent"
    facts = [
        ("tasks", ", ".join(counts)),
        ("rate", rate),
        ("slots", f"in use {measured.busy:.0%} of the time"),
        ("memory", f"{measured.peak_bytes / _MIB:.0f} MiB at most for a worker with its processes"),
        ("machine", f"{measured.asked.cores} processors, in use at {measured.cpu_percent:.0f} %"),
    ]
    if not measured.sent_as_asked:
        facts.insert(2, ("", "this machine sends no more: all that follows is about that load"))
    if grown := measured.growth_bytes:
        facts.append(("", f"memory grew by {grown / _MIB:.0f} MiB from the first quarter to the last"))
    return [*facts, *(("", problem) for problem in measured.problems)]
