"""Pieces of HTML. Nothing that is shown can be trusted: :func:`text` escapes it, and cuts it. Pure.

In names ending on ``_html``, and in what these functions return, stands HTML already; all else is text.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from harness.output.terminal import printable

#: Characters of a name and of a cell, and bytes of a payload, a result or an error, that are shown.
NAME_CHARS, CELL_CHARS, BLOCK_BYTES = 200, 120, 64 * 1024
#: JSON that is nested deeper is not laid out: the blanks before its lines would be most of it.
_DEEPEST = 30
#: Characters of JSON that are shown on one line.
_SHORT = 60
_PART = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')
_OPENING, _CLOSING = frozenset("[{"), frozenset("]}")
#: The last second that has a date.
_LAST_DATE = 253_402_300_799


def text(value: object, chars: int = NAME_CHARS) -> str:
    """``value`` as text and nothing else, cut to so many characters."""
    whole = str(value)
    shown = escape(printable(whole[:chars]))
    return shown if len(whole) <= chars else f"{shown}…"


def cell(content: bytes) -> str:
    """The beginning of a payload, a result or an error, on one line."""
    # A character has four bytes at most.
    shown = content[: CELL_CHARS * 4].decode(errors="replace")
    cut = " ".join(shown.split())
    return text(cut if len(shown.encode()) >= len(content) else f"{cut}{' ' * CELL_CHARS}", CELL_CHARS)


def gist(error: str) -> str:
    """What of an error says most in one line: of a traceback the last line, else the beginning."""
    lines = error.split("\n") if error.startswith("Traceback") else []
    last = next((line for line in reversed(lines) if line.strip()), error)
    return text(" ".join(last[: CELL_CHARS * 4].split()), CELL_CHARS)


def block(content: bytes, *, kind: str = "") -> str:
    """A payload, a result or an error in full, or as much of it as fits, with a note."""
    cut = content[:BLOCK_BYTES]
    whole = cut.decode(errors="replace")
    shown, note = laid_out(whole), ""
    if len(cut) < len(content):
        shown, note = whole, f'<p class="dim">the first {size(len(cut))} of {size(len(content))}</p>'
    return f'<pre class="{kind}" tabindex="0">{text(shown, len(shown))}</pre>{note}'


def laid_out(json_text: str) -> str:
    """JSON with a line for each entry, every digit as it is; short JSON, and what is none, as it came."""
    try:
        value = json.loads(json_text)
    except (ValueError, RecursionError):
        return json_text
    if not isinstance(value, dict | list) or len(json_text) <= _SHORT:
        return json_text
    out: list[str] = []
    depth, before = 0, ""
    for part in _PART.findall(json_text):
        opened, closes = before in _OPENING, part in _CLOSING
        if opened != closes or before == ",":
            depth += opened - closes
            out.append("\n" + "  " * depth)
        if depth > _DEEPEST:
            return json_text
        out.append(": " if part == ":" else part)
        before = part
    return "".join(out)


def pill(word: str, tone: str) -> str:
    """A word in a frame; ``tone`` is good, warn, bad or calm."""
    return f'<span class="pill {tone}">{text(word)}</span>'


def mono(shown_html: str, kind: str = "") -> str:
    """What is read letter by letter; nothing for nothing."""
    if not shown_html:
        return ""
    return (
        f'<span class="mono {kind}">{shown_html}</span>'
        if kind
        else f'<span class="mono">{shown_html}</span>'
    )


def link(url: str, shown_html: str, *, current: bool = False) -> str:
    """A link; ``current`` to what is shown already."""
    return f'<a href="{escape(url)}"{" aria-current=page" if current else ""}>{shown_html}</a>'


def meter(part: float) -> str:
    """A bar; ``part`` is from 0 to 1."""
    return f'<meter min="0" max="1" value="{part:.4f}"></meter>'


def facts(named_html: Mapping[str, str]) -> str:
    """Names and values, those without a value left out."""
    items = (f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in named_html.items() if value)
    return f"<dl>{''.join(items)}</dl>"


def table(
    heads: Sequence[str],
    rows_html: Sequence[Sequence[str]],
    *,
    numbers: Sequence[str] = (),
    long: Sequence[str] = (),
) -> str:
    """A table; the columns ``numbers`` are aligned as such.

    Where there is no room for a row beside its heads, as on a phone, each cell shows its own, and those of
    the columns ``long`` get a line for themselves.
    """
    kinds = [' class="n"' if head in numbers else ' class="l"' if head in long else "" for head in heads]
    head = "".join(f"<th{kind}>{name}</th>" for kind, name in zip(kinds, heads, strict=True))

    def cells(row: Sequence[str]) -> str:
        columns = zip(kinds, heads, row, strict=True)
        return "".join(f'<td{kind} data-head="{name}">{value}</td>' for kind, name, value in columns)

    body = "".join(f"<tr>{cells(row)}</tr>" for row in rows_html)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def moment(wall_s: float | None) -> str:
    """A time as date and time of day, in UTC; nothing for none."""
    if not wall_s or not 0 < wall_s <= _LAST_DATE:
        return ""
    at = datetime.fromtimestamp(wall_s, UTC)
    return f'<time title="{at:%Y-%m-%d %H:%M:%S} UTC">{at:%m-%d %H:%M:%S}</time>'


def size(count: int) -> str:
    """Bytes for people."""
    if count < 1024:
        return f"{count} bytes"
    return f"{count / 1024:.1f} KiB" if count < 1024**2 else f"{count / 1024**2:.1f} MiB"


def number(value: Any, unit: str = "") -> str:
    """A number that may be something else; nothing for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return f"{text(value if isinstance(value, int) else f'{value:.6g}', 24)}{unit}"


def as_json(value: Any) -> str:
    """A value that was JSON, as JSON."""
    return json.dumps(value, ensure_ascii=False)
