"""The page's sections about one task, and about one worker. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.queue.views import ENDED, OutputLine, TaskView, WorkerView, moment
from harness.server.page import html, overview
from harness.server.page.view import View

#: Lines of output, and characters of each, that are shown; lines of a crash; crashes.
LINES, LINE_CHARS, CRASH_LINES, CRASHES = 200, 2_000, 40, 10
#: What a running, or the last, attempt came to, by the task's state, and the colour of that.
_NOW = {"active": ("running", "warn"), "completed": ("completed", "good")}


@dataclass(frozen=True)
class Traces:
    """What workers left: dossiers of crashes, newest first, and lines of output, oldest first."""

    crashes: Sequence[Mapping[str, Any]] = ()
    lines: Sequence[OutputLine] = ()


def task(found: TaskView, traces: Traces) -> str:
    """All about a task."""
    tone = overview.TONES.get(found.state, "bad")
    state = html.pill(found.state, tone)
    title = f'<div class="row"><h2 class="mono">{html.text(found.id, 500)}</h2>{state}</div>'
    return "".join(
        (
            title,
            f'<ul class="reasons"><li>{html.text(found.broken)}</li></ul>' if found.broken else "",
            html.facts(_facts(found)),
            _block("Result", found.result, found.left_out.get("result")),
            _block("Last error", found.error.encode(errors="replace"), found.left_out.get("error"), "bad"),
            _block("Payload", found.payload, found.left_out.get("payload")),
            f"<h3>Attempts</h3>{_attempts(found)}",
            _crashes(traces.crashes),
            "<h3>Its output, newest first</h3>",
            _lines(traces.lines, "none that is known to be of this task alone"),
        )
    )


def no_task(view: View) -> str:
    """Instead of a task that there is not."""
    return (
        f'<h2 class="mono">{html.text(view.task, 500)}</h2><p>There is no such task: it never was, or its '
        "time was over, or its queue keeps no results.</p>"
    )


def _facts(found: TaskView) -> dict[str, str]:
    owner = found.worker_id
    return {
        "queue": html.link(View(found.queue).url, html.text(found.queue)),
        "type": html.text(found.type),
        "when": overview.when(found),
        "progress": overview.progress(found),
        "retried": f"{found.retried} of {found.max_retry}",
        "worker": html.link(View(worker=owner).url, html.mono(html.text(owner, 80))) if owner else "",
        "time limit": html.number(found.timeout_s, " s"),
        "deadline": html.moment(found.deadline_s),
        "crashes of its process": html.number(found.crashes or None),
        "kept until": html.moment(found.purge_at_s),
    }


def _block(title: str, content: bytes | None, left_out: int | None, kind: str = "") -> str:
    if left_out:
        return f'<h3>{title}</h3><p class="dim">{html.size(left_out)}: too large to be shown</p>'
    return f"<h3>{title}</h3>{html.block(content, kind=kind)}" if content else ""


def _attempts(found: TaskView) -> str:
    """The attempts that failed, as far as they are kept, and the last one."""
    rows = [
        [
            html.number(each.number) or "–",
            '<span class="bad">failed</span>',
            html.moment(each.at_s),
            html.mono(html.text(each.worker_id, 60)),
            html.mono(html.text(each.error, 500)),
        ]
        for each in found.failures
    ]
    if found.state in _NOW:
        word, tone = _NOW[found.state]
        number = html.number(found.attempt or None) or "–"
        at = html.moment(found.completed_at_s) if found.state in ENDED else ""
        rows.append(
            [number, f'<span class="{tone}">{word}</span>', at, html.mono(html.text(found.worker_id, 60)), ""]
        )
    heads = ["attempt", "outcome", "when", "worker", "error"]
    return html.table(heads, rows, long=["error"]) if rows else '<p class="dim">none so far</p>'


def _crashes(dossiers: Sequence[Mapping[str, Any]]) -> str:
    if not dossiers:
        return ""
    return "<h3>Crashes and ends of its task process, newest first</h3>" + "".join(
        map(_crash, dossiers[:CRASHES])
    )


def _crash(record: Mapping[str, Any]) -> str:
    """A crash of a task process, as its worker wrote it down; a client of Redis can write another thing."""
    lines = [
        *(f"# {line}" for line in _texts(record.get("stacks"))),
        *_texts(record.get("stderr")),
    ]
    output = "\n".join(line[:LINE_CHARS] for line in lines)
    told = [
        html.moment(moment(record.get("at"))),
        f'<span class="bad">{html.text(record.get("exit"))}</span>',
        f"after {html.number(record.get('uptime_s'))} s",
        "it ran over its limit" if _texts(record.get("timed_out")) else "",
    ]
    shown = f'<pre tabindex="0">{html.text(output, len(output))}</pre>' if output else ""
    return f"<p>{' · '.join(filter(None, told))}</p>{shown}"


def worker(found: WorkerView, traces: Traces) -> str:
    """All about a worker."""
    used = found.metrics.get("memory_used_bytes")
    facts = {
        "task process": overview.recovery(found),
        "queues": overview.queues_of(found),
        "concurrency": html.number(found.concurrency),
        "started": html.moment(found.started_at_s),
        "last heartbeat": html.moment(found.last_beat_s),
        "CPU": html.number(found.metrics.get("cpu_percent"), " %"),
        "memory in use": html.size(used) if isinstance(used, int) and used < 2**63 else "",
    }
    return (
        f'<div class="row"><h2 class="mono">{html.text(found.id)}</h2>{overview.state(found)}</div>'
        f"{html.facts(facts)}{_crashes(traces.crashes)}"
        f"<h3>Output of its task processes, newest first</h3>{_lines(traces.lines, 'none')}"
    )


def no_worker(view: View, traces: Traces) -> str:
    """Instead of a worker that says nothing any more."""
    return (
        f'<h2 class="mono">{html.text(view.worker, 500)}</h2><p>No such worker has a heartbeat: it has '
        f"stopped, or never was.</p>{_crashes(traces.crashes)}"
    )


def _lines(lines: Sequence[OutputLine], nothing: str) -> str:
    if not lines:
        return f'<p class="dim">{nothing}</p>'
    items = "".join(map(_line, reversed(lines[-LINES:])))
    return f'<ol class="log" tabindex="0">{items}</ol>'


def _line(line: OutputLine) -> str:
    tone = "warn" if line.source == "stderr" else ""
    return (
        f'<li class="mono"><span class="dim">{html.moment(line.at_ms / 1000)}</span> '
        f'<span class="{tone}">{html.text(line.source, 10)}</span> {html.text(line.text, LINE_CHARS)}</li>'
    )


def _texts(value: Any) -> list[str]:
    """A list of texts, whatever stands there."""
    lines = value[:CRASH_LINES] if isinstance(value, list) else []
    return [line if isinstance(line, str) else html.as_json(line) for line in lines]
