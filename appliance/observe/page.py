"""The status page: the answer of ``/status`` as HTML, whole without scripts, kept fresh by one.

Nothing in it can be trusted: clients choose task ids and types, task code writes log lines. All text is
escaped here and nowhere else; the content policy permits no script, style or address but the page's own.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from appliance.plain import plain

#: Most moments and lines that are shown; ``/status`` has more.
_MOMENTS, _LINES = 15, 80
#: How much of a commit tells it apart.
_COMMIT_CHARS = 10

_TONES = {
    "ready": "good",
    "running": "good",
    "deploying": "calm",
    "starting": "calm",
    "not_ready": "calm",
    "recovering": "warn",
    "crashed": "bad",
    "degraded": "bad",
}
_LEVELS = {"warning": "warn", "error": "bad", "critical": "bad"}


def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text()


def _source(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


_STYLE, _SCRIPT = _asset("page.css"), _asset("page.js")

#: Headers of the page.
HEADERS = (
    (
        "Content-Security-Policy",
        f"default-src 'none'; style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
)


def render(status: Mapping[str, Any]) -> str:
    """The page for what :func:`appliance.observe.status.status` returns."""
    parents = ", ".join(parent["parent"] for parent in status["parents"]) or "starting"
    word = "ready" if status["ready"] else "not ready"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<noscript><meta http-equiv="refresh" content="5"></noscript>'
        f"<title>{_text(parents)}: {word} · runqy worker</title>"
        f"<style>{_STYLE}</style></head><body>{_main(status)}<script>{_SCRIPT}</script></body></html>"
    )


def _main(status: Mapping[str, Any]) -> str:
    return (
        f"<main>{_header(status)}{''.join(map(_parent, status['parents']))}"
        f"{_timeline(status['timeline'])}{_log(status['log'])}{_footer(status)}</main>"
    )


def _header(status: Mapping[str, Any]) -> str:
    worker = status["worker"]
    tone, word = ("good", "ready") if status["ready"] else ("warn", "not ready")
    if worker["stopping"]:
        tone, word = "calm", "stopping"
    elif not status["live"] or any(parent["state"] == "degraded" for parent in status["parents"]):
        tone = "bad"
    reasons = [*(reason["text"] for reason in status["reasons"]), *status["stuck"]]
    listed = "".join(f"<li>{_text(reason)}</li>" for reason in reasons)
    facts = {
        "status": worker["status"] + (", quiet" if worker["quiet"] else ""),
        "up for": _duration(worker["uptime_s"]),
        "version": worker["version"],
        "Python": worker["python"],
        "ready after": _duration(sum(status["startup"].values())) if "process" in status["startup"] else "–",
    }
    if worker["instance_id"]:
        facts["instance"] = worker["instance_id"]
    return (
        f'<header><div class="row"><h1>runqy worker</h1>{_pill(word, tone)}'
        f'<span class="dim mono">{_text(worker["id"])}</span></div>'
        + (f'<ul class="reasons">{listed}</ul>' if listed else "")
        + _facts({name: _text(value) for name, value in facts.items()})
        + "</header>"
    )


def _parent(parent: Mapping[str, Any]) -> str:
    state, slots, recovery, redis = parent["state"], parent["slots"], parent["recovery"], parent["redis"]
    used, total = slots["in_use"], slots["total"]
    meter = f'<meter min="0" max="{max(total, 1)}" value="{used}"></meter> {used} of {total}'
    problem = "" if redis["available"] else '<span class="bad">does not answer</span> '
    facts = {
        "slots in use": meter,
        "restarts": f"{recovery['total_restarts']}"
        + (f" ({recovery['consecutive_fails']} consecutive)" if recovery["consecutive_fails"] else ""),
        "commit": f'<span class="mono">{_text((parent["commit"] or "–")[:_COMMIT_CHARS])}</span>',
        "mode": _text(parent["mode"]),
        "Redis": f'{problem}<span class="mono">{_text(redis["address"])}</span>',
        "unsettled outcomes": f"{parent['unsettled']['outcomes']}",
    }
    return (
        f'<section><div class="row"><h2>{_text(parent["parent"])}</h2>{_pill(state, _TONES[state])}</div>'
        f"{_facts(facts)}{_queues(parent['queues'])}{_tasks(parent)}</section>"
    )


def _queues(queues: Sequence[Mapping[str, Any]]) -> str:
    kinds = ("pending", "active", "scheduled", "retry", "archived")
    rows = []
    for queue in queues:
        depth = queue["depth"] or {}
        name = _text(queue["name"]) + (' <span class="warn">paused</span>' if depth.get("paused") else "")
        counts = (str(depth.get(kind, "–")) for kind in kinds)
        here = queue["outcomes"].get("completed", 0)
        rows.append([name, str(queue["priority"]), *counts, str(here)])
    return "<h3>Queues</h3>" + _table(["queue", "priority", *kinds, "completed here"], rows, numbers_from=1)


def _tasks(parent: Mapping[str, Any]) -> str:
    if not parent["tasks"]:
        return '<h3>Running now</h3><div class="dim">nothing</div>'
    rows = [
        [
            f'<span class="mono">{_text(task["id"])}</span>',
            _text(task["queue"]),
            _text(task["type"] or "–"),
            str(task["retried"]),
            _duration(task["age_s"]),
        ]
        for task in parent["tasks"]
    ]
    left = parent["slots"]["in_use"] - len(rows)
    more = f'<div class="dim">and {left} more</div>' if left > 0 else ""
    return (
        "<h3>Running now</h3>"
        + _table(["task", "queue", "type", "retried", "for"], rows, numbers_from=3)
        + more
    )


def _timeline(moments: Sequence[Mapping[str, Any]]) -> str:
    items = "".join(map(_moment, reversed(moments[-_MOMENTS:])))
    content = f'<ol class="timeline">{items}</ol>' if items else '<div class="dim">nothing yet</div>'
    return f"<section><h2>Task processes, newest first</h2>{content}</section>"


def _moment(moment: Mapping[str, Any]) -> str:
    words = f"{moment['parent']}: {moment['what'].replace('_', ' ')}"
    if moment["text"]:
        words += f" · {moment['text']}"
    at = f'<span class="dim mono">{_clock(moment["at"])}</span>'
    return f'<li class="{_TONES[moment["what"]]}">{at} <span>{_text(words)}</span></li>'


def _log(lines: Sequence[Mapping[str, Any]]) -> str:
    items = "".join(
        f'<li class="mono"><span class="dim">{_clock(line["at"])}</span> '
        f'<span class="{_LEVELS.get(line["level"], "")}">{_text(line["event"])}</span> '
        f"{_text(line['text'])}</li>"
        for line in reversed(lines[-_LINES:])
    )
    return f'<section><h2>Log, newest first</h2><ol class="log">{items}</ol></section>'


def _footer(status: Mapping[str, Any]) -> str:
    return (
        f'<footer>as of <span id="fresh">{_text(status["now"])}</span> · times are UTC · '
        '<a href="/status">/status</a> · <a href="/metrics">/metrics</a> · '
        '<a href="/readyz">/readyz</a> · <a href="/livez">/livez</a></footer>'
    )


def _facts(facts: Mapping[str, str]) -> str:
    """Names and values that are HTML already."""
    items = (f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items())
    return f"<dl>{''.join(items)}</dl>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int) -> str:
    """Cells are HTML already; columns from ``numbers_from`` on are aligned as numbers.

    Where there is no room for a row beside its heads, as on a phone, each cell shows its own.
    """
    kinds = ["" if column < numbers_from else ' class="n"' for column in range(len(heads))]
    head = "".join(f"<th{kind}>{name}</th>" for kind, name in zip(kinds, heads, strict=True))

    def cells(row: Sequence[str]) -> str:
        columns = zip(kinds, heads, row, strict=True)
        return "".join(f'<td{kind} data-head="{name}">{cell}</td>' for kind, name, cell in columns)

    body = "".join(f"<tr>{cells(row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _pill(word: str, tone: str) -> str:
    return f'<span class="pill {tone}">{_text(word)}</span>'


def _text(value: object) -> str:
    return escape(plain(str(value)))


def _clock(at: str) -> str:
    """The time of day of an ISO 8601 time."""
    return _text(at.partition("T")[2][:8] or at)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours < 1:
        return f"{minutes} min {int(seconds % 60)} s"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
