"""The report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from collections.abc import Iterator, Sequence
from html import escape

from harness.evidence.report import draw
from harness.evidence.report.colours import DARK, LIGHT
from harness.evidence.report.model import Report, Section, Table
from harness.evidence.report.svg import SvgCanvas
from harness.evidence.report.view import Restart, view

#: With more sections than that, those that passed are folded.
_UNFOLDED = 4

#: What the page may load: nothing, whatever a log line in it says.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; LIGHT }
@media (prefers-color-scheme: dark) { :root { DARK } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 68rem; background: var(--paper);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.dim { color: var(--dim) } .good { color: var(--good) } .bad { color: var(--bad) }
.result { font-size: 1.15rem; font-weight: 600; margin: .5rem 0 1rem }
details { border: 1px solid var(--grid); border-radius: 8px; margin: .75rem 0; padding: .75rem 1rem }
summary { cursor: pointer } .name { font-weight: 600 }
.chart { overflow-x: auto } svg { min-width: 44rem; width: 100%; height: auto;
  font-family: system-ui, sans-serif }
.table { display: inline-block; vertical-align: top; margin-right: 3rem; max-width: 100%; overflow-x: auto }
table { border-collapse: collapse; margin: .5rem 0 1rem; font-size: .9rem; overflow-wrap: normal }
th { white-space: nowrap } th, td { text-align: left; vertical-align: top }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--grid) }
pre { background: color-mix(in srgb, var(--grid) 45%, transparent); padding: .75rem;
  border-radius: 6px; overflow-x: auto;
  white-space: pre-wrap; font-size: .85rem }
@media print { details { break-inside: avoid } body { max-width: none } }
"""


def page(report: Report) -> str:
    """The page."""
    return "\n".join(_page(report)) + "\n"


def _page(report: Report) -> Iterator[str]:
    failed = [section for section in report.sections if not section.passed]
    style = _STYLE.replace("LIGHT", _variables(LIGHT)).replace("DARK", _variables(DARK))
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta http-equiv="Content-Security-Policy" content="' + _POLICY + '">'
    yield f"<title>{escape(report.title)}</title><style>{style}</style></head><body>"
    yield f'<h1>{escape(report.title)}</h1><div class="dim">{escape(report.made_at)}</div>'
    kind, mark = ("good", "✓") if report.passed else ("bad", "✗")
    yield f'<div class="result {kind}">{mark} {escape(report.summary)}</div>'
    for section in failed:
        yield from _section(section, folded=False)
    passed = [section for section in report.sections if section.passed]
    for section in passed:
        yield from _section(section, folded=len(report.sections) > _UNFOLDED)
    for table in report.tables:
        yield from _table(table)
    yield "</body></html>"


def _section(section: Section, *, folded: bool) -> Iterator[str]:
    kind, mark = ("good", "✓") if section.passed else ("bad", "✗")
    yield f"<details{'' if folded else ' open'}><summary>"
    yield f'<span class="{kind}">{mark}</span> <span class="name">{escape(section.title)}</span>'
    yield f' <span class="dim">{section.seconds:.1f} s</span><br>{escape(section.claim)}</summary>'
    if section.problem:
        yield f'<h2 class="bad">Why it failed</h2><pre>{escape(section.problem)}</pre>'
    shown = view(section.events)
    if shown.rows or shown.curves:
        canvas = SvgCanvas()
        draw.draw(shown, canvas)
        label = f"timeline of {section.title}"
        yield f'<div class="chart">{canvas.element(draw.WIDTH, draw.height(shown), label)}</div>'
    if shown.restarts:
        yield from _table(_restarts(shown.restarts))
    if section.again:
        yield f'<div class="dim">run it again:</div><pre>{escape(section.again)}</pre>'
    yield "</details>"


def _restarts(restarts: Sequence[Restart]) -> Table:
    rows = [
        (
            restart.worker,
            str(restart.number),
            f"{restart.ended_s:.2f} s",
            f"{restart.waited_s:.2f} s",
            "" if restart.expected_s is None else f"{restart.expected_s:g} s ± {restart.tolerance_s:.2g} s",
            restart.timing,
        )
        for restart in restarts
    ]
    return Table("Restarts", ("worker", "restart", "process ended at", "waited", "expected", "timing"), rows)


def _table(table: Table) -> Iterator[str]:
    if not table.rows:
        return
    yield f'<div class="table"><h2>{escape(table.title)}</h2><table><thead><tr>'
    yield "".join(f"<th>{escape(head)}</th>" for head in table.heads) + "</tr></thead><tbody>"
    for row in table.rows:
        yield "<tr>" + "".join(f"<td{_tone(cell)}>{escape(cell)}</td>" for cell in row) + "</tr>"
    yield "</tbody></table></div>"


def _tone(cell: str) -> str:
    tones = {"as expected": "good", "ok": "good", "too late": "bad", "too early": "bad", "FAIL": "bad"}
    return f' class="{tones[cell]}"' if cell in tones else ""


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{role}: {colour};" for role, colour in colours.items())
